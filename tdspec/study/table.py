"""The table of a study: a row for each combination of settings, means over seeds, and the comparison with scratch.

In: `Results`. Out: `Table`, and the same as JSON, CSV and Markdown.
Leaves out: the HTML page (`report/study_page.py`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tdspec.study.figures import MORE_IS_BETTER
from tdspec.study.matrix import in_words
from tdspec.study.results import Result, Results
from tdspec.study.statistics import Estimate, holm, mean, paired_p_value, relative_improvement
from tdspec.study.study_file import REPETITION

ONE_SEED = "one seed: no error can be given"
NOTHING = "-"
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Row:
    """What one combination of settings gives.

    Attributes:
        settings: by axis, but for the seed; axes that the method does not read are left out.
        planned: runs that were planned.
        seeds: of the runs that are complete.
        values: by split, the figure of each of these.
        estimates: by split, their mean; empty where no run is complete.
        improvement: of the test figure over the baseline's, over the seeds that both have; None where it has none.
        pairs: the number of these seeds.
        p_value: of the paired t-test of these, None where it is not known.
        adjusted_p_value: the same by Holm, for all comparisons of the table.
    """

    settings: Mapping[str, Any]
    planned: int
    seeds: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    estimates: Mapping[str, Estimate]
    improvement: Estimate | None
    pairs: int
    p_value: float | None
    adjusted_p_value: float | None


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
    """

    study: str
    axes: tuple[str, ...]
    figure: str | None
    rows: tuple[Row, ...]
    chosen: Row | None
    notes: tuple[str, ...]


def tabulate(results: Results) -> Table:
    """The table of what is complete so far."""
    cells: dict[str, list[Result]] = {}
    for run in results.runs:
        cells.setdefault(run.cell, []).append(run)
    rows = [_row(runs, cells, results.figure) for runs in cells.values()]
    adjusted = holm([row.p_value for row in rows])
    rows = [replace(row, adjusted_p_value=p) for row, p in zip(rows, adjusted, strict=True)]
    chosen = _chosen(rows, results.figure)
    return Table(results.name, results.axes, results.figure, tuple(rows), chosen, _notes(results, rows, chosen))


def _row(runs: Sequence[Result], cells: Mapping[str, Sequence[Result]], figure: str | None) -> Row:
    done = [run for run in runs if run.figures]
    values = {split: tuple(run.figures[split] for run in done) for split in SPLITS}
    row = Row(
        settings={key: value for key, value in runs[0].settings.items() if key != REPETITION},
        planned=len(runs),
        seeds=tuple(run.seed for run in done),
        values=values,
        estimates={split: mean(values[split]) for split in SPLITS} if done else {},
        improvement=None,
        pairs=0,
        p_value=None,
        adjusted_p_value=None,
    )
    baseline = runs[0].baseline
    if figure is None or baseline is None:
        return row
    others = {run.seed: run.figures["test"] for run in cells[baseline] if run.figures}
    pairs = [(run.figures["test"], others[run.seed]) for run in done if run.seed in others]
    if not pairs:
        return row
    own, other = [a for a, _ in pairs], [b for _, b in pairs]
    improvement = relative_improvement(own, other, more_is_better=MORE_IS_BETTER[figure])
    return replace(row, improvement=improvement, pairs=len(pairs), p_value=paired_p_value(own, other))


def _chosen(rows: Sequence[Row], figure: str | None) -> Row | None:
    known = [row for row in rows if row.estimates]
    if figure is None or len(known) < 2:
        return None
    best = max if MORE_IS_BETTER[figure] else min
    return best(known, key=lambda row: row.estimates["validation"].value)


def _notes(results: Results, rows: Sequence[Row], chosen: Row | None) -> tuple[str, ...]:
    if results.figure is None:
        return ("No run is complete yet.", *results.warnings)
    better = "higher" if MORE_IS_BETTER[results.figure] else "lower"
    notes = [
        f"Means over seeds ± standard error; {better} {results.figure} is better. "
        "The test split was read once a run, after the best epoch was chosen on validation."
    ]
    if chosen is not None:
        notes.append(f"Best on validation: {in_words(chosen.settings)}.")
    if any(row.improvement for row in rows):
        notes.append(
            "The improvement is that of the test figure over scratch, over the seeds that both have; "
            "p: paired t-test over seeds, adjusted by Holm for all comparisons of the table."
        )
    elif any(row.settings.get("method") for row in rows):
        notes.append("No improvement is given: no run of scratch is complete beside those of another method.")
    if any(len(row.seeds) == 1 for row in rows):
        notes.append("Where there is one seed, no error can be given: a difference may be chance.")
    missing = [run for run in results.runs if not run.figures]
    notes += [f"Not complete: {in_words(run.settings)} ({run.error or run.status})." for run in missing]
    return (*notes, *(f"Warning: {warning}." for warning in results.warnings))


def header(table: Table) -> tuple[str, ...]:
    """Titles of the columns."""
    figure = table.figure or "figure"
    axes = [key.rpartition(".")[2] for key in table.axes]
    return (*axes, "seeds", f"validation {figure}", f"test {figure}", "over scratch", "p", "p (Holm)")


def cells(table: Table, row: Row) -> tuple[str, ...]:
    """A row for people."""
    settings = [_word(row.settings[key]) if key in row.settings else NOTHING for key in table.axes]
    count = f"{len(row.seeds)}" if len(row.seeds) == row.planned else f"{len(row.seeds)} of {row.planned}"
    means = [_mean_text(row.estimates[split]) if row.estimates else NOTHING for split in SPLITS]
    return (*settings, count, *means, improvement_text(row), _p_text(row.p_value), _p_text(row.adjusted_p_value))


def improvement_text(row: Row) -> str:
    """An improvement never stands without its error, or without the words that there is none."""
    if row.improvement is None:
        return NOTHING
    value, error = 100 * row.improvement.value, row.improvement.error
    return f"{value:+.1f} % ({ONE_SEED})" if error is None else f"{value:+.1f} % ± {100 * error:.1f} %"


def _mean_text(estimate: Estimate) -> str:
    if estimate.error is None:
        return f"{estimate.value:.4f} (one seed)"
    return f"{estimate.value:.4f} ± {estimate.error:.4f}"


def _p_text(p_value: float | None) -> str:
    if p_value is None:
        return NOTHING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_data(table: Table) -> dict[str, Any]:
    """The table as plain data."""
    return {
        "study": table.study,
        "figure": table.figure,
        "more_is_better": None if table.figure is None else MORE_IS_BETTER[table.figure],
        "axes": list(table.axes),
        "rows": [_row_data(row) for row in table.rows],
        "chosen_on_validation": None if table.chosen is None else dict(table.chosen.settings),
        "notes": list(table.notes),
    }


def _row_data(row: Row) -> dict[str, Any]:
    return {
        "settings": dict(row.settings),
        "planned": row.planned,
        "seeds": list(row.seeds),
        **{split: {**_estimate_data(row.estimates.get(split)), "values": list(row.values[split])} for split in SPLITS},
        "relative_improvement": _estimate_data(row.improvement),
        "pairs": row.pairs,
        "p_value": row.p_value,
        "p_value_holm": row.adjusted_p_value,
    }


def _estimate_data(estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {"value": None, "standard_error": None}
    return {"value": estimate.value, "standard_error": estimate.error}


def as_csv(table: Table) -> str:
    """The table's numbers, unrounded; an unknown one is an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    numbers = ("validation", "validation_error", "test", "test_error")
    comparison = ("relative_improvement", "relative_improvement_error", "pairs", "p_value", "p_value_holm")
    writer.writerow([*table.axes, "planned", "seeds", *numbers, *comparison])
    for row in table.rows:
        settings = [_word(row.settings[key]) if key in row.settings else "" for key in table.axes]
        estimates = [row.estimates.get(split) for split in SPLITS] + [row.improvement]
        figures = [part for item in estimates for part in _estimate_data(item).values()]
        writer.writerow(
            [*settings, row.planned, len(row.seeds), *figures, row.pairs, row.p_value, row.adjusted_p_value]
        )
    return stream.getvalue()


def as_markdown(table: Table) -> str:
    """The table for people, in columns of equal width, with its notes."""
    lines = [header(table), *(cells(table, row) for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = [_markdown_line([cell.ljust(width) for cell, width in zip(line, widths, strict=True)]) for line in lines]
    texts.insert(1, _markdown_line(["-" * width for width in widths]))
    return "\n".join([*texts, "", *(f"- {note}" for note in table.notes)]) + "\n"


def _markdown_line(parts: Sequence[str]) -> str:
    return f"| {' | '.join(parts)} |"
