"""One split as batches: in training order, or in order.

In: features and labels in memory, and images in memory, in files or in records. Out: `tf.data` datasets of
(features, label, sample_weight) with static shapes. Leaves out: which rows there are, and what values mean.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from tdspec.data.augment import augment_batch, augment_image, draw
from tdspec.data.examples import Element, Examples, MoreFeatures
from tdspec.data.images import Array, decode_file, resize_tensor, with_channels
from tdspec.data.seeds import generator
from tdspec.errors import DataError

Batch = tuple[Element, tf.Tensor, tf.Tensor]
IndexedBatch = tuple[tf.Tensor, Element, tf.Tensor, tf.Tensor]
Draws = dict[str, tuple[tf.Tensor, ...]]
NUM_CORES = os.cpu_count() or 1
EACH_EXAMPLE: dict[str, Any] = {"num_parallel_calls": NUM_CORES, "deterministic": True}
# Each call holds a batch in memory.
EACH_BATCH: dict[str, Any] = {"num_parallel_calls": min(16, NUM_CORES), "deterministic": True}
NUM_BATCHES_AHEAD = 2
SMALL_IMAGE_PIXELS = 64 * 64
SHUFFLE_BUFFER_BYTES = 256 * 2**20
# An epoch in its order is a second copy of the data.
EPOCH_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Split:
    """Examples of one part; equal arguments give equal batches.

    Attributes:
        name: train, validation or test.
        num_examples: how many.
        rows: int64 (num_examples,) their rows in the source, ascending.
        places: int64 (num_examples,) their rows in `examples.features`.
        labels: (num_examples, ...), or None where the label is read from the records.
        weights: float32 (num_examples,) 0 for an example without a label.
        examples: what the rows are read from.
        more: looked up for each batch of a training order; None where the source has everything.
    """

    name: str
    num_examples: int
    rows: Array
    places: Array
    labels: Array | None
    weights: Array
    examples: Examples
    more: MoreFeatures | None = None

    def batches(self, batch_size: int, *, epoch: int | None) -> tf.data.Dataset:
        """Make batches of (features, label, sample_weight).

        Args:
            batch_size: examples in every batch.
            epoch: training order of that epoch: shuffled, augmented, the remainder dropped. None: in order, nothing
                dropped; the last batch is filled up by repeating an example with sample_weight 0.

        Raises:
            DataError: a training split smaller than a batch. Iteration raises a tf.errors.OpError for a streamed file
                that cannot be read; `images.read_error` turns it into a DataError.
        """
        if epoch is not None and self.num_examples < batch_size:
            message = f"the {self.name} split has {self.num_examples} examples, fewer than a batch of {batch_size}"
            raise DataError(message, f"lower data.batch_size to {self.num_examples} or less")
        more, view = self.more, epoch
        if more is None or epoch is None:
            return self._options(self._batches(batch_size, epoch, view, 0).map(_without_index))
        view = more.view(epoch)

        def finish(index: tf.Tensor, features: Element, label: tf.Tensor, weight: tf.Tensor) -> Batch:
            return more.finish(features, index, epoch), label, weight

        return self._options(self._batches(batch_size, epoch, view, 0).map(finish, **EACH_BATCH))

    def indexed(self, batch_size: int, *, epoch: int | None, view: int | None, start: int = 0) -> tf.data.Dataset:
        """Make batches of (index, features, label, sample_weight), index being int64 (batch,) numbers of examples.

        Args:
            batch_size: examples in every batch.
            epoch: as for `batches`.
            view: augmented as in that epoch; None: not at all.
            start: in order only, the first example.
        """
        return self._options(self._batches(batch_size, epoch, view, start))

    @staticmethod
    def _options(batches: tf.data.Dataset) -> tf.data.Dataset:
        options = tf.data.Options()
        options.deterministic = True
        # Its thread often leaves the step one core of two, for a whole call at a time: tests/benchmarks/pipeline.py.
        options.autotune.enabled = False
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return batches.with_options(options).prefetch(NUM_BATCHES_AHEAD)

    def _batches(self, batch_size: int, epoch: int | None, view: int | None, start: int) -> tf.data.Dataset:
        draws = self._draws(view)
        large = {name: drawn for name, drawn in draws.items() if self.examples.images[name].pixels > SMALL_IMAGE_PIXELS}
        small = {name: drawn for name, drawn in draws.items() if name not in large}
        finish = self._finisher(small, set(large))
        if not (self.examples.files or self.examples.records or large):
            in_batches = partial(tf.nest.map_structure, partial(_in_rows, size=batch_size))
            order = {name: _constant(values) for name, values in self._order(batch_size, epoch, start).items()}
            if not draws and self.examples.num_bytes(self.num_examples) <= EPOCH_BYTES:
                # nothing is computed, and all of it at once costs less than to wait for each batch
                return tf.data.Dataset.from_tensor_slices(in_batches(finish(order)))
            # nothing to do example by example: a batch of indices is one element, which small models would wait for
            return tf.data.Dataset.from_tensor_slices(in_batches(order)).map(finish, **EACH_BATCH)
        elements = self._elements(batch_size, epoch, start)
        if self.examples.files:
            elements = elements.map(self._file_decoder(), **EACH_EXAMPLE)
        if self.examples.records:
            elements = elements.map(self._record_decoder(), **EACH_EXAMPLE)
        if large:
            elements = elements.map(self._image_augmenter(large), **EACH_EXAMPLE)
        return elements.batch(batch_size, drop_remainder=True).map(finish, **EACH_BATCH)

    def sample(self, step: int) -> dict[str, Array]:
        """Every step-th example of what is in memory, and what tells the rest apart without decoding it."""
        places = self.places[::step]
        samples = {name: tf.gather(values, places).numpy() for name, values in self.examples.features.items()}
        if self.examples.records:
            record = next(iter(self._records(None).take(1)))["record"].numpy()
            samples["record"] = np.frombuffer(record, np.uint8)
        for name, images in self.examples.files.items():
            paths = [images.paths[row] for row in self.rows[::step]]
            text = "\n".join(f"{path.name} {path.stat().st_size}" for path in paths)
            samples[name] = np.frombuffer(text.encode(), np.uint8)
        return samples

    def _draws(self, epoch: int | None) -> Draws:
        if epoch is None or not self.examples.augment:
            return {}
        drawn = {
            name: draw(
                self.examples.augment, self.num_examples, spec.size, generator("augment", self.examples.seed, epoch)
            )
            for name, spec in self.examples.images.items()
        }
        return {
            name: (_constant(item.flip), _constant(item.down), _constant(item.right)) for name, item in drawn.items()
        }

    def _elements(self, batch_size: int, epoch: int | None, start: int) -> tf.data.Dataset:
        """{index, weight} of each example in the wanted order, and its record where it comes from one."""
        if self.examples.records:
            padding = self._padding(batch_size, epoch, start)
            records = self._records(epoch).skip(start)
            filling = records.take(1).repeat(padding).map(lambda item: {**item, "weight": tf.zeros((), tf.float32)})
            return records.concatenate(filling) if padding else records
        return tf.data.Dataset.from_tensor_slices(self._order(batch_size, epoch, start))

    def _padding(self, batch_size: int, epoch: int | None, start: int) -> int:
        """How often an example is repeated to fill the last batch up."""
        return (start - self.num_examples) % batch_size if epoch is None else 0

    def _order(self, batch_size: int, epoch: int | None, start: int) -> dict[str, Array]:
        """{index, weight} of all examples that are in memory, in the wanted order."""
        padding = self._padding(batch_size, epoch, start)
        order = np.arange(start, self.num_examples)
        if epoch is not None:
            order = generator("order", self.examples.seed, epoch).permutation(self.num_examples)
        weight = np.r_[np.ones(len(order), np.float32), np.zeros(padding, np.float32)]
        return {"index": np.r_[order, np.full(padding, start)], "weight": weight}

    def _records(self, epoch: int | None) -> tf.data.Dataset:
        images = next(iter(self.examples.records.values()))
        index_of_row = np.full(images.num_rows, -1)
        index_of_row[self.rows] = np.arange(self.num_examples)
        index = _constant(index_of_row)
        if epoch is None:
            records = images.read(index_of_row >= 0, None)
        else:
            random = generator("order", self.examples.seed, epoch)
            records = images.read(index_of_row >= 0, random.permutation(len(images.shards)))
            buffer = min(self.num_examples, max(1024, SHUFFLE_BUFFER_BYTES // images.bytes_per_row))
            # The library mixes TensorFlow's global seed in, so a run must set that one from its own seed too.
            records = records.shuffle(buffer, seed=int(random.integers(2**31)), reshuffle_each_iteration=False)
        records = records.apply(tf.data.experimental.assert_cardinality(self.num_examples))
        return records.map(lambda row, record: {"index": index[row], "weight": tf.ones(()), "record": record})

    def _file_decoder(self) -> Callable[[Element], Element]:
        def read(name: str, index: Array) -> Array:
            spec = self.examples.images[name]
            return decode_file(self.examples.files[name].paths[int(self.rows[index])], spec.size, spec.found_channels)

        def decode(element: Element) -> Element:
            result = dict(element)
            for name in self.examples.files:
                spec = self.examples.images[name]
                image = tf.numpy_function(lambda index, name=name: read(name, index), [element["index"]], tf.uint8)
                result[_image_key(name)] = tf.ensure_shape(image, (*spec.size, spec.found_channels))
            return result

        return decode

    def _record_decoder(self) -> Callable[[Element], Element]:
        label = self.examples.record_label
        first = next(iter(self.examples.records.values()))
        parser = first.parser([*self.examples.records, *([label] if label else [])])

        def decode(element: Element) -> Element:
            parsed = parser.deserialize_example(element["record"])
            result = {"index": element["index"], "weight": element["weight"]}
            for name, images in self.examples.records.items():
                spec = self.examples.images[name]
                image = parsed[name] if images.size == spec.size else resize_tensor(parsed[name], spec.size)
                result[_image_key(name)] = tf.ensure_shape(image, (*spec.size, spec.found_channels))
            return {**result, "label": tf.cast(parsed[label], tf.int32)} if label else result

        return decode

    def _image_augmenter(self, draws: Draws) -> Callable[[Element], Element]:
        places = _constant(self.places)

        def augment(element: Element) -> Element:
            index = element["index"]
            result = dict(element)
            for name, drawn in draws.items():
                key = _image_key(name)
                image = element[key] if key in element else self.examples.features[name][places[index]]
                result[key] = augment_image(image, *(values[index] for values in drawn))
            return result

        return augment

    def _finisher(self, draws: Draws, augmented: set[str]) -> Callable[[Element], IndexedBatch]:
        """The function that looks up everything else for a batch of indices."""
        places, weights = _constant(self.places), _constant(self.weights)
        labels = None if self.labels is None else _constant(self.labels)
        in_memory = [name for name in self.examples.features if name not in augmented]

        def finish(element: Element) -> IndexedBatch:
            index = element["index"]
            place = tf.gather(places, index)
            features = {name: tf.gather(self.examples.features[name], place) for name in in_memory}
            features |= {name: element[_image_key(name)] for name in self.examples.images if name not in features}
            for name, drawn in draws.items():
                features[name] = augment_batch(features[name], *(tf.gather(values, index) for values in drawn))
            for name, spec in self.examples.images.items():
                features[name] = with_channels(features[name], spec.channels)
            label = element["label"] if labels is None else tf.gather(labels, index)
            return index, features, label, element["weight"] * tf.gather(weights, index)

        return finish


def _in_rows(values: Any, size: int) -> Any:
    """(n, ...) -> (n // size, size, ...)."""
    count = len(values) // size
    return tf.reshape(values[: count * size], (count, size, *values.shape[1:]))


def _without_index(index: tf.Tensor, features: Element, label: tf.Tensor, weight: tf.Tensor) -> Batch:
    return features, label, weight


def _image_key(name: str) -> str:
    return f"image/{name}"


def _constant(array: Array) -> tf.Tensor:
    """A tensor where tf.data works: on the CPU."""
    with tf.device("CPU:0"):
        return tf.constant(array)
