"""Several axes' values as one task: the results of a study with their mean.

In: `Results` of every run. Out: `Results` in which one stands for the runs of all averaged values.
Leaves out: comparing (`table.py`), the mean that a search judges by (`searching.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tdspec.study.matrix import without
from tdspec.study.results import Result, Results
from tdspec.study.statistics import mean


def averaged(results: Results) -> Results:
    """The same study without its averaged axes.

    A figure of a seed is the mean of the figures of all values, once all of them are complete; before, there is none.
    A method that does not read an averaged axis has one run for all of its values, whose figure is their mean.
    """
    groups: dict[tuple[str, int], list[Result]] = {}
    for run in results.runs:
        groups.setdefault((without(run.cell, results.average), run.seed), []).append(run)
    runs = tuple(_together(results, cell, among) for (cell, _), among in groups.items())
    axes = tuple(key for key in results.axes if key not in results.average)
    return replace(results, axes=axes, runs=runs)


def _together(results: Results, cell: str, runs: Sequence[Result]) -> Result:
    first = runs[0]
    done = [run for run in runs if run.figures]
    complete = len(done) == len(runs)
    means = {split: mean([run.figures[split] for run in done]).value for split in first.figures}
    return replace(
        first,
        id=" ".join(run.id for run in runs),
        settings={key: value for key, value in first.settings.items() if key not in results.average},
        cell=cell,
        baseline=None if first.baseline is None else without(first.baseline, results.average),
        status=first.status if complete else f"{len(done)} of {len(runs)} runs are complete",
        figures=means if complete else {},
        error="",
    )
