"""Columns of examples in memory, and what every source offers.

In: nothing. Out: `Column`, `Table`, the protocol `Source`, and how names that do not exist are refused.
Leaves out: images (`images.py`), and what values mean to a model (`values.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tdspec.data.images import Images
from tdspec.errors import DataError

MANY = 100
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Column:
    """One value, one array or one list for each row.

    Attributes:
        values: (rows, ...) numbers, booleans or text (dtype kind U); for lists, all their items in one (items,).
        offsets: (rows + 1,) where each row's list starts and ends in values; None where rows are no lists.
        class_names: the names of the numbers 0, 1, ..., where the source has them.
    """

    values: Array
    offsets: Array | None = None
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """Columns of one length; `row_name` says where a row comes from, for messages."""

    num_rows: int
    columns: Mapping[str, Column]
    row_name: Callable[[int], str]


class Source(Protocol):
    """Examples in named splits. Rows are numbered through the splits that a call names, in the source's order."""

    @property
    def title(self) -> str:
        """What messages call the source."""

    @property
    def own_splits(self) -> Mapping[str, int]:
        """The number of examples of each split the source has."""

    @property
    def column_names(self) -> Sequence[str]:
        """Every column, images included."""

    def read(self, splits: Sequence[str], columns: Sequence[str]) -> Table:
        """Read columns that are no images into memory."""

    def images(self, splits: Sequence[str], column: str) -> Images:
        """Describe a column of images without reading them all."""

    def texts(self, splits: Sequence[str], column: str) -> Array:
        """Read a column of texts as Python's, since numpy's take the space of the longest: (rows,) objects.

        A column that is none comes as it is, and is refused by who reads it.
        """


def unknown(kind: str, name: str, known: Iterable[str], place: str) -> DataError:
    """The error for a name that does not exist, with the likeliest one that does."""
    names = [str(item) for item in known]
    message = f"no {kind} '{name}' in {place}"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return DataError(message, f"did you mean '{close[0]}'?")
    return DataError(
        message, f"it has {listed(names)}" if len(names) <= MANY else f"none of {len(names):,} names is close"
    )


def check_columns(names: Iterable[str], source: Source, what: str) -> None:
    """Refuse a column that the source does not have; `what` asks for it, such as "task.label"."""
    for name in names:
        if name not in source.column_names:
            error = unknown("column", name, source.column_names, source.title)
            raise DataError(f"{what}: {error.message}", error.hint)


def listed(names: Sequence[str], limit: int = 20) -> str:
    """Quoted names in one line; the rest of a long list is counted."""
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def split_row_name(own: Mapping[str, int]) -> Callable[[int], str]:
    """Name a row by its split and its number there, counting from 0."""
    names = list(own)
    ends = np.cumsum([own[name] for name in names])

    def row_name(row: int) -> str:
        part = int(np.searchsorted(ends, row, side="right"))
        start = int(ends[part - 1]) if part else 0
        return f"example {row - start} of split '{names[part]}'"

    return row_name
