"""Which rows of a part stay, and which of them keep their label.

In: rows of a `Table`. Out: fewer rows, or a mask. Leaves out: splitting, which comes first (`splits.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tdspec.data.seeds import generator
from tdspec.data.table import Column, Table, listed
from tdspec.data.values import LIST_SEPARATOR, list_items
from tdspec.errors import DataError

Array = np.ndarray[Any, Any]


def matching(table: Table, where: Mapping[str, Any], used: Array) -> Array:
    """Rows that fit every filter.

    Args:
        table: has every column that where names.
        where: column to value or list of values; a list in a row must contain one of them.
        used: the rows of all parts; a value that none of them has is refused.

    Returns:
        bool (table rows,).
    """
    result = np.ones(table.num_rows, bool)
    for name, wanted in where.items():
        result &= _column_matches(table, name, wanted if isinstance(wanted, list | tuple) else [wanted], used)
    return result


def describe_filters(where: Mapping[str, Any]) -> str:
    """The filters as a user wrote them, for messages."""
    return ", ".join(f"{name}: {wanted}" for name, wanted in where.items())


def _column_matches(table: Table, name: str, wanted: list[Any] | tuple[Any, ...], used: Array) -> Array:
    column = table.columns[name]
    owners, items = _candidates(table, name)
    is_used = np.zeros(table.num_rows, bool)
    is_used[used] = True
    result = np.zeros(table.num_rows, bool)
    for value in wanted:
        hit = owners[_equal(items, value, column)]
        if not is_used[hit].any():
            raise _never(name, value, items[is_used[owners]], column)
        result[hit] = True
    return result


def _candidates(table: Table, name: str) -> tuple[Array, Array]:
    """(row, value) pairs; text that holds the list separator counts as a whole as well as item by item."""
    owners, items = list_items(table, name)
    values = table.columns[name].values
    if values.dtype.kind == "U" and table.columns[name].offsets is None and values.ndim == 1:
        whole = np.flatnonzero(np.char.find(values, LIST_SEPARATOR) >= 0)
        return np.concatenate([owners, whole]), np.concatenate([items, values[whole]])
    return owners, items


def _equal(items: Array, value: Any, column: Column) -> Array:
    if column.class_names is not None and isinstance(value, str):
        if value not in column.class_names:
            return np.zeros(len(items), bool)
        return np.asarray(items == column.class_names.index(value))
    if items.dtype.kind == "U" and isinstance(value, bool):
        return np.asarray(np.char.lower(items) == str(value).lower())
    if items.dtype.kind == "U" and isinstance(value, str):
        return np.asarray(items == value)
    try:
        return np.asarray(items.astype(np.float64) == float(value))
    except ValueError:
        return np.asarray(items == str(value)) if items.dtype.kind == "U" else np.zeros(len(items), bool)


def _never(name: str, value: Any, items: Array, column: Column) -> DataError:
    found = np.unique(items)
    names = column.class_names
    shown = [names[int(item)] if names and 0 <= int(item) < len(names) else str(item) for item in found]
    close = difflib.get_close_matches(str(value), shown, n=1)
    suggestion = f"did you mean '{close[0]}'? " if close else ""
    return DataError(f"data.where.{name}: no example has {value!r}", f"{suggestion}it has {listed(shown)}")


def labelled(labels: Array, labels_per_class: int, seed: int) -> Array:
    """Draw the training examples that keep their label.

    Args:
        labels: (examples,) class numbers of the training split.
        labels_per_class: how many of each class; a class that has fewer keeps them all.
        seed: of the draw.

    Returns:
        bool (examples,).
    """
    order = generator("labels", seed).permutation(len(labels))
    keep = np.zeros(len(labels), bool)
    for number in np.unique(labels):
        keep[order[labels[order] == number][:labels_per_class]] = True
    return keep
