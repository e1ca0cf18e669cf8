"""Examples of TensorFlow Datasets, read from its prepared files.

In: a builder's name and a data folder. Out: a `Source`. Rows are numbered in the order of the files, split after split.
Leaves out: downloads (`download.py`), and files in other formats than TFRecord.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tdspec.data.images import Array, Images, Size, resize_tensor
from tdspec.data.table import Column, Table, split_row_name, unknown
from tdspec.errors import DataError

STORED_DTYPES = {"b": tf.int64, "i": tf.int64, "u": tf.int64, "f": tf.float32, "S": tf.string, "O": tf.string}
PARSED_TOGETHER = 4096
PARALLEL_SHARDS = 16


def builder(name: str | None, path: str | None) -> Any:
    """The builder of a name such as "movielens/100k-ratings"; uses no network.

    Raises:
        DataError: there is no such builder or configuration.
    """
    if name is None or ":" in name:
        found = "nothing" if name is None else f"'{name}'"
        raise DataError(f"data.name: found {found}, expected the name of a TensorFlow Datasets builder")
    try:
        return tfds.builder(name, data_dir=path)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise unknown("builder", name.split("/")[0], tfds.list_builders(), "TensorFlow Datasets") from error
    except (ValueError, ImportError, AssertionError) as error:
        base, _, config = name.partition("/")
        configs = tfds.builder_cls(base).builder_configs if base in tfds.list_builders() else {}
        if configs and config and config not in configs:
            raise unknown("configuration", config, configs, base) from error
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"TensorFlow Datasets cannot open '{name}': {reason}") from error


@dataclass(frozen=True)
class Shard:
    """A TFRecord file and the row of its first example."""

    path: str
    start: int
    length: int


@dataclass(frozen=True)
class TfdsSource:
    """A prepared builder."""

    info: Any

    @property
    def title(self) -> str:
        return str(self.info.full_name).rsplit("/", 1)[0]

    @property
    def own_splits(self) -> Mapping[str, int]:
        return {name: split.num_examples for name, split in self.info.splits.items()}

    @property
    def column_names(self) -> Sequence[str]:
        return tuple(self.info.features)

    def class_names(self, column: str) -> tuple[str, ...] | None:
        label = class_label(self.info.features[column])
        return tuple(label.names) if label is not None and label.names is not None else None

    def num_classes(self, column: str) -> int | None:
        label = class_label(self.info.features[column])
        return None if label is None else int(label.num_classes)

    def shards(self, splits: Sequence[str]) -> tuple[Shard, ...]:
        found: list[Shard] = []
        start = 0
        for name in splits:
            split = self.info.splits[name]
            for path, length in zip(split.filepaths, split.shard_lengths, strict=True):
                found.append(Shard(os.fspath(path), start, length))
                start += length
        return tuple(found)

    def read(self, splits: Sequence[str], columns: Sequence[str]) -> Table:
        own = {name: self.own_splits[name] for name in splits}
        parsers = {name: stored_feature(name, self.info.features[name]) for name in columns}
        read = _read_columns([shard.path for shard in self.shards(splits)], parsers) if columns else {}
        table = {name: _column(parts, self.info.features[name], self.class_names(name)) for name, parts in read.items()}
        return Table(sum(own.values()), table, split_row_name(own))

    def texts(self, splits: Sequence[str], column: str) -> Array:
        parser = {column: stored_feature(column, self.info.features[column])}
        parts = _read_columns([shard.path for shard in self.shards(splits)], parser)[column]
        if isinstance(parts[0], tf.RaggedTensor) or parts[0].dtype != tf.string or parts[0].ndim != 1:
            raise DataError(f"column '{column}' of {self.title} is {self.info.features[column]!r}, expected a text")
        stored = np.concatenate([part.numpy() for part in parts])
        return np.array([item.decode("utf-8", "replace") for item in stored], object)

    def images(self, splits: Sequence[str], column: str) -> Images:
        feature = self.info.features[column]
        if not isinstance(feature, tfds.features.Image):
            raise DataError(f"column '{column}' of {self.title} is {feature!r}, expected an image")
        bytes_per_row = max(1, sum(self.info.splits[name].num_bytes for name in splits)) // max(
            1, sum(self.own_splits[name] for name in splits)
        )
        return RecordImages(self.info.features, column, self.shards(splits), bytes_per_row)


@dataclass(frozen=True)
class RecordImages:
    """Images inside TFRecord files, read in the order of the files."""

    features: Any
    column: str
    shards: tuple[Shard, ...]
    bytes_per_row: int

    @property
    def size(self) -> Size | None:
        height, width, _ = self.features[self.column].shape
        return None if height is None or width is None else (height, width)

    def channels(self, wanted: int) -> int:
        return int(self.features[self.column].shape[2])

    def parser(self, columns: Sequence[str]) -> Any:
        """The features that read only these columns of a serialised example."""
        return tfds.decode.PartialDecoding({name: True for name in columns}).extract_features(self.features)

    @property
    def num_rows(self) -> int:
        return self.shards[-1].start + self.shards[-1].length

    def read(self, keep: Array, order: Array | None) -> tf.data.Dataset:
        """(row, serialised example) of the rows that are kept.

        Args:
            keep: bool (rows,).
            order: the shards in the order to read them, many at a time; None: as they are, one after the other.
        """
        shards = self.shards if order is None else [self.shards[place] for place in order]
        wanted = [shard for shard in shards if keep[shard.start : shard.start + shard.length].any()]
        starts = np.array([shard.start for shard in wanted])
        files = tf.data.Dataset.from_tensor_slices(([shard.path for shard in wanted], starts))
        records = files.interleave(
            lambda path, start: tf.data.TFRecordDataset(path).enumerate(start),
            cycle_length=1 if order is None else PARALLEL_SHARDS,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        with tf.device("CPU:0"):
            kept = tf.constant(keep)
        return records.filter(lambda row, record: kept[row])

    def load(self, rows: Array, size: Size, channels: int) -> Array:
        keep = np.zeros(self.num_rows, bool)
        keep[rows] = True
        parser = self.parser([self.column])

        def decode(row: tf.Tensor, record: tf.Tensor) -> tf.Tensor:
            image = parser.deserialize_example(record)[self.column]
            return image if self.size == size else tf.ensure_shape(resize_tensor(image, size), (*size, channels))

        images = self.read(keep, None).map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        result = np.empty((len(rows), *size, channels), np.uint8)
        start = 0
        for batch in images.batch(256).prefetch(2):
            result[start : start + len(batch)] = batch.numpy()
            start += len(batch)
        return result


def class_label(feature: Any) -> Any:
    """The ClassLabel that a feature is, or is a list of; else None."""
    inner = feature.feature if isinstance(feature, tfds.features.Sequence) else feature
    return inner if isinstance(inner, tfds.features.ClassLabel) else None


def stored_feature(name: str, feature: Any) -> Any:
    """How TensorFlow parses a column from many serialised examples at once."""
    info = feature.get_serialized_info()
    kind = np.dtype(info.np_dtype).kind if isinstance(info, tfds.core.features.TensorInfo) else "?"
    if kind not in STORED_DTYPES or np.dtype(feature.np_dtype).kind != kind:
        raise DataError(f"column '{name}' is {feature!r}, expected a number, text, class or list of them")
    if feature.shape == (None,):
        return tf.io.RaggedFeature(STORED_DTYPES[kind], row_splits_dtype=tf.int64)
    if None in feature.shape:
        raise DataError(f"column '{name}' has the shape {feature.shape}, expected one value or list in each example")
    return tf.io.FixedLenFeature(feature.shape, STORED_DTYPES[kind])


def _read_columns(paths: Sequence[str], parsers: Mapping[str, Any]) -> dict[str, list[Any]]:
    records = tf.data.TFRecordDataset(list(paths)).batch(PARSED_TOGETHER)
    parsed = records.map(lambda batch: tf.io.parse_example(batch, dict(parsers)), num_parallel_calls=2)
    read: dict[str, list[Any]] = {name: [] for name in parsers}
    for batch in parsed.prefetch(2):
        for name, value in batch.items():
            read[name].append(value)
    return read


def _column(parts: Sequence[Any], feature: Any, class_names: tuple[str, ...] | None) -> Column:
    if isinstance(parts[0], tf.RaggedTensor):
        lengths = np.concatenate([part.row_lengths().numpy() for part in parts])
        items = np.concatenate([part.flat_values.numpy() for part in parts])
        return Column(_values(items, feature), np.r_[0, np.cumsum(lengths)], class_names)
    return Column(_values(np.concatenate([part.numpy() for part in parts]), feature), None, class_names)


def _values(values: Array, feature: Any) -> Array:
    if values.dtype.kind == "O":
        return np.array([item.decode("utf-8", "replace") for item in values.reshape(-1)], np.str_).reshape(values.shape)
    return values.astype(bool) if np.dtype(feature.np_dtype).kind == "b" else values


def open_tfds(name: str | None, path: str | None) -> TfdsSource:
    """Open a builder whose data are on this machine.

    Raises:
        DataError: it is unknown, not prepared, or stored in a format that cannot be read in order.
    """
    found = builder(name, path)
    if not found.info.splits:
        message = f"the data of '{name}' are not on this machine (looked in {found.data_path})"
        raise DataError(message, "`tdspec fetch SPEC` gets them; data.path names another folder")
    if found.info.file_format != tfds.core.file_adapters.FileFormat.TFRECORD:
        raise DataError(f"'{name}' is stored as {found.info.file_format.value}, expected tfrecord")
    return TfdsSource(found.info)
