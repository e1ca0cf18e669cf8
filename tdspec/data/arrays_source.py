"""Sources that are one file of arrays or text: digits, npz and csv.

In: a path. Out: a `Source`. Text of a csv file stays text here; `values.py` reads it as what a model wants.
Leaves out: pickled objects, which are refused.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tdspec.data.images import ArrayImages, Images
from tdspec.data.table import Array, Column, Table, split_row_name
from tdspec.errors import DataError

DIGITS_FILE = Path(__file__).with_name("digits.npz")
DIGITS_MAXIMUM = 16
NPZ_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DigitsSource:
    """1,797 hand-written digits: image uint8 (8, 8, 1) and label 0 to 9."""

    title: str = "digits"
    column_names: tuple[str, ...] = ("image", "label")

    @cached_property
    def arrays(self) -> Mapping[str, Array]:
        with np.load(DIGITS_FILE, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    @property
    def own_splits(self) -> Mapping[str, int]:
        return {"all": len(self.arrays["label"])}

    def read(self, splits: Sequence[str], columns: Sequence[str]) -> Table:
        if "image" in columns:
            raise DataError("column 'image' of digits holds images, expected numbers or text")
        names = tuple(str(digit) for digit in range(10))
        column = Column(self.arrays["label"].astype(np.int64), class_names=names)
        return Table(len(column.values), {name: column for name in columns}, split_row_name(self.own_splits))

    def texts(self, splits: Sequence[str], column: str) -> Array:
        raise DataError(f"column '{column}' of digits is no text: digits has none")

    def images(self, splits: Sequence[str], column: str) -> Images:
        if column != "image":
            raise DataError(f"column '{column}' of digits is no image", "the image is in the column 'image'")
        pixels = np.round(self.arrays["image"].astype(np.float64) * 255 / DIGITS_MAXIMUM)
        return ArrayImages(pixels.astype(np.uint8)[..., None])


class NpzSource:
    """Arrays of one length (NAME: the split "all"), or of one length a split (NAME_train, NAME_test)."""

    def __init__(self, path: str):
        self.title = Path(path).name
        try:
            file = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"cannot read {path}: {_reason(error)}", "data.path names a file written by numpy.savez"
            ) from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{path} holds one array without a name, expected an npz file", "write it with numpy.savez")
        self._file = file
        self._path = path
        self._lengths: dict[str, int] = {}
        self._arrays: dict[str, Array] = {}
        self.column_names = tuple(dict.fromkeys(self._column_of(key) for key in file.files))

    def _column_of(self, key: str) -> str:
        base, _, split = key.rpartition("_")
        return base if base and split in NPZ_SPLITS else key

    @property
    def own_splits(self) -> Mapping[str, int]:
        return self._lengths

    def choose(self, columns: Sequence[str]) -> None:
        """Find the splits of the columns that are wanted; they must agree."""
        layouts = {name: self._splits_of(name) for name in columns}
        first = columns[0]
        for name, splits in layouts.items():
            if splits != layouts[first]:
                found = f"'{first}' has {_shape_text(layouts[first])} and '{name}' has {_shape_text(splits)}"
                raise DataError(f"the columns of {self.title} do not fit together: {found}")
        self._lengths = layouts[first]

    def _splits_of(self, name: str) -> dict[str, int]:
        if name in self._file.files:
            return {"all": len(self._array(name))}
        return {
            split: len(self._array(f"{name}_{split}")) for split in NPZ_SPLITS if f"{name}_{split}" in self._file.files
        }

    def _array(self, key: str) -> Array:
        if key not in self._arrays:
            self._arrays[key] = self._unpacked(key)
        return self._arrays[key]

    def _unpacked(self, key: str) -> Array:
        try:
            array = self._file[key]
        except ValueError as error:
            message = f"array '{key}' of {self._path} holds Python objects, expected numbers or text"
            raise DataError(message, "store it with a plain dtype; pickled objects are never loaded") from error
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"cannot read array '{key}' of {self._path}: {_reason(error)}") from error
        if array.ndim == 0:
            raise DataError(f"array '{key}' of {self._path} has no rows")
        return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array

    def _joined(self, name: str, splits: Sequence[str]) -> Array:
        keys = [name] if name in self._file.files else [f"{name}_{split}" for split in splits]
        arrays = [self._array(key) for key in keys]
        if len({array.shape[1:] for array in arrays}) > 1:
            raise DataError(
                f"the arrays {', '.join(keys)} of {self._path} differ in shape: {[a.shape for a in arrays]}"
            )
        return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]

    def read(self, splits: Sequence[str], columns: Sequence[str]) -> Table:
        read = {name: Column(self._joined(name, splits)) for name in columns}
        own = {name: self._lengths[name] for name in splits}
        return Table(sum(own.values()), read, split_row_name(own))

    def texts(self, splits: Sequence[str], column: str) -> Array:
        return self._joined(column, splits).astype(object)

    def images(self, splits: Sequence[str], column: str) -> Images:
        array = self._joined(column, splits)
        array = array[..., None] if array.ndim == 3 else array
        if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or array.dtype.kind not in "buif":
            message = (
                f"column '{column}' is {array.dtype} {array.shape}, expected images (rows, height, width, channels)"
            )
            raise DataError(message, "channels are 1, 3 or 4, values 0 to 255")
        return ArrayImages(_pixels(array, column))


def _pixels(array: Array, column: str) -> Array:
    if array.dtype == np.uint8:
        return array
    pixels = array.astype(np.float64)
    bad = ~((pixels >= 0) & (pixels <= 255) & (pixels == np.round(pixels)))
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        message = (
            f"image column '{column}' has {pixels[bad][0]:g} in example {row}, expected whole pixel values 0 to 255"
        )
        raise DataError(message, "store raw pixels; the model scales them (input.scale)")
    return pixels.astype(np.uint8)


class CsvSource:
    """A table with a header; every column is text, and a list is text separated by `|`."""

    def __init__(self, path: str):
        self.title = Path(path).name
        self._path = path
        self._lines: list[int] = []
        self._rows: list[list[str]] = []
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                self.column_names = self._read(csv.reader(file, strict=True))
        except OSError as error:
            raise DataError(f"cannot read {path}: {_reason(error)}", "data.path names a csv file") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8") from error
        except csv.Error as error:
            raise DataError(f"{path}: line {self._lines[-1] + 1 if self._lines else 1}: {error}") from error
        if not self._rows:
            raise DataError(f"{path} has no rows below its header")

    def _read(self, reader: Any) -> tuple[str, ...]:
        header: list[str] = next(reader, [])
        names = [name.strip() for name in header]
        if not names:
            raise DataError(f"{self._path} is empty, expected a header")
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{self._path}: line 1: column '{name}' stands {names.count(name)} times in the header")
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                message = (
                    f"{self._path}: line {reader.line_num}: {len(row)} values, expected {len(names)} as in the header"
                )
                raise DataError(message, "quote values that hold a comma")
            self._rows.append(row)
            self._lines.append(reader.line_num)
        return tuple(names)

    @property
    def own_splits(self) -> Mapping[str, int]:
        return {"all": len(self._rows)}

    def read(self, splits: Sequence[str], columns: Sequence[str]) -> Table:
        places = {name: self.column_names.index(name) for name in columns}
        read = {
            name: Column(np.array([row[place].strip() for row in self._rows], np.str_))
            for name, place in places.items()
        }
        return Table(len(self._rows), read, lambda row: f"line {self._lines[row]} of {self.title}")

    def texts(self, splits: Sequence[str], column: str) -> Array:
        place = self.column_names.index(column)
        return np.array([row[place].strip() for row in self._rows], object)

    def images(self, splits: Sequence[str], column: str) -> Images:
        raise DataError(
            f"column '{column}' of {self.title} is no image: a csv file has none", "use npz or image_folder"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _shape_text(splits: Mapping[str, int]) -> str:
    return ", ".join(f"{size:,} rows in '{name}'" for name, size in splits.items())
