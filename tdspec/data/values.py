"""What the values of a column mean to a model: ids, lists of ids, numbers, labels.

In: a `Table` and the rows that are used. Out: numpy arrays of the dtypes that `pipeline.py` promises; a value that
does not fit is a DataError that names the example. Leaves out: images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tdspec.data.table import Table, listed
from tdspec.errors import DataError

Array = np.ndarray[Any, Any]
LIST_SEPARATOR = "|"


def numbers(table: Table, name: str, rows: Array) -> Array:
    """Finite numbers: float32 (rows,)."""
    values = _scalars(table, name, rows)
    if values.dtype.kind == "U":
        values = _parsed(values, np.float64, table, name, rows, "a number")
    bad = ~np.isfinite(values)
    if bad.any():
        raise _misfit(table, name, rows, values, bad, "a finite number")
    if (np.abs(values) > np.finfo(np.float32).max).any():
        raise _misfit(table, name, rows, values, np.abs(values) > np.finfo(np.float32).max, "a number of 32 bits")
    return values.astype(np.float32)


def ids(table: Table, name: str, rows: Array, size: int) -> Array:
    """Whole numbers, booleans or decimal text from 0 to size - 1: int32 (rows,)."""
    values = _scalars(table, name, rows)
    return _bounded(_whole(values, table, name, rows), size, table, name, rows).astype(np.int32)


def id_lists(table: Table, name: str, rows: Array, size: int) -> Array:
    """Lists of ids: int32 (rows, longest list of the whole table), padded with -1."""
    owners, items = list_items(table, name)
    width = max(1, int(np.bincount(owners, minlength=1).max(initial=0)))
    position = np.full(table.num_rows, -1)
    position[rows] = np.arange(len(rows))
    kept = position[owners] >= 0
    owners, items = owners[kept], items[kept]
    items = _bounded(_whole(items, table, name, owners), size, table, name, owners)
    result = np.full((len(rows), width), -1, np.int32)
    result[position[owners], _places(owners)] = items
    return result


def list_items(table: Table, name: str) -> tuple[Array, Array]:
    """Every item of a column of lists: (row of each item, item), row by row.

    Text is split at `|`; an array of two dimensions is a list a row, without its padding of -1; a scalar is one item.
    """
    column = table.columns[name]
    values = column.values
    if column.offsets is not None:
        return np.repeat(np.arange(table.num_rows), np.diff(column.offsets)), values
    if values.ndim == 2:
        owners = np.repeat(np.arange(table.num_rows), values.shape[1])
        flat = values.reshape(-1)
        kept = flat != -1 if flat.dtype.kind in "iuf" else np.ones(len(flat), bool)
        return owners[kept], flat[kept]
    if values.dtype.kind == "U" and values.ndim == 1:
        lists = [[item.strip() for item in text.split(LIST_SEPARATOR)] if text.strip() else [] for text in values]
        owners = np.repeat(np.arange(table.num_rows), [len(items) for items in lists])
        return owners, np.array([item for items in lists for item in items], np.str_)
    _scalars(table, name, np.arange(table.num_rows))
    return np.arange(table.num_rows), values


def class_numbers(
    table: Table, name: str, rows: Array, num_classes: int | None
) -> tuple[Array, tuple[str, ...] | None]:
    """Class labels: int32 (rows,) from 0 to num_classes - 1, and the names of the classes where there are any.

    Text that is not all whole numbers is numbered by its sorted different values over the whole table.
    """
    column = table.columns[name]
    values = _scalars(table, name, rows)
    names = column.class_names
    if values.dtype.kind == "U" and not _all_whole_text(column.values):
        missing = np.asarray(values == "")
        if missing.any():
            raise _misfit(table, name, rows, values, missing, "a label")
        unique = np.unique(column.values)
        unique = unique[unique != ""]
        names = tuple(str(item) for item in unique)
        _check_names(names, num_classes, name)
        values = np.searchsorted(unique, values)
    whole = _whole(values, table, name, rows)
    return _bounded(whole, num_classes, table, name, rows, "a class").astype(np.int32), names


def yes_or_no(table: Table, name: str, rows: Array) -> tuple[Array, tuple[str, ...] | None]:
    """Labels of a binary task: float32 (rows,) of 0 and 1; two texts are numbered in their sorted order."""
    values, names = class_numbers(table, name, rows, 2)
    return values.astype(np.float32), names


def many_hot(table: Table, name: str, rows: Array, num_classes: int) -> tuple[Array, tuple[str, ...] | None]:
    """Labels of a multilabel task: float32 (rows, num_classes) of 0 and 1.

    From lists of class numbers or names, or from an array (rows, num_classes) of 0 and 1.
    """
    column = table.columns[name]
    values = column.values
    if column.offsets is None and values.ndim == 2 and values.shape[1] == num_classes:
        bad = np.asarray(~np.isin(values[rows], (0, 1)).all(axis=1))
        if bad.any():
            raise _misfit(table, name, rows, values[rows], bad, "only 0 and 1")
        return values[rows].astype(np.float32), column.class_names
    owners, items = list_items(table, name)
    names = column.class_names
    if items.dtype.kind == "U" and not _all_whole_text(items):
        unique, items = np.unique(items, return_inverse=True)
        names = tuple(str(item) for item in unique)
        _check_names(names, num_classes, name)
    position = np.full(table.num_rows, -1)
    position[rows] = np.arange(len(rows))
    kept = position[owners] >= 0
    owners, items = owners[kept], items[kept]
    whole = _bounded(_whole(items, table, name, owners), num_classes, table, name, owners, "a class")
    result = np.zeros((len(rows), num_classes), np.float32)
    result[position[owners], whole] = 1
    return result, names


def sortable(table: Table, name: str) -> Array:
    """The values of every row as something that sorts: numbers where all are numbers, else text."""
    rows = np.arange(table.num_rows)
    values = _scalars(table, name, rows)
    if values.dtype.kind == "U":
        for dtype in (np.int64, np.float64):
            try:
                values = values.astype(dtype)
                break
            except (ValueError, OverflowError):
                continue
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise _misfit(table, name, rows, values, np.isnan(values), "a value that can be sorted")
    return values


def _scalars(table: Table, name: str, rows: Array) -> Array:
    column = table.columns[name]
    values = column.values
    if column.offsets is None and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if column.offsets is not None or values.ndim != 1:
        raise DataError(f"column '{name}' holds a list in each row, expected one value", "read it as ids")
    if values.dtype.kind not in "biufU":
        raise DataError(f"column '{name}' holds {values.dtype}, expected numbers or text")
    return values[rows]


def _whole(values: Array, table: Table, name: str, rows: Array) -> Array:
    if values.dtype.kind == "U":
        values = _parsed(
            values, np.int64 if _all_whole_text(values) else np.float64, table, name, rows, "a whole number"
        )
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values) | (values != np.round(values)) | (np.abs(values) > 2**53)
        if bad.any():
            raise _misfit(table, name, rows, values, bad, "a whole number")
    if values.dtype.kind == "u":
        values = np.minimum(values.astype(np.uint64), np.uint64(np.iinfo(np.int64).max))
    return values.astype(np.int64)


def _parsed(values: Array, dtype: Any, table: Table, name: str, rows: Array, expected: str) -> Array:
    try:
        return values.astype(dtype)
    except (ValueError, OverflowError):
        bad = np.array([not is_number(text) for text in values])
    if not bad.any():
        return np.array([float(text) for text in values])
    raise _misfit(table, name, rows, values, bad, expected)


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _all_whole_text(values: Array) -> bool:
    try:
        values.astype(np.int64)
    except (ValueError, OverflowError):
        return False
    return True


def _bounded(values: Array, size: int | None, table: Table, name: str, rows: Array, what: str = "an id") -> Array:
    bad = (values < 0) | (values >= size) if size is not None else values < 0
    if bad.any():
        expected = f"{what} from 0 to {size - 1}" if size is not None else f"{what} from 0"
        raise _misfit(table, name, rows, values, bad, expected)
    return values


def _check_names(names: tuple[str, ...], num_classes: int | None, name: str) -> None:
    if num_classes is not None and len(names) > num_classes:
        message = f"column '{name}' has {len(names)} different labels, expected at most {num_classes}"
        raise DataError(message, f"they are {listed(names)}")


def _misfit(table: Table, name: str, rows: Array, values: Array, bad: Array, expected: str) -> DataError:
    """The error for the first bad value; says how many more there are."""
    first = int(np.flatnonzero(bad)[0])
    value = values[first]
    found = f"'{value}'" if values.dtype.kind == "U" else f"{value}"
    found = "nothing" if found == "''" else found
    others = int(bad.sum()) - 1
    rest = f" (and {others} more)" if others else ""
    return DataError(f"column '{name}' has {found} in {table.row_name(int(rows[first]))}{rest}, expected {expected}")


def _places(owners: Array) -> Array:
    """The position of each item in its row's list; items of a row stand together."""
    if not len(owners):
        return owners
    starts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
    return np.arange(len(owners)) - np.repeat(starts, np.diff(np.r_[starts, len(owners)]))
