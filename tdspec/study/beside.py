"""One row of a study beside each of the others: is it better than all of them?

In: a `Table` and the words of a row. Out: by how much that row is better than each other, all comparisons counted.
Leaves out: choosing the row. Name it before its test figures are known, or choose it on validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tdspec.errors import UsageError
from tdspec.spec.figures import MORE_IS_BETTER
from tdspec.spec.words import did_you_mean, similar
from tdspec.study.matrix import in_words
from tdspec.study.statistics import holm
from tdspec.study.table import Comparison, Row, Table, compared, is_one_task


@dataclass(frozen=True)
class Beside:
    """A row and what it is compared with.

    Attributes:
        row: the one that was named.
        comparisons: its test figures beside those of each other row at the same seeds, in the order of the table;
            p-values adjusted by Holm for all of them.
    """

    row: Row
    comparisons: tuple[Comparison, ...]


def beside(table: Table, name: str) -> Beside:
    """The row of this name beside each other that is complete.

    Args:
        table: of the study.
        name: the row's settings in words: "talking", or "talking, iterations 2". Where the study averages, one of the
            averaged values by itself has its own row, and the others are those of the same value.

    Raises:
        UsageError: there is no such row, or it is not complete.
    """
    row, rows = _named(table, name)
    if table.figure is None or not row.estimates:
        raise UsageError(f"no run of '{name}' is complete", "let the study go on: tdspec study SPEC --resume")
    more_is_better = MORE_IS_BETTER[table.figure]
    others = [other for other in rows if other is not row and is_one_task(row.settings, other.settings, table.average)]
    complete = [other for other in others if other.estimates]
    found = [comparison for other in complete if (comparison := compared(row, other, more_is_better))]
    adjusted = holm([comparison.p_value for comparison in found])
    pairs = zip(found, adjusted, strict=True)
    return Beside(row, tuple(replace(comparison, adjusted_p_value=p) for comparison, p in pairs))


def _named(table: Table, name: str) -> tuple[Row, Sequence[Row]]:
    """The row of this name, and the rows of its table."""
    tables = (table,) if table.by_value is None else (table.by_value, table)
    known = {in_words(row.settings): (row, one.rows) for one in tables for row in one.rows}
    if name not in known:
        rows = "; ".join(in_words(row.settings) for row in table.rows)
        hint = did_you_mean(similar(name, known)) or f"the rows are: {rows}"
        raise UsageError(f"the study has no row '{name}'", hint)
    return known[name]
