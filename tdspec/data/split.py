"""One split as batches: in training order, or in order.

In: features and labels in memory, and images in memory, in files or in records. Out: `tf.data` datasets of
(features, label, sample_weight) with static shapes. Leaves out: which rows there are, and what values mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tdspec.data.augment import Draws, augment_batch, augment_image, draw
from tdspec.data.images import Array, FileImages, decode_file, resize_tensor, with_channels
from tdspec.data.tfds_source import RecordImages
from tdspec.errors import DataError

Element = dict[str, tf.Tensor]
Batch = tuple[Element, tf.Tensor, tf.Tensor]
SMALL_IMAGE_PIXELS = 64 * 64
SHUFFLE_BUFFER_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ImageSpec:
    """An image column of a batch: what it is read as, and how many channels the model wants."""

    size: tuple[int, int]
    found_channels: int
    channels: int


@dataclass(frozen=True)
class Streamed:
    """Image columns that are not in memory, and the label column where it is read from the same records."""

    files: Mapping[str, FileImages]
    records: Mapping[str, RecordImages]
    label: str | None


@dataclass(frozen=True)
class Split:
    """Examples of one part; equal arguments give equal batches.

    Attributes:
        name: train, validation or test.
        num_examples: how many.
        rows: int64 (num_examples,) their rows in the source, ascending.
        places: int64 (num_examples,) their rows in `features`.
        features: column to tensor (rows in memory, ...); images are uint8.
        images: what each image column becomes, in memory or not.
        streamed: the images that are not in `features`.
        labels: (num_examples, ...), or None where the label is read from the same records as the images.
        weights: float32 (num_examples,) 0 for an example without a label.
        augment: of "flip" and "crop".
        seed: of order and augmentation.
    """

    name: str
    num_examples: int
    rows: Array
    places: Array
    features: Mapping[str, tf.Tensor]
    images: Mapping[str, ImageSpec]
    streamed: Streamed
    labels: Array | None
    weights: Array
    augment: tuple[str, ...]
    seed: int

    def batches(self, batch_size: int, *, epoch: int | None) -> tf.data.Dataset:
        """Make batches of (features, label, sample_weight).

        Args:
            batch_size: examples in every batch.
            epoch: training order of that epoch: shuffled, augmented, the remainder dropped. None: in order, nothing
                dropped; the last batch is filled up by repeating an example with sample_weight 0.

        Raises:
            DataError: a training split smaller than a batch.
        """
        if epoch is not None and self.num_examples < batch_size:
            message = f"the {self.name} split has {self.num_examples} examples, fewer than a batch of {batch_size}"
            raise DataError(message, f"lower data.batch_size to {self.num_examples} or less")
        draws = self._draws(epoch)
        elements = self._elements(batch_size, epoch)
        if self.streamed.files:
            elements = elements.map(self._file_decoder(), **_PARALLEL)
        if self.streamed.records:
            elements = elements.map(self._record_decoder(), **_PARALLEL)
        per_image = {name for name in draws if _pixels(self.images[name]) > SMALL_IMAGE_PIXELS}
        if per_image:
            elements = elements.map(self._augment_images(draws, per_image), **_PARALLEL)
        batches = elements.batch(batch_size, drop_remainder=True)
        finish = self._finish({name: drawn for name, drawn in draws.items() if name not in per_image}, per_image)
        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return batches.map(finish, **_PARALLEL).with_options(options).prefetch(tf.data.AUTOTUNE)

    def sample(self, step: int) -> dict[str, Array]:
        """Every step-th example of what is in memory, or a record of what is not."""
        places = self.places[::step]
        samples = {name: tf.gather(values, places).numpy() for name, values in self.features.items()}
        if self.streamed.records:
            record = next(iter(self._records(None).take(1)))["record"].numpy()
            samples["record"] = np.frombuffer(record, np.uint8)
        for name, images in self.streamed.files.items():
            text = "\n".join(f"{images.paths[row].name} {images.paths[row].stat().st_size}" for row in self.rows)
            samples[name] = np.frombuffer(text.encode(), np.uint8)
        return samples

    def _draws(self, epoch: int | None) -> dict[str, Draws]:
        if epoch is None or not self.augment:
            return {}
        key = (self.seed, epoch, 4)
        return {name: draw(self.augment, self.num_examples, spec.size, key) for name, spec in self.images.items()}

    def _elements(self, batch_size: int, epoch: int | None) -> tf.data.Dataset:
        """{index, weight} of each example in the wanted order, and its record where it comes from one."""
        padding = -self.num_examples % batch_size if epoch is None else 0
        if self.streamed.records:
            records = self._records(epoch)
            filling = records.take(1).repeat(padding).map(lambda item: {**item, "weight": tf.zeros((), tf.float32)})
            return records.concatenate(filling) if padding else records
        order = np.arange(self.num_examples)
        if epoch is not None:
            order = np.random.default_rng([self.seed, epoch, 3]).permutation(self.num_examples)
        weight = np.r_[np.ones(len(order), np.float32), np.zeros(padding, np.float32)]
        return tf.data.Dataset.from_tensor_slices(
            {"index": np.r_[order, np.zeros(padding, np.int64)], "weight": weight}
        )

    def _records(self, epoch: int | None) -> tf.data.Dataset:
        images = next(iter(self.streamed.records.values()))
        num_rows = images.shards[-1].start + images.shards[-1].length
        index_of_row = np.full(num_rows, -1)
        index_of_row[self.rows] = np.arange(self.num_examples)
        index = tf.constant(index_of_row)
        if epoch is None:
            records = images.records(index_of_row >= 0, None)
        else:
            generator = np.random.default_rng([self.seed, epoch, 3])
            records = images.records(index_of_row >= 0, generator.permutation(len(images.shards)))
            buffer = min(self.num_examples, max(1024, SHUFFLE_BUFFER_BYTES // images.bytes_per_row))
            records = records.shuffle(buffer, seed=int(generator.integers(2**31)), reshuffle_each_iteration=False)
        records = records.apply(tf.data.experimental.assert_cardinality(self.num_examples))
        return records.map(lambda row, record: {"index": index[row], "weight": tf.ones(()), "record": record})

    def _file_decoder(self) -> Any:
        rows, files = self.rows, self.streamed.files

        def read(name: str, index: Array) -> Array:
            spec = self.images[name]
            return decode_file(files[name].paths[int(rows[index])], spec.size, spec.found_channels)

        def decode(element: Element) -> Element:
            decoded = {}
            for name in files:
                spec = self.images[name]
                image = tf.numpy_function(lambda index, name=name: read(name, index), [element["index"]], tf.uint8)
                decoded[name] = tf.ensure_shape(image, (*spec.size, spec.found_channels))
            return {**element, **{_image_key(name): image for name, image in decoded.items()}}

        return decode

    def _record_decoder(self) -> Any:
        label = self.streamed.label
        first = next(iter(self.streamed.records.values()))
        parser = first.parser([*self.streamed.records, *([label] if label else [])])

        def decode(element: Element) -> Element:
            parsed = parser.deserialize_example(element["record"])
            result = {"index": element["index"], "weight": element["weight"]}
            for name, images in self.streamed.records.items():
                spec = self.images[name]
                image = parsed[name] if images.size == spec.size else resize_tensor(parsed[name], spec.size)
                result[_image_key(name)] = tf.ensure_shape(image, (*spec.size, spec.found_channels))
            return {**result, "label": tf.cast(parsed[label], tf.int32)} if label else result

        return decode

    def _augment_images(self, draws: Mapping[str, Draws], names: set[str]) -> Any:
        drawn = {name: _constants(draws[name]) for name in names}
        places = tf.constant(self.places)

        def augment(element: Element) -> Element:
            index = element["index"]
            changed = {}
            for name in names:
                key = _image_key(name)
                image = element[key] if key in element else self.features[name][places[index]]
                changed[key] = augment_image(image, *(values[index] for values in drawn[name]))
            return {**element, **changed}

        return augment

    def _finish(self, draws: Mapping[str, Draws], decoded: set[str]) -> Any:
        """The function that looks up everything else for a batch of indices."""
        drawn = {name: _constants(drawn) for name, drawn in draws.items()}
        with tf.device("CPU:0"):
            places, weights = tf.constant(self.places), tf.constant(self.weights)
            labels = None if self.labels is None else tf.constant(self.labels)
        in_memory = [name for name in self.features if name not in decoded]

        def finish(element: Element) -> Batch:
            index = element["index"]
            place = tf.gather(places, index)
            features = {name: tf.gather(self.features[name], place) for name in in_memory}
            features |= {name: element[_image_key(name)] for name in self.images if name not in features}
            for name, (flip, down, right) in drawn.items():
                moved = (tf.gather(values, index) for values in (flip, down, right))
                features[name] = augment_batch(features[name], *moved)
            for name, spec in self.images.items():
                features[name] = with_channels(features[name], spec.channels)
            label = element["label"] if labels is None else tf.gather(labels, index)
            return features, label, element["weight"] * tf.gather(weights, index)

        return finish


_PARALLEL: dict[str, Any] = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


def _image_key(name: str) -> str:
    return f"image/{name}"


def _pixels(spec: ImageSpec) -> int:
    return spec.size[0] * spec.size[1]


def _constants(draws: Draws) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    with tf.device("CPU:0"):
        return tf.constant(draws.flip), tf.constant(draws.down), tf.constant(draws.right)
