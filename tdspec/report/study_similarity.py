"""How alike teacher and student are in the runs of a study: undistillable classes, method beside method.

In: what was measured of each run (`similarity_file.py`). Out: HTML; what is still to be measured.
Leaves out: measuring (`similarity.py`), the section of one run (`similarity_section.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tdspec.report import html
from tdspec.report.plots import Spot, spots
from tdspec.report.similarity_file import HIGH, SIGNIFICANT, Similarity, is_measured, key_of, read_similarity
from tdspec.run.run_dir import RunFolder, read_record
from tdspec.study.matrix import in_words
from tdspec.study.results import Results, run_folder
from tdspec.study.statistics import Estimate, mean
from tdspec.study.study_file import REPETITION

ABOUT = (
    "Linear CKA (Kornblith et al. 2019) of the student's high state with the teacher's on the same validation "
    "examples, up to 20 of each class, in every run. A class is called undistillable in a run where the value is as "
    f"large for examples paired at random (p of {SIGNIFICANT:g} or more): what the teacher knows of it has not arrived."
)


@dataclass(frozen=True)
class Measured:
    """What was measured of the repetitions of one combination of settings.

    Attributes:
        name: of the settings.
        planned: its runs.
        found: of the student of each run that was measured.
    """

    name: str
    planned: int
    found: tuple[Similarity, ...]

    def alike(self) -> list[float]:
        """By run, the mean over classes of the CKA of the high states."""
        return [float(sum(item.students[0].of(HIGH)) / len(item.groups)) for item in self.found]

    def undistillable(self) -> list[list[str]]:
        """By run, its undistillable classes."""
        return [item.undistillable(item.students[0]) for item in self.found]

    def groups(self) -> list[str]:
        """The classes that were compared in some run."""
        return list(dict.fromkeys(group for item in self.found for group in item.groups))

    def often(self) -> list[tuple[str, int]]:
        """The classes that are undistillable in some runs, and in how many."""
        counts = {group: sum(group in names for names in self.undistillable()) for group in self.groups()}
        return [(group, count) for group, count in counts.items() if count]

    def alike_in(self, group: str) -> list[float]:
        """By run that has the class, the CKA of the high states in it."""
        return [item.students[0].of(HIGH)[item.groups.index(group)] for item in self.found if group in item.groups]


def unmeasured(folder: Path, results: Results) -> list[RunFolder]:
    """The complete runs whose teacher and student were not compared since they were trained."""
    runs = [run_folder(folder, run.id) for run in results.runs if run.figures]
    return [run for run in runs if not is_measured(run, key_of(read_record(run)))]


def study_similarity(folder: Path, results: Results) -> list[str]:
    """The section; none where nothing was measured."""
    rows = [row for row in _rows(folder, results) if row.found]
    if not rows:
        return []
    title = "CKA of the high states, mean over classes"
    groups = [_spot(row) for row in rows]
    caption = "Circles: one seed each. Diamonds: means, with their standard error where there are several seeds."
    parts: list[str] = [html.paragraph(ABOUT, "note"), html.figure(spots(title, groups), caption, "plot single")]
    header = ("run", "seeds", "CKA of the high states", "undistillable classes", "which, and in how many seeds")
    parts.append(html.table(header, [_cells(row) for row in rows], numbers=(1, 2, 3)))
    if len(rows[0].groups()) > 1:
        parts.append(_by_class(rows))
    return [html.section("Similarity", *parts)]


def _rows(folder: Path, results: Results) -> Iterator[Measured]:
    cells: dict[str, list[RunFolder]] = {}
    names: dict[str, str] = {}
    for run in results.runs:
        cells.setdefault(run.cell, []).append(run_folder(folder, run.id))
        settings = {key: value for key, value in run.settings.items() if key != REPETITION}
        names[run.cell] = in_words(settings) or "all"
    for cell, runs in cells.items():
        found = [read_similarity(run) for run in runs]
        yield Measured(names[cell], len(runs), tuple(item for item in found if item is not None))


def _spot(row: Measured) -> Spot:
    values = row.alike()
    estimate = mean(values)
    return Spot(row.name, tuple(values), estimate.value, estimate.error)


def _cells(row: Measured) -> tuple[str, ...]:
    number = len(row.found)
    seeds = f"{number}" if number == row.planned else f"{number} of {row.planned}"
    count = mean([len(names) for names in row.undistillable()])
    which = ", ".join(f"{group} ({times})" for group, times in row.often()) or "none"
    of_all = f"{_text(count, 1)} of {len(row.groups())}"
    return (row.name, seeds, _text(mean(row.alike()), 3), of_all, which)


def _text(estimate: Estimate, digits: int) -> str:
    error = "" if estimate.error is None else f" ± {estimate.error:.{digits}f}"
    return f"{estimate.value:.{digits}f}{error}"


def _by_class(rows: Sequence[Measured]) -> str:
    """The CKA of the high states by class, the mean over seeds, method beside method."""
    lines = []
    for group in dict.fromkeys(group for row in rows for group in row.groups()):
        values = [row.alike_in(group) for row in rows]
        lines.append((group, *(f"{mean(found).value:.3f}" if found else "-" for found in values)))
    header = ("class", *(row.name for row in rows))
    return html.folded_table("CKA of the high states by class", header, lines, numbers=tuple(range(1, len(header))))
