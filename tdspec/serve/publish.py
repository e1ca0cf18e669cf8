"""Finished artefacts take their place: flushed to disk, then renamed, so that no one ever reads half of one.

In: a file or folder under a temporary name. Out: the same under its own name, in place of an older one.
Leaves out: how artefacts are made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tdspec.run.run_dir import flush_entry


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the artefacts (so that renaming is atomic), removed at the end whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as name:
        yield Path(name)


def publish(source: Path, target: Path) -> None:
    """Give a finished file or folder its name.

    A file replaces an older one in one step. Of a folder, the older one is moved out of the way first: at worst the
    name is absent for a moment, but what stands under it is always complete.

    Args:
        source: the finished artefact, on the same file system.
        target: its name.
    """
    flush(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_dir():
        source.replace(target)
    else:
        with workspace(target.parent) as aside:
            target.rename(aside / "older")
            try:
                source.rename(target)
            except OSError:
                (aside / "older").rename(target)
                raise
    flush_entry(target.parent)


def flush(path: Path) -> None:
    """Write a file, or all a folder holds, through to the disk."""
    inside = sorted(path.rglob("*")) if path.is_dir() else []
    for entry in [*inside, path]:
        flush_entry(entry)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
