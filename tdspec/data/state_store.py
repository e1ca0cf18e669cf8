"""Tensors of many examples in files: written once, in order, then read row by row without loading them.

In: a `StoreSpec`, rows in order. Out: a folder ROOT/<hash of the key>/ with one file of plain rows for each tensor and
`cache.json`, which has the key, how many rows are there, and their checksums. Rows reach the disk before they are
counted, so that a killed process leaves what another goes on with; a lock lets one process write at a time, and frees
itself.
Leaves out: what the tensors mean and how they are computed (`run/teacher_cache.py`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from tdspec.errors import DataError
from tdspec.spec.quantities import quantity

Array = np.ndarray[Any, Any]
RECORD, LOCK = "cache.json", ".lock"
# How a value lies in a file; numpy has no bfloat16, so its bits do.
FILE_DTYPES: Mapping[str, Any] = {"bfloat16": np.uint16, "float16": np.float16, "float32": np.float32}
FOLDER_HINT = "write data.teacher_cache: {folder: ...}"
CHUNK_BYTES = 2**24
SPACE_HINT = f"{FOLDER_HINT} with a folder on a larger disk, or dtype: bfloat16, or fewer views"


@dataclass(frozen=True)
class StoreSpec:
    """What is stored.

    Attributes:
        key: JSON-ready; everything the values depend on.
        shapes: of one row of each tensor, by name.
        dtype: a key of FILE_DTYPES.
        num_rows: of each tensor.
    """

    key: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    num_rows: int

    def folder(self, root: Path) -> Path:
        """Where it lies, the same for the same key."""
        text = json.dumps(self.key, sort_keys=True, allow_nan=False)
        return root / hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]

    def row_bytes(self, name: str) -> int:
        return int(prod(self.shapes[name]) * np.dtype(FILE_DTYPES[self.dtype]).itemsize)

    @property
    def num_bytes(self) -> int:
        return self.num_rows * sum(self.row_bytes(name) for name in self.shapes)

    def record(self, written: Written) -> dict[str, Any]:
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        stored = {"key": dict(self.key), "shapes": shapes, "dtype": self.dtype, "rows": self.num_rows}
        return {**stored, "done": written.rows, "crc32": dict(written.checksums)}


@dataclass(frozen=True)
class Written:
    """What of a store is on the disk.

    Attributes:
        rows: how many, of each tensor.
        checksums: the CRC-32 of these rows, by tensor.
    """

    rows: int
    checksums: Mapping[str, int]


def what_is_written(folder: Path, spec: StoreSpec) -> Written:
    """How much of a store is on the disk; its content is not read.

    Raises:
        DataError: what lies in its folder is something else, or less than it says.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
        written = Written(int(record["done"]), dict(record["crc32"]))
    except FileNotFoundError:
        return Written(0, dict.fromkeys(spec.shapes, 0))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{RECORD} cannot be read") from error
    done, named = written.rows, written.checksums.keys() == spec.shapes.keys()
    if record != json.loads(json.dumps(spec.record(written))) or not (named and 0 <= done <= spec.num_rows):
        raise _damaged(folder, f"{RECORD} is of other states")
    for name in spec.shapes:
        file = folder / f"{name}.bin"
        size = file.stat().st_size if file.is_file() else 0
        if size < done * spec.row_bytes(name):
            raise _damaged(folder, f"{file.name} has {size:,} bytes, expected {done * spec.row_bytes(name):,}")
    return written


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(f"the stored states in {folder} are damaged: {what}", f"delete {folder}: they are computed anew")


@dataclass(frozen=True, eq=False)
class StateFiles:
    """A complete store, mapped into memory: the system reads what is asked for, and forgets it when memory is short."""

    folder: Path
    spec: StoreSpec
    arrays: Mapping[str, Array]

    def read(self, rows: Array) -> dict[str, Array]:
        """Copies of some rows of each tensor, (rows, ...) of the files' dtype."""
        return {name: array[rows] for name, array in self.arrays.items()}


def open_files(root: Path, spec: StoreSpec) -> StateFiles | None:
    """A store for reading, or None where it is missing or not complete.

    Raises:
        DataError: the files are damaged, which is found by reading them once.
    """
    folder = spec.folder(root)
    written = what_is_written(folder, spec)
    if written.rows < spec.num_rows:
        return None
    for name, expected in written.checksums.items():
        if _checksum(folder / f"{name}.bin") != expected:
            raise _damaged(folder, f"{name}.bin is not what was written")
    dtype = FILE_DTYPES[spec.dtype]
    arrays = {
        name: np.memmap(folder / f"{name}.bin", dtype, "r", shape=(spec.num_rows, *shape))
        for name, shape in spec.shapes.items()
    }
    return StateFiles(folder, spec, arrays)


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            found = zlib.crc32(chunk, found)
    return found


class Writer:
    """Appends rows to the files of a store; made by `writing`.

    Args:
        folder: of the store.
        spec: what is stored.
        files: by tensor, open for writing after the last row that counts.
        written: what counts.
    """

    def __init__(self, folder: Path, spec: StoreSpec, files: Mapping[str, IO[bytes]], written: Written):
        self._folder, self._spec, self._files = folder, spec, files
        self._written = written

    @property
    def done(self) -> int:
        """How many rows there are, once they are saved."""
        return self._written.rows

    def append(self, rows: Mapping[str, Array]) -> None:
        """Write the next rows of each tensor; they count after the next `save`."""
        checksums = {}
        with _disk_errors(self._folder):
            for name, file in self._files.items():
                values = np.ascontiguousarray(rows[name], FILE_DTYPES[self._spec.dtype]).reshape(-1).view(np.uint8).data
                checksums[name] = zlib.crc32(values, self._written.checksums[name])
                _write_all(file, values)
        self._written = Written(self.done + len(next(iter(rows.values()))), checksums)

    def save(self) -> None:
        """Flush what was written to the disk, then count it."""
        with _disk_errors(self._folder):
            for file in self._files.values():
                os.fsync(file.fileno())
            _write_record(self._folder, self._spec.record(self._written))


def _write_all(file: IO[bytes], left: memoryview) -> None:
    """Write past Python's buffers, which would be written again when a file is closed, also on a full disk."""
    while len(left):
        left = left[file.write(left) :]


@contextlib.contextmanager
def writing(root: Path, spec: StoreSpec, on_wait: Callable[[], None]) -> Iterator[Writer]:
    """Write a store, from where a killed process left it.

    Args:
        root: the folder of all stores.
        spec: what is stored.
        on_wait: called where another process is writing the same store, before waiting for it.

    Yields:
        The writer; where it is done already, the other process has finished. Rows are saved at the end, also when
        writing is interrupted.

    Raises:
        DataError: the folder cannot be written, or the disk has too little space; before anything is computed.
    """
    folder = spec.folder(root)
    with contextlib.ExitStack() as stack:
        with _disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(folder, on_wait))
            written = what_is_written(folder, spec)
            done = written.rows
            _require_space(folder, spec, done)
            if done == 0:
                # Before the first row, so that an empty start can be told from a folder of something else.
                _write_record(folder, spec.record(written))
            files = {name: stack.enter_context(_open_at(folder, spec, name, done)) for name in spec.shapes}
        writer = Writer(folder, spec, files, written)
        try:
            yield writer
        finally:
            if writer.done > done:
                writer.save()


@contextlib.contextmanager
def _locked(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_at(folder: Path, spec: StoreSpec, name: str, done: int) -> IO[bytes]:
    file = (folder / f"{name}.bin").open("r+b" if done else "wb", buffering=0)
    # Rows that were written and never counted are written again.
    file.truncate(done * spec.row_bytes(name))
    file.seek(0, os.SEEK_END)
    return file


def _require_space(folder: Path, spec: StoreSpec, done: int) -> None:
    needed = spec.num_bytes * (spec.num_rows - done) // spec.num_rows
    free = shutil.disk_usage(folder).free
    if needed > free:
        message = (
            f"the teacher's states need {quantity(needed, 'B')}, the disk of {folder} has {quantity(free, 'B')} left"
        )
        raise DataError(message, SPACE_HINT)


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = SPACE_HINT if error.errno in (errno.ENOSPC, errno.EDQUOT) else FOLDER_HINT
        raise DataError(f"cannot write the teacher's states to {folder}: {error.strerror or error}", hint) from error


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Replace the record; it is there whole or not at all."""
    temporary = folder / f"{RECORD}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / RECORD)
