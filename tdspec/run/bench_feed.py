"""What a benchmark feeds the step: the spec's own batches where its data are at hand, else random ones like them.

In: a `Compiled`. Out: a `Feed`.
Leaves out: downloading anything, and computing a teacher's states that are to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tdspec.data.features import InputColumn
from tdspec.data.images import read_error
from tdspec.errors import DataError
from tdspec.graph.compiler import Compiled
from tdspec.graph.step import Batch
from tdspec.graph.text import IDS, MASK, SEGMENTS
from tdspec.run.prepare import input_columns, open_data

# What stands for a size that only data have: a side of an image, the items of a list.
SOME_SIDE, SOME_ITEMS, SOME_TOKENS = 224, 4, 2
IMAGE_VALUES = 256


@dataclass(frozen=True)
class Feed:
    """Batches for a benchmark.

    Attributes:
        batch: one global batch, in memory.
        batches: the training batches of the spec, again and again; None where they are not at hand.
        why_random: why not; "" where they are.
    """

    batch: Batch
    batches: tf.data.Dataset | None
    why_random: str


def feed_of(compiled: Compiled) -> Feed:
    """The batches that training would see first, or random ones of their shapes and dtypes.

    Args:
        compiled: the graph.
    """
    if compiled.cached:
        return Feed(random_batch(compiled), None, "the states that data.teacher_cache keeps are not read")
    size = compiled.document.spec.data.batch_size
    try:
        batches = open_data(compiled, download=False).train.batches(size, epoch=0).repeat()
        features, label, weight = next(iter(batches))
    except DataError as error:
        return Feed(random_batch(compiled), None, error.message)
    except tf.errors.OpError as error:
        unreadable = read_error(error)
        if unreadable is None:
            raise
        return Feed(random_batch(compiled), None, unreadable.message)
    return Feed(Batch(features, label, tf.cast(weight, tf.float32)), batches, "")


def random_batch(compiled: Compiled) -> Batch:
    """A batch of the spec's shapes and dtypes, the same in each process."""
    spec, random = compiled.document.spec, np.random.default_rng(0)
    size = spec.data.batch_size
    columns = {column.name: column for column in input_columns(compiled)}
    features = {}
    for name, tensor in compiled.distiller.input.items():
        if name in compiled.cached:
            values: Any = random.standard_normal((size, *tensor.shape[1:])).astype("float32")
            features[name] = tf.cast(values, tensor.dtype)
        else:
            features[name] = tf.constant(_column_values(columns[name], tensor.shape, size, random))
    return Batch(features, tf.constant(_labels(compiled, size, random)), tf.ones(size))


def _column_values(column: InputColumn, shape: Any, size: int, random: np.random.Generator) -> Any:
    if column.kind == "image":
        sides = [SOME_SIDE if axis is None else axis for axis in shape[1:]]
        return random.integers(0, IMAGE_VALUES, (size, *sides)).astype("uint8")
    if column.kind == "number":
        return random.standard_normal(size).astype("float32")
    axes = [SOME_ITEMS if axis is None else axis for axis in shape[1:]]
    if column.kind == "text":
        return TEXTS[column.name]((size, *axes), random).astype("int32")
    return random.integers(0, column.size or 1, (size, *axes)).astype("int32")


# What is fed of a text without padding, in tokens that every vocabulary has.
TEXTS: Mapping[str, Callable[[tuple[int, ...], np.random.Generator], Any]] = {
    IDS: lambda shape, random: random.integers(0, SOME_TOKENS, shape),
    MASK: lambda shape, random: np.ones(shape),
    SEGMENTS: lambda shape, random: np.zeros(shape),
}


def _labels(compiled: Compiled, size: int, random: np.random.Generator) -> Any:
    makers: Mapping[str, Any] = {
        "classification": lambda: random.integers(0, compiled.num_classes or 1, size).astype("int32"),
        "regression": lambda: random.standard_normal(size).astype("float32"),
        "binary": lambda: random.integers(0, 2, size).astype("float32"),
        "multilabel": lambda: random.integers(0, 2, (size, compiled.num_classes or 1)).astype("float32"),
    }
    return makers[compiled.document.spec.task.type]()
