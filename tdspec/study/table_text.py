"""The table of a study as text: Markdown for people, JSON and CSV for programs.

In: `Table`. Out: texts and plain data.
Leaves out: the numbers (`table.py`), the HTML page (`report/study_page.py`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from tdspec.spec.figures import MORE_IS_BETTER
from tdspec.study.beside import Beside
from tdspec.study.matrix import in_words
from tdspec.study.statistics import Estimate
from tdspec.study.table import SPLITS, Comparison, Row, Table

ONE_SEED = "one seed: no error can be given"
NOTHING = "-"


def header(table: Table) -> tuple[str, ...]:
    """Titles of the columns."""
    figure = table.figure or "figure"
    axes = [key.rpartition(".")[2] for key in table.axes]
    comparisons = ("over scratch", "p (Holm)", "over the best other", "p (Holm)")
    return (*axes, "seeds", f"validation {figure}", f"test {figure}", *comparisons)


def cells(table: Table, row: Row) -> tuple[str, ...]:
    """A row for people."""
    settings = [_word(row.settings[key]) if key in row.settings else NOTHING for key in table.axes]
    count = f"{len(row.seeds)}" if len(row.seeds) == row.planned else f"{len(row.seeds)} of {row.planned}"
    means = [_mean_text(row.estimates[split]) if row.estimates else NOTHING for split in SPLITS]
    rival = improvement_text(row.rival)
    if row.rival is not None:
        other = {key: value for key, value in row.rival.settings.items() if row.settings.get(key) != value}
        rival = f"{rival} ({in_words(other)})"
    p_values = [_p_text(None if item is None else item.adjusted_p_value) for item in (row.over_scratch, row.rival)]
    return (*settings, count, *means, improvement_text(row.over_scratch), p_values[0], rival, p_values[1])


def improvement_text(comparison: Comparison | None) -> str:
    """An improvement never stands without its error, or without the words that there is none."""
    if comparison is None or comparison.improvement is None:
        return NOTHING
    value, error = 100 * comparison.improvement.value, comparison.improvement.error
    return f"{value:+.2f} % ({ONE_SEED})" if error is None else f"{value:+.2f} % ± {100 * error:.2f} %"


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
        "average": list(table.average),
        "by_value": None if table.by_value is None else as_data(table.by_value),
    }


def _row_data(row: Row) -> dict[str, Any]:
    return {
        "settings": dict(row.settings),
        "planned": row.planned,
        "seeds": list(row.seeds),
        **{split: {**_estimate_data(row.estimates.get(split)), "values": list(row.values[split])} for split in SPLITS},
        "method": row.method,
        "over_scratch": _comparison_data(row.over_scratch),
        "over_best_other": _comparison_data(row.rival),
    }


def _comparison_data(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "against": dict(comparison.settings),
        "relative_improvement": _estimate_data(comparison.improvement),
        "pairs": comparison.pairs,
        "p_value": comparison.p_value,
        "p_value_holm": comparison.adjusted_p_value,
    }


def _estimate_data(estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {"value": None, "standard_error": None}
    return {"value": estimate.value, "standard_error": estimate.error}


COMPARISON_COLUMNS = ("relative_improvement", "relative_improvement_error", "pairs", "p_value", "p_value_holm")


def as_csv(table: Table) -> str:
    """The table's numbers, unrounded; an unknown one is an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    numbers = ("validation", "validation_error", "test", "test_error")
    others = [f"other_{name}" for name in COMPARISON_COLUMNS]
    writer.writerow([*table.axes, "planned", "seeds", *numbers, *COMPARISON_COLUMNS, "other", *others])
    for row in table.rows:
        settings = [_word(row.settings[key]) if key in row.settings else "" for key in table.axes]
        figures = [part for split in SPLITS for part in _estimate_data(row.estimates.get(split)).values()]
        other = "" if row.rival is None else in_words(row.rival.settings)
        counts = (row.planned, len(row.seeds))
        writer.writerow([*settings, *counts, *figures, *_numbers(row.over_scratch), other, *_numbers(row.rival)])
    return stream.getvalue()


def _numbers(comparison: Comparison | None) -> list[float | None]:
    if comparison is None:
        return [None] * len(COMPARISON_COLUMNS)
    estimate = _estimate_data(comparison.improvement).values()
    return [*estimate, comparison.pairs, comparison.p_value, comparison.adjusted_p_value]


def title_by_value(table: Table) -> str:
    """The title of the table that keeps averaged values apart."""
    return f"By {' and '.join(table.average)}"


def as_markdown(table: Table) -> str:
    """The table for people, in columns of equal width, with its notes; below it the one that keeps values apart."""
    lines = _markdown_table([header(table), *(cells(table, row) for row in table.rows)])
    text = "\n".join([*lines, "", *(f"- {note}" for note in table.notes)]) + "\n"
    return text if table.by_value is None else f"{text}\n## {title_by_value(table)}\n\n{as_markdown(table.by_value)}"


def title_beside(found: Beside) -> str:
    """The title of the comparison of one row with the others."""
    return f"{in_words(found.row.settings)} beside each other row"


def lines_beside(found: Beside) -> list[tuple[str, str, str, str]]:
    """Titles, then a line for each other row: how many seeds, by how much the row is better, whether by chance."""
    lines = [
        (in_words(other.settings), str(other.pairs), improvement_text(other), _p_text(other.adjusted_p_value))
        for other in found.comparisons
    ]
    return [("the other", "seeds", f"{in_words(found.row.settings)} is better by", "p (Holm)"), *lines]


def beside_as_markdown(found: Beside) -> str:
    """The same for people who read or keep text."""
    return "\n".join(_markdown_table(lines_beside(found))) + "\n"


def _markdown_table(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = [_markdown_line([cell.ljust(width) for cell, width in zip(line, widths, strict=True)]) for line in lines]
    return [texts[0], _markdown_line(["-" * width for width in widths]), *texts[1:]]


def _markdown_line(parts: Sequence[str]) -> str:
    return f"| {' | '.join(parts)} |"
