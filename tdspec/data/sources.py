"""The sources that a spec can name.

In: a source's name, its builder or path, and the columns that are wanted. Out: a `Source`.
Leaves out: how each reads its examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tdspec.data.arrays_source import CsvSource, DigitsSource, NpzSource
from tdspec.data.download import fetch
from tdspec.data.folder_source import open_folder
from tdspec.data.table import Source, check_columns
from tdspec.data.tfds_source import open_tfds

Opener = Callable[[str | None, str | None], Source]


def _at(open_path: Callable[[str], Source]) -> Opener:
    def open_named(name: str | None, path: str | None) -> Source:
        assert path is not None
        return open_path(path)

    return open_named


SOURCES: Mapping[str, Opener] = {
    "digits": lambda name, path: DigitsSource(),
    "tfds": open_tfds,
    "image_folder": _at(open_folder),
    "csv": _at(CsvSource),
    "npz": _at(NpzSource),
}


def open_source(
    source: str, name: str | None, path: str | None, wanted: Mapping[str, Sequence[str]], *, download: bool
) -> Source:
    """Open a source.

    Args:
        source: a key of SOURCES.
        name: the builder (tfds).
        path: the file or folder.
        wanted: columns by what asks for them, such as {"task.label": ["label"]}.
        download: whether missing data may be downloaded.

    Raises:
        DataError: the data are missing or unreadable, or have no such column.
    """
    if download:
        fetch(source=source, name=name, path=path)
    opened = SOURCES[source](name, path)
    for what, columns in wanted.items():
        check_columns(columns, opened, what)
    if isinstance(opened, NpzSource):
        opened.choose(list(dict.fromkeys(column for columns in wanted.values() for column in columns)))
    return opened
