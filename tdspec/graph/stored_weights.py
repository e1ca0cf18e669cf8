"""What a file of weights holds, counted without a model.

In: a `.weights.h5` or `.keras` file. Out: how many values each of its arrays has.
Leaves out: loading them (`weights.py`).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py

MEMBER = "model.weights.h5"


def stored_sizes(path: Path) -> dict[str, int]:
    """Number of values of each array of weights, by its path inside the file; an optimizer's do not count."""
    if path.name.endswith(".h5"):
        with h5py.File(path) as file:
            return _sizes(file)
    with zipfile.ZipFile(path) as archive, archive.open(MEMBER) as member, h5py.File(member) as file:
        return _sizes(file)


def _sizes(file: h5py.File) -> dict[str, int]:
    sizes: dict[str, int] = {}

    def note(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and not name.startswith("optimizer/"):
            sizes[name] = node.size

    file.visititems(note)
    return sizes
