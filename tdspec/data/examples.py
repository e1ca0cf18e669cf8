"""What the splits of a data set read from.

In: what a source gave. Out: `Examples`, shared by the three splits. Leaves out: which of them a split has (`split.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from tdspec.data.images import FileImages, ImageSpec
from tdspec.data.tfds_source import RecordImages

Element = dict[str, tf.Tensor]


@dataclass(frozen=True, eq=False)
class Examples:
    """What all three splits read from.

    Attributes:
        features: column to tensor (rows in memory, ...), images as uint8.
        images: what each image column becomes, whether it is in memory or not.
        files, records: the image columns that are not in memory.
        record_label: the label column where it is read from the records.
        augment: of "flip" and "crop".
        seed: of order and augmentation.
    """

    features: Mapping[str, tf.Tensor]
    images: Mapping[str, ImageSpec]
    files: Mapping[str, FileImages]
    records: Mapping[str, RecordImages]
    record_label: str | None
    augment: tuple[str, ...]
    seed: int

    def num_bytes(self, num_examples: int) -> int:
        """Of so many examples' features that are in memory."""
        return num_examples * sum(
            values.dtype.size * values.shape[1:].num_elements() for values in self.features.values()
        )


class MoreFeatures(Protocol):
    """Features that are looked up by the number of an example instead of read from the source."""

    def view(self, epoch: int) -> int:
        """The epoch whose augmentation the features of an epoch belong to."""

    def finish(self, features: Element, index: tf.Tensor, epoch: int) -> Element:
        """The features of a batch with those of the examples `index` (batch,), in an epoch."""
