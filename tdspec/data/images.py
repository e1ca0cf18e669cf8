"""Images of a source: arrays in memory, or files that are decoded when they are needed.

In: arrays or paths. Out: uint8 arrays (rows, height, width, channels) with values 0..255, or a decoder for tf.data.
Leaves out: images inside TensorFlow Datasets (`tfds_source.py`) and augmentation (`augment.py`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from PIL import Image

from tdspec.errors import DataError

Array = np.ndarray[Any, Any]
Size = tuple[int, int]
PIL_MODES = {1: "L", 3: "RGB"}
# All that Pillow's readers raise for files that are cut short or no images.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class ImageSpec:
    """What an image column becomes: (height, width), channels as they are read, and channels that the model wants."""

    size: Size
    found_channels: int
    channels: int

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


class Images(Protocol):
    """A column of images, numbered like the rows of the table beside it."""

    @property
    def size(self) -> Size | None:
        """(height, width) where every image has the same, else None."""

    def channels(self, wanted: int) -> int:
        """How many channels `load` returns where `wanted` are asked for."""

    def load(self, rows: Array, size: Size, channels: int) -> Array:
        """Decode images into memory: uint8 (rows, height, width, channels); rows ascend."""


@dataclass(frozen=True)
class ArrayImages:
    """Images that already are an array, uint8 (rows, height, width, channels)."""

    values: Array

    @property
    def size(self) -> Size:
        return self.values.shape[1], self.values.shape[2]

    def channels(self, wanted: int) -> int:
        return int(self.values.shape[3])

    def load(self, rows: Array, size: Size, channels: int) -> Array:
        return resize(self.values[rows], size)


@dataclass(frozen=True)
class FileImages:
    """Images in files that Pillow reads; an animation counts as its first frame."""

    paths: Sequence[Path]

    @cached_property
    def size(self) -> Size | None:
        with ThreadPoolExecutor() as pool:
            sizes = set(pool.map(file_size, self.paths))
        return sizes.pop() if len(sizes) == 1 else None

    def channels(self, wanted: int) -> int:
        return wanted

    def load(self, rows: Array, size: Size, channels: int) -> Array:
        with ThreadPoolExecutor() as pool:
            images = pool.map(lambda row: decode_file(self.paths[row], size, channels), rows)
            return np.stack(list(images))


def file_size(path: Path) -> Size:
    """(height, width) from a file's header."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def decode_file(path: Path, size: Size, channels: int) -> Array:
    """Decode and resize one file: uint8 (height, width, channels)."""
    try:
        with Image.open(path) as image:
            pixels = _eight_bits(image).convert(PIL_MODES[channels])
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if pixels.size != (size[1], size[0]):
        pixels = pixels.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(pixels, np.uint8).reshape(*size, channels)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits to 8; Pillow's own conversion cuts off what is brighter than 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that is no image, or only a part of one."""
    reason = "empty file" if path.is_file() and path.stat().st_size == 0 else str(error).replace(f" {str(path)!r}", "")
    return DataError(f"cannot read the image {path}: {reason}", "mend or remove the file")


def read_error(error: tf.errors.OpError) -> DataError | None:
    """What a streamed file's DataError became on its way through tf.data, as a DataError again; None: it is another."""
    found = re.search(r"DataError: error: (cannot read the image .*)\n  hint: (.*)", error.message)
    return DataError(found[1], found[2]) if found else None


def resize(images: Array, size: Size) -> Array:
    """Resize a batch, uint8 (rows, h, w, c), bilinearly and without aliasing."""
    if tuple(images.shape[1:3]) == size:
        return images
    parts = [images[start : start + 1024] for start in range(0, len(images), 1024)]
    return np.concatenate([resize_tensor(part, size).numpy() for part in parts])


def resize_tensor(images: Any, size: Size) -> tf.Tensor:
    """Resize uint8 images, (h, w, c) or (rows, h, w, c); rounds to the nearest value."""
    resized = tf.image.resize(images, size, method="bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def with_channels(images: tf.Tensor, channels: int) -> tf.Tensor:
    """Turn grey into colour or colour into grey, uint8 (batch, h, w, c); a fourth channel (alpha) is left out."""
    found = images.shape[-1]
    if found == channels:
        return images
    if found == 1:
        return tf.image.grayscale_to_rgb(images)
    colour = images[..., :3]
    return colour if channels == 3 else tf.image.rgb_to_grayscale(colour)
