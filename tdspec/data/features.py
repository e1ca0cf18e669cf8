"""The columns that a model is fed, read into memory or planned as a stream.

In: a `Table`, the images of a source, the wanted columns. Out: tensors, and what each image becomes.
Leaves out: labels (`labels.py`) and batches (`split.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tdspec.data import values
from tdspec.data.images import ArrayImages, Images, Size
from tdspec.data.split import ImageSpec
from tdspec.data.table import Array, Table
from tdspec.errors import DataError


@dataclass(frozen=True)
class InputColumn:
    """A column that the graph is fed.

    Attributes:
        name: of the column.
        kind: "image", "id", "ids" or "number".
        size: the number of ids, for id and ids.
        shape: (height, width, channels) of an image; None for a height or width that is not fixed.
    """

    name: str
    kind: str
    size: int | None = None
    shape: tuple[int | None, ...] = ()


def _id(table: Table, column: InputColumn, rows: Array) -> Array:
    return values.ids(table, column.name, rows, _size(column))


def _ids(table: Table, column: InputColumn, rows: Array) -> Array:
    return values.id_lists(table, column.name, rows, _size(column))


def _number(table: Table, column: InputColumn, rows: Array) -> Array:
    return values.numbers(table, column.name, rows)


KINDS: Mapping[str, Callable[[Table, InputColumn, Array], Array]] = {"id": _id, "ids": _ids, "number": _number}


def plan_images(
    columns: Sequence[InputColumn], images: Mapping[str, Images], resize_to: Size | None, num_rows: int, limit: int
) -> tuple[dict[str, ImageSpec], bool]:
    """Choose the size of each image column, and whether all of them together fit in memory.

    Args:
        columns: what the graph is fed; a fixed height and width of its shape is what it gets.
        images: the image columns of the source.
        resize_to: (height, width) for images that vary in size, or that are large and do not fit.
        num_rows: how many examples are used.
        limit: bytes of memory for decoded images.

    Raises:
        DataError: images vary in size and nothing says what to resize them to.
    """
    wanted = {column.name: column for column in columns if column.kind == "image"}
    specs = {}
    for name, found in images.items():
        size = _fixed(wanted[name].shape) or found.size or resize_to
        if size is None:
            raise DataError(f"the images of column '{name}' vary in size", "write input.size: [height, width]")
        specs[name] = _image_spec(size, found, wanted[name])
    if sum(_bytes(spec) for spec in specs.values()) * num_rows <= limit:
        return specs, True
    if all(isinstance(found, ArrayImages) for found in images.values()):
        return specs, True
    for name, found in images.items():
        size = specs[name].size
        if (
            resize_to is not None
            and _fixed(wanted[name].shape) is None
            and resize_to[0] * resize_to[1] < size[0] * size[1]
        ):
            specs[name] = _image_spec(resize_to, found, wanted[name])
    return specs, sum(_bytes(spec) for spec in specs.values()) * num_rows <= limit


def read_features(
    table: Table,
    columns: Sequence[InputColumn],
    images: Mapping[str, Images],
    specs: Mapping[str, ImageSpec],
    rows: Array,
) -> dict[str, tf.Tensor]:
    """Read columns into tensors on the CPU, in the order of `columns`.

    Args:
        table: has every column that is no image.
        columns: what the graph is fed.
        images: the image columns to read into memory; others are left out.
        specs: what each image becomes.
        rows: int64 (rows,) ascending, the examples that are used.

    Raises:
        DataError: a value does not fit; names the example.
    """
    features = {}
    for column in columns:
        if column.kind != "image":
            array = KINDS[column.kind](table, column, rows)
        elif column.name in images:
            spec = specs[column.name]
            array = images[column.name].load(rows, spec.size, spec.found_channels)
        else:
            continue
        with tf.device("CPU:0"):
            features[column.name] = tf.constant(array)
    return features


def _fixed(shape: tuple[int | None, ...]) -> Size | None:
    return (shape[0], shape[1]) if len(shape) == 3 and shape[0] is not None and shape[1] is not None else None


def _image_spec(size: Size, found: Images, column: InputColumn) -> ImageSpec:
    channels = column.shape[2] if len(column.shape) == 3 else None
    if channels not in (1, 3):
        raise DataError(
            f"image column '{column.name}' is wanted with the shape {column.shape}, expected 1 or 3 channels"
        )
    return ImageSpec(size, found.channels(channels), channels)


def _bytes(spec: ImageSpec) -> int:
    return spec.size[0] * spec.size[1] * spec.found_channels


def _size(column: InputColumn) -> int:
    if column.size is None:
        raise DataError(f"column '{column.name}' of kind {column.kind} has no size", "write its size")
    return column.size
