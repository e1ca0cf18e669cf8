"""Folders of images: PATH/CLASS/file, or PATH/SPLIT/CLASS/file.

In: a path. Out: a `Source` with the columns image and label; classes are numbered by their sorted names.
Leaves out: files whose ending is none of IMAGE_ENDINGS, and hidden ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tdspec.data.images import FileImages, Images
from tdspec.data.table import Array, Column, Table
from tdspec.errors import DataError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
LAYOUT_HINT = f"lay it out as PATH/CLASS/file or PATH/SPLIT/CLASS/file; files end in {', '.join(IMAGE_ENDINGS)}"


@dataclass(frozen=True)
class FolderSource:
    """Image files, sorted by split, class and name."""

    title: str
    files: Mapping[str, tuple[Path, ...]]
    class_names: tuple[str, ...]
    column_names: tuple[str, ...] = ("image", "label")

    @property
    def own_splits(self) -> Mapping[str, int]:
        return {name: len(files) for name, files in self.files.items()}

    def _paths(self, splits: Sequence[str]) -> list[Path]:
        return [path for name in splits for path in self.files[name]]

    def read(self, splits: Sequence[str], columns: Sequence[str]) -> Table:
        if "image" in columns:
            raise DataError(f"column 'image' of {self.title} holds images, expected numbers or text")
        paths = self._paths(splits)
        numbers = {name: number for number, name in enumerate(self.class_names)}
        labels = np.array([numbers[path.parent.name] for path in paths], np.int64)
        column = Column(labels, class_names=self.class_names)
        return Table(len(paths), {name: column for name in columns}, lambda row: str(paths[row]))

    def texts(self, splits: Sequence[str], column: str) -> Array:
        raise DataError(f"column '{column}' of {self.title} is no text: a folder of images has none")

    def images(self, splits: Sequence[str], column: str) -> Images:
        if column != "image":
            raise DataError(f"column '{column}' of {self.title} is no image", "the image is in the column 'image'")
        return FileImages(self._paths(splits))


def open_folder(path: str) -> FolderSource:
    """List the files of a folder of images.

    Raises:
        DataError: it is no folder, holds no images, or mixes both layouts.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{path} is not a folder", LAYOUT_HINT)
    folders = _folders(root)
    flat = [folder for folder in folders if _images(folder)]
    nested = [folder for folder in folders if any(_images(inner) for inner in _folders(folder))]
    if flat and nested:
        message = f"{path} mixes two layouts: {flat[0].name}/ holds images, {nested[0].name}/ holds folders of images"
        raise DataError(message, LAYOUT_HINT)
    if not flat and not nested:
        raise DataError(f"{path} holds no images", LAYOUT_HINT)
    splits = {"all": root} if flat else {folder.name: folder for folder in nested}
    classes = {name: [folder for folder in _folders(split) if _images(folder)] for name, split in splits.items()}
    files = {name: tuple(file for folder in found for file in _images(folder)) for name, found in classes.items()}
    names = sorted({folder.name for found in classes.values() for folder in found})
    return FolderSource(title=root.name, files=files, class_names=tuple(names))


def _folders(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(
        item
        for item in folder.iterdir()
        if item.suffix.lower() in IMAGE_ENDINGS and not item.name.startswith(".") and item.is_file()
    )
