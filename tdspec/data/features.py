"""The columns that a model is fed, read into memory or planned as a stream.

In: a `Table`, the images of a source, the wanted columns. Out: tensors, and what each image becomes.
Leaves out: labels (`labels.py`) and batches (`split.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tdspec.data import values
from tdspec.data.examples import Examples
from tdspec.data.images import ArrayImages, FileImages, Images, ImageSpec, Size
from tdspec.data.table import Array, Table
from tdspec.data.tfds_source import RecordImages
from tdspec.errors import DataError
from tdspec.graph.text import TextInput


@dataclass(frozen=True)
class InputColumn:
    """A column that the graph is fed.

    Attributes:
        name: of the feature, which but for a text is the column's.
        kind: "image", "id", "ids", "number" or "text".
        size: the number of ids, for id and ids.
        shape: (height, width, channels) of an image; None for a height or width that is not fixed.
        text: where the tokens come from, for a text, whose features are named as in `text.encode_column`.
    """

    name: str
    kind: str
    size: int | None = None
    shape: tuple[int | None, ...] = ()
    text: TextInput | None = None

    @property
    def source(self) -> str:
        """The column of the data that it is read from."""
        return self.name if self.text is None else self.text.column


def _id(table: Table, column: InputColumn, rows: Array) -> Array:
    return values.ids(table, column.name, rows, _size(column))


def _ids(table: Table, column: InputColumn, rows: Array) -> Array:
    return values.id_lists(table, column.name, rows, _size(column))


def _number(table: Table, column: InputColumn, rows: Array) -> Array:
    return values.numbers(table, column.name, rows)


KINDS: Mapping[str, Callable[[Table, InputColumn, Array], Array]] = {"id": _id, "ids": _ids, "number": _number}


@dataclass(frozen=True)
class ImagePlanner:
    """Chooses the size of each image column, and whether all of them together are kept in memory.

    Attributes:
        columns: what the graph is fed; a fixed height and width of a column's shape is what it gets.
        images: the image columns of the source.
        resize_to: (height, width) for images that vary in size, or that are larger and do not fit.
        limit: bytes of memory for decoded images.
    """

    columns: Sequence[InputColumn]
    images: Mapping[str, Images]
    resize_to: Size | None
    limit: int

    def specs(self, num_rows: int) -> dict[str, ImageSpec]:
        """What each image column becomes.

        Args:
            num_rows: how many examples are used.

        Raises:
            DataError: images vary in size and nothing says what to resize them to.
        """
        native = {column.name: self._spec(column, None) for column in self.columns if column.kind == "image"}
        if self._fit(native, num_rows):
            return native
        return {column.name: self._spec(column, self.resize_to) for column in self.columns if column.kind == "image"}

    def fits(self, num_rows: int) -> bool:
        """Whether the images of so many examples are kept in memory; arrays are there already."""
        return self._fit(self.specs(num_rows), num_rows)

    def _fit(self, specs: Mapping[str, ImageSpec], num_rows: int) -> bool:
        needed = sum(spec.pixels * spec.found_channels for spec in specs.values()) * num_rows
        return needed <= self.limit or all(isinstance(found, ArrayImages) for found in self.images.values())

    def _spec(self, column: InputColumn, smaller: Size | None) -> ImageSpec:
        channels = column.shape[2] if len(column.shape) == 3 else None
        if channels not in (1, 3):
            message = f"image column '{column.name}' is wanted with the shape {column.shape}"
            raise DataError(f"{message}, expected (height, width, 1 or 3)")
        found = self.images[column.name]
        size = _fixed(column.shape)
        if size is None:
            size = found.size or self.resize_to
            if size is None:
                raise DataError(
                    f"the images of column '{column.name}' vary in size", "write input.size: [height, width]"
                )
            size = size if smaller is None else min(size, smaller, key=lambda pair: pair[0] * pair[1])
        return ImageSpec(size, found.channels(channels), channels)


def read_examples(
    table: Table,
    plan: ImagePlanner,
    rows: Array,
    record_label: str | None,
    *,
    tokens: Mapping[str, Array],
    augment: tuple[str, ...],
    seed: int,
) -> Examples:
    """Read columns into tensors on the CPU, in the order of the plan; images that do not fit are streamed.

    Args:
        table: has every column that is no image.
        plan: the columns.
        rows: int64 (rows,) ascending, the examples that are used.
        record_label: the label column where it is read from the records.
        tokens: what the features of a text hold, (rows, length).
        augment, seed: of the batches.

    Raises:
        DataError: a value does not fit; names the example.
    """
    names = [column.name for column in plan.columns]
    for name in plan.images:
        if len({column for column in plan.columns if column.name == name}) > 1:
            raise DataError(
                f"image column '{name}' is wanted in {names.count(name)} shapes", "give both models one input"
            )
    specs = plan.specs(len(rows))
    streamed = {} if plan.fits(len(rows)) else plan.images
    features = {}
    for column in plan.columns:
        if column.name not in streamed:
            with tf.device("CPU:0"):
                read = tokens[column.name] if column.kind == "text" else _read(table, plan, specs, column, rows)
                features[column.name] = tf.constant(read)
    return Examples(
        features=features,
        images=specs,
        files={name: found for name, found in streamed.items() if isinstance(found, FileImages)},
        records={name: found for name, found in streamed.items() if isinstance(found, RecordImages)},
        record_label=record_label,
        augment=augment,
        seed=seed,
    )


def _read(table: Table, plan: ImagePlanner, specs: Mapping[str, ImageSpec], column: InputColumn, rows: Array) -> Array:
    if column.kind != "image":
        return KINDS[column.kind](table, column, rows)
    spec = specs[column.name]
    return plan.images[column.name].load(rows, spec.size, spec.found_channels)


def _fixed(shape: tuple[int | None, ...]) -> Size | None:
    return (shape[0], shape[1]) if len(shape) == 3 and shape[0] is not None and shape[1] is not None else None


def _size(column: InputColumn) -> int:
    assert column.size is not None
    return column.size
