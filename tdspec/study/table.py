"""The table of a study: a row for each combination of settings, means over seeds, and two comparisons.

In: `Results`. Out: `Table`: every row beside scratch, and beside the best row of another method.
Leaves out: the table as text (`table_text.py`), the HTML page (`report/study_page.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tdspec.spec.figures import MORE_IS_BETTER
from tdspec.study.averages import averaged
from tdspec.study.matrix import in_words
from tdspec.study.outcomes import in_one_sentence
from tdspec.study.results import Result, Results
from tdspec.study.statistics import Estimate, holm, mean, paired_p_value, relative_improvement
from tdspec.study.study_file import REPETITION

SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Comparison:
    """The test figures of a row beside those of another, over the seeds that both have.

    Attributes:
        settings: of the other.
        improvement: over the other's mean; None where that is 0.
        pairs: the number of seeds.
        p_value: of the paired t-test, None where it is not known.
        adjusted_p_value: the same by Holm, for all comparisons of this kind in the table.
    """

    settings: Mapping[str, Any]
    improvement: Estimate | None
    pairs: int
    p_value: float | None
    adjusted_p_value: float | None


@dataclass(frozen=True)
class Row:
    """What one combination of settings gives.

    Attributes:
        settings: by axis, but for the seed; axes that the method does not read are left out.
        method: of its runs.
        planned: runs that were planned.
        seeds: of the runs that are complete.
        values: by split, the figure of each of these.
        estimates: by split, their mean; empty where no run is complete.
        over_scratch: beside the same without a teacher; None where there is none.
        rival: beside the row of another method whose test mean is the best (of all other rows, where the study has one
            method), among rows of the same averaged value; None where there is none.
    """

    settings: Mapping[str, Any]
    method: str
    planned: int
    seeds: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    estimates: Mapping[str, Estimate]
    over_scratch: Comparison | None
    rival: Comparison | None

    def by_seed(self) -> dict[int, float]:
        """The test figure of each seed."""
        return dict(zip(self.seeds, self.values["test"], strict=True))


@dataclass(frozen=True)
class Table:
    """A study's rows in the order of its plan.

    Attributes:
        study: the study's name.
        axes: titles of the first columns.
        figure: the name of the figure, or None before the first run is complete.
        rows: a row for each combination.
        chosen: the row with the best mean on validation, or None.
        notes: sentences about how to read it.
        average: axes that each figure is the mean over.
        by_value: the same with a row for each value of these; None where nothing is averaged.
    """

    study: str
    axes: tuple[str, ...]
    figure: str | None
    rows: tuple[Row, ...]
    chosen: Row | None
    notes: tuple[str, ...]
    average: tuple[str, ...]
    by_value: Table | None


def tabulate(results: Results) -> Table:
    """The table of what is complete so far."""
    together = averaged(results) if results.average else results
    rows = _rows(together)
    chosen = _chosen(rows, results.figure)
    notes = _notes(together, rows, chosen)
    by_value = _by_value(results) if results.average else None
    return Table(results.name, together.axes, results.figure, rows, chosen, notes, results.average, by_value)


def _by_value(results: Results) -> Table:
    """The rows of every averaged value by itself."""
    rows = _rows(results)
    return Table(results.name, results.axes, results.figure, rows, None, _notes_by_value(results, rows), (), None)


def _rows(results: Results) -> tuple[Row, ...]:
    cells: dict[str, list[Result]] = {}
    for run in results.runs:
        cells.setdefault(run.cell, []).append(run)
    rows = {cell: _row(runs) for cell, runs in cells.items()}
    if results.figure is not None:
        more = MORE_IS_BETTER[results.figure]
        baselines = {cell: runs[0].baseline for cell, runs in cells.items()}
        rows = _beside_scratch(rows, baselines, more)
        rows = _beside_rivals(rows, results.average, more)
    return tuple(rows.values())


def _row(runs: Sequence[Result]) -> Row:
    done = [run for run in runs if run.figures]
    values = {split: tuple(run.figures[split] for run in done) for split in SPLITS}
    return Row(
        settings={key: value for key, value in runs[0].settings.items() if key != REPETITION},
        method=runs[0].method,
        planned=len(runs),
        seeds=tuple(run.seed for run in done),
        values=values,
        estimates={split: mean(values[split]) for split in SPLITS} if done else {},
        over_scratch=None,
        rival=None,
    )


def compared(own: Row, other: Row, more_is_better: bool) -> Comparison | None:
    """Two rows over the seeds that both have; None where they have none in common."""
    figures, others = own.by_seed(), other.by_seed()
    pairs = [(value, others[seed]) for seed, value in figures.items() if seed in others]
    if not pairs:
        return None
    values, baseline = [a for a, _ in pairs], [b for _, b in pairs]
    improvement = relative_improvement(values, baseline, more_is_better=more_is_better)
    return Comparison(other.settings, improvement, len(pairs), paired_p_value(values, baseline), None)


def _beside_scratch(rows: Mapping[str, Row], baselines: Mapping[str, str | None], more: bool) -> dict[str, Row]:
    found = {
        cell: compared(row, rows[baseline], more)
        for cell, row in rows.items()
        if (baseline := baselines[cell]) is not None
    }
    known = {cell: comparison for cell, comparison in found.items() if comparison is not None}
    adjusted = holm([comparison.p_value for comparison in known.values()])
    with_p = {cell: replace(known[cell], adjusted_p_value=p) for cell, p in zip(known, adjusted, strict=True)}
    return {cell: replace(row, over_scratch=with_p.get(cell)) for cell, row in rows.items()}


def _beside_rivals(rows: Mapping[str, Row], tasks: Sequence[str], more: bool) -> dict[str, Row]:
    """Each row beside the best of another method at the same task; a pair that meets both ways is one test."""
    one_method = len({row.method for row in rows.values()}) == 1
    found: dict[str, tuple[frozenset[str], Comparison]] = {}
    for cell, row in rows.items():
        others = {
            key: other.estimates["test"].value
            for key, other in rows.items()
            if key != cell
            and other.estimates
            and (one_method or other.method != row.method)
            and is_one_task(row.settings, other.settings, tasks)
        }
        best = (max if more else min)(others, key=others.__getitem__, default=None)
        comparison = None if best is None else compared(row, rows[best], more)
        if best is not None and comparison is not None:
            found[cell] = (frozenset((cell, best)), comparison)
    tests = {pair: comparison.p_value for pair, comparison in found.values()}
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    with_p = {cell: replace(comparison, adjusted_p_value=adjusted[pair]) for cell, (pair, comparison) in found.items()}
    return {cell: replace(row, rival=with_p.get(cell)) for cell, row in rows.items()}


def is_one_task(own: Mapping[str, Any], other: Mapping[str, Any], tasks: Sequence[str]) -> bool:
    """Whether two rows have the same averaged values, as far as their methods read them."""
    return all(own[key] == other[key] for key in tasks if key in own and key in other)


def _chosen(rows: Sequence[Row], figure: str | None) -> Row | None:
    known = [row for row in rows if row.estimates]
    if figure is None or len(known) < 2:
        return None
    best = max if MORE_IS_BETTER[figure] else min
    return best(known, key=lambda row: row.estimates["validation"].value)


def _notes(results: Results, rows: Sequence[Row], chosen: Row | None) -> tuple[str, ...]:
    if results.figure is None:
        searched = (in_one_sentence(outcome) for outcome in results.search)
        return ("No run is complete yet.", *searched, *results.warnings)
    better = "higher" if MORE_IS_BETTER[results.figure] else "lower"
    notes = [
        f"Means over seeds ± standard error; {better} {results.figure} is better. "
        "The test split was read once a run, after the best epoch was chosen on validation."
    ]
    if results.average:
        notes.append(f"A figure of a seed is the mean over {' and '.join(results.average)}, where all are complete.")
    notes += [in_one_sentence(outcome) for outcome in results.search]
    if chosen is not None:
        notes.append(f"Best on validation: {in_words(chosen.settings)}.")
    if any(row.over_scratch for row in rows):
        notes.append(
            "An improvement is the share by which the mean test figure is better, over the seeds that both have; its "
            "error is that of a ratio of paired means (delta method). p: paired t-test over seeds, adjusted by Holm "
            "for all comparisons with scratch."
        )
    elif any(row.settings.get("method") for row in rows):
        notes.append("No improvement is given: no run of scratch is complete beside those of another method.")
    if any(row.rival for row in rows):
        notes.append(
            "The best other, in brackets, is the row of another method with the best mean test figure "
            "(of all other rows, where there is one method); its p is adjusted by Holm for all such pairs."
        )
    if any(len(row.seeds) == 1 for row in rows):
        notes.append("Where there is one seed, no error can be given: a difference may be chance.")
    return (*notes, *_missing(results), *(f"Warning: {warning}." for warning in results.warnings))


def _notes_by_value(results: Results, rows: Sequence[Row]) -> tuple[str, ...]:
    notes = [f"Each value of {' and '.join(results.average)} by itself, beside rows of the same value."]
    if any(row.rival for row in rows):
        notes.append("p is adjusted by Holm for all comparisons of its kind in this table.")
    return (*notes, *_missing(results))


def _missing(results: Results) -> Iterator[str]:
    for run in results.runs:
        if not run.figures:
            yield f"Not complete: {in_words(run.settings)} ({run.error or run.status})."
