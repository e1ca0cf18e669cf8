"""How images are resized inside an XLA program.

In: nothing. Out: a context in which bilinear resizing, by Keras's layers and operations too, is two matrix products.
XLA's own takes the wrong neighbours for some rows and columns whose centre falls on a source pixel (of 32 to 96, rows
4, 7, 13, 25 and 49: a tenth of all pixels), and on a CPU takes ten times as long: 490 ms for 64 images of 32 x 32 to
224 x 224, where TensorFlow's kernel takes 45 and the products inside XLA 70. Outside XLA nothing changes;
models keep the operation of Keras.
Leaves out: images of unknown size, other kinds of resizing; states of models (`layouts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from tdspec.graph.layouts import along_both, interpolation
from tdspec.graph.replacing import replaced

# Up to so many channels the columns of all of them are resized by one product with a matrix that is mostly 0: more
# multiplications, but of large matrices, and the channels stay last.
FEW_CHANNELS = 4


@contextmanager
def by_products() -> Iterator[None]:
    """While a graph is traced, bilinear resizing from a known size to a known size is two products."""
    with replaced(tf.image, "resize", partial(_resize, tf.image.resize)):
        yield


def _resize(plain: Callable[..., Any], images: Any, size: Any, method: str = "bilinear", **options: Any) -> Any:
    """As `tf.image.resize`, which this falls back to."""
    known = tf.is_tensor(images) and images.shape.rank == 4 and None not in images.shape[1:] and not tf.is_tensor(size)
    if not known or method != "bilinear" or any(options.values()) or tuple(size) == tuple(images.shape[1:3]):
        return plain(images, size, method=method, **options)
    rows, columns = (interpolation(*pair) for pair in zip(images.shape[1:3], size, strict=True))
    # as `tf.image.resize` does, whatever the dtype
    return _products(tf.cast(images, "float32"), rows, columns)


def _products(images: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """(batch, height, width, channels) -> (batch, new height, new width, channels)."""
    height, width, channels = images.shape[1:]
    if channels > FEW_CHANNELS:
        return along_both(images, rows, columns)
    taller = tf.matmul(rows, tf.reshape(images, (-1, height, width * channels)))
    wide = np.kron(columns.T, np.eye(channels, dtype="float32"))
    flat = tf.matmul(tf.reshape(taller, (-1, width * channels)), wide)
    return tf.reshape(flat, (-1, len(rows), len(columns), channels))
