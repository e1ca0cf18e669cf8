"""The page of a study.

In: a study's folder, complete or not, and what was read from it. Out: one self-contained HTML page.
Leaves out: the pages of its runs (`page.py`), writing the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tdspec.report import html
from tdspec.report.plots import Spot, spots
from tdspec.report.search_section import search_section
from tdspec.report.study_similarity import study_similarity
from tdspec.study.beside import Beside
from tdspec.study.matrix import BASELINE, in_words
from tdspec.study.results import Results
from tdspec.study.table import Comparison, Table
from tdspec.study.table_text import cells, header, improvement_text, lines_beside, title_beside, title_by_value

SIGNIFICANT = 0.05


def study_page(folder: Path, results: Results, table: Table, beside: Beside | None = None) -> str:
    """The page of a study: what its runs say together, as far as they are complete.

    Args:
        folder: of the study.
        results: what was read from it.
        table: of these results.
        beside: one of its rows beside the others, to be shown too.
    """
    done = sum(1 for run in results.runs if run.figures)
    about = f"study · {done} of {len(results.runs)} runs are complete"
    parts = [
        _answer(table),
        _figures(table),
        *_beside(beside),
        *_by_value(table),
        *study_similarity(folder, results),
        *search_section(results.search, results.average),
        _runs(results),
    ]
    return html.page(table.study, about, parts)


def _answer(table: Table) -> str:
    return html.section("", html.paragraph(headline(table), "headline"), *_table(table), kind="answer")


def _table(table: Table) -> Iterator[str]:
    """The table with its notes."""
    if table.rows:
        first = len(table.axes)
        # but for the best other with its name, which breaks where the page is narrow
        numbers = (*range(first, first + 5), first + 6)
        yield html.table(header(table), [cells(table, row) for row in table.rows], numbers=numbers)
    for note in table.notes:
        yield html.paragraph(note, "note")


def _beside(beside: Beside | None) -> Iterator[str]:
    """How much better one row is than each other."""
    if beside is not None:
        titles, *lines = lines_beside(beside)
        note = html.paragraph("p: paired t-test over seeds, adjusted by Holm for all rows of this table.", "note")
        yield html.section(title_beside(beside), html.table(titles, lines, numbers=(1, 2, 3)), note)


def _by_value(table: Table) -> list[str]:
    """The averaged values by themselves, each run as a point."""
    if table.by_value is None:
        return []
    return [html.section(title_by_value(table), *_table(table.by_value), *_plot(table.by_value, " by value"))]


def headline(table: Table) -> str:
    """The answer in one sentence: what validation chose, and how it compares on test."""
    chosen = table.chosen
    if chosen is None:
        compared = [row for row in table.rows if row.estimates]
        return "There is nothing to compare yet" if len(compared) < 2 else "The figures"
    what = f"Best on validation: {in_words(chosen.settings)}"
    if chosen.method == BASELINE and chosen.rival is not None:
        return f"{what}: nothing was better"
    parts = [what, *_against("scratch", chosen.over_scratch)]
    if chosen.rival is not None and chosen.rival.settings != (chosen.over_scratch or chosen.rival).settings:
        parts += _against(in_words(chosen.rival.settings), chosen.rival)
    return "; ".join(parts)


def _against(name: str, comparison: Comparison | None) -> Iterator[str]:
    """An improvement in words, with the doubt that belongs to it."""
    if comparison is None or comparison.improvement is None:
        return
    p_value = comparison.adjusted_p_value
    doubt = ", which may be chance" if p_value is not None and p_value >= SIGNIFICANT else ""
    yield f"on test {improvement_text(comparison)} against {name}{doubt}"


def _figures(table: Table) -> str:
    plot = list(_plot(table))
    return html.section("Figures", *(plot or [html.paragraph("No run is complete yet.", "missing")]))


def _plot(table: Table, what: str = "") -> Iterator[str]:
    """Every seed of every row as a point; nothing before the first is complete."""
    groups = [
        Spot(
            in_words(row.settings) or "all",
            row.values["test"],
            row.estimates["test"].value,
            row.estimates["test"].error,
        )
        for row in table.rows
        if row.estimates
    ]
    if not groups:
        return
    caption = "Circles: one seed each. Diamonds: means, with their standard error where there are several seeds."
    yield html.figure(spots(f"test {table.figure}{what}", groups), caption, "plot single")


def _runs(results: Results) -> str:
    rows = [
        (
            in_words(run.settings),
            str(run.seed),
            *_outcome(run.figures),
            run.error or run.status,
            html.text(f"`{run.id}`"),
        )
        for run in results.runs
    ]
    titles = ("run", "seed", "validation", "test", "status", "folder in runs")
    return html.section("Runs", html.table(titles, rows, numbers=(1, 2, 3)))


def _outcome(figures: object) -> Iterator[str]:
    for split in ("validation", "test"):
        yield f"{figures[split]:.4f}" if figures else "-"  # type: ignore[index]
