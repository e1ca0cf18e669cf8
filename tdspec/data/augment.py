"""Random changes of training images, each a pure function of the seed, the epoch and the example.

In: uint8 images and, for each example, whether it is mirrored and how far it is shifted. Out: uint8 images, same shape.
Leaves out: when they are drawn and applied (`split.py`). Pixels that a shift uncovers are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

Array = np.ndarray[Any, Any]
SHIFT_SHARE = 8


@dataclass(frozen=True)
class Draws:
    """What happens to each example: bool (examples,) and int32 (examples,) pixels down and to the right."""

    flip: Array
    down: Array
    right: Array


def draw(names: Sequence[str], num_examples: int, size: tuple[int, int], random: np.random.Generator) -> Draws:
    """Draw the changes of one epoch.

    Args:
        names: of "flip" (mirror left to right, half of the time) and "crop" (shift by up to an eighth of the size).
        num_examples: of the split.
        size: (height, width) in pixels.
        random: what they are drawn from.
    """
    flip = random.integers(0, 2, num_examples).astype(bool)
    height, width = (pixels // SHIFT_SHARE for pixels in size)
    down = random.integers(-height, height + 1, num_examples, dtype=np.int32)
    right = random.integers(-width, width + 1, num_examples, dtype=np.int32)
    return Draws(
        flip=flip & ("flip" in names),
        down=down * np.int32("crop" in names),
        right=right * np.int32("crop" in names),
    )


def augment_image(image: tf.Tensor, flip: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Change one image (height, width, channels); the faster way for large ones."""
    height, width, channels = image.shape
    pad_height, pad_width = height // SHIFT_SHARE, width // SHIFT_SHARE
    image = tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)
    padded = tf.pad(image, [[pad_height, pad_height], [pad_width, pad_width], [0, 0]])
    return tf.slice(padded, [pad_height - down, pad_width - right, 0], [height, width, channels])


def augment_batch(images: tf.Tensor, flip: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Change a batch (batch, height, width, channels) with one gather; the faster way for small images."""
    batch, height, width, channels = images.shape
    rows = tf.range(height)[None, :, None] - down[:, None, None]
    columns = tf.range(width)[None, None, :] - right[:, None, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    columns = tf.where(flip[:, None, None], width - 1 - columns, columns)
    pixel = tf.where(inside, rows * width + columns, 0)
    flat = tf.reshape(images, [batch, height * width, channels])
    moved = tf.gather(flat, tf.reshape(pixel, [batch, height * width]), axis=1, batch_dims=1)
    moved = tf.reshape(moved, [batch, height, width, channels])
    return moved * tf.cast(inside, images.dtype)[..., None]
