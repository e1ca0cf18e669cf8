"""Resizing inside an XLA program: what TensorFlow gives, by products alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import SMALL_IMAGE, Array, compiled, mlp, pixels, write

from tdspec.graph.programs import on_flat
from tdspec.graph.resizing import by_products

RANDOM = np.random.default_rng(0)


def _images(*shape: int) -> Array:
    """As a model reads them, from -1 to 1."""
    return RANDOM.uniform(-1, 1, shape).astype("float32")


def _operations(function: Callable[[Any], Any], images: Any) -> set[str]:
    concrete = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec(images.shape, images.dtype))
    return {operation.type for operation in concrete.graph.get_operations()}


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("size", [(96, 96), (40, 20), (8, 31), (33, 32)])
def test_products_give_what_tensorflow_gives(channels: int, size: tuple[int, int]) -> None:
    images = _images(2, 32, 32, channels)

    def resize(images: Any) -> Any:
        with by_products():
            return keras.ops.image.resize(images, size, interpolation="bilinear")

    for by_xla in (False, True):
        found = tf.function(resize, autograph=False, jit_compile=by_xla)(images)
        assert np.allclose(found, tf.image.resize(images, size), rtol=0, atol=1e-5)
    assert _operations(resize, images) & {"ResizeBilinear", "BatchMatMulV2"} == {"BatchMatMulV2"}


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16"])
def test_dtypes_are_those_of_tensorflow(dtype: str) -> None:
    images = tf.cast(RANDOM.integers(0, 9, (1, 4, 4, 2)), dtype)
    expected = tf.image.resize(images, (6, 6))
    with by_products():
        found = tf.image.resize(images, (6, 6))
    assert found.dtype == expected.dtype and np.allclose(found, expected, atol=1e-5)


def test_what_is_not_plain_bilinear_stays_with_tensorflow() -> None:
    images = _images(1, 8, 8, 2)
    calls: list[Callable[[Any], Any]] = [
        lambda x: tf.image.resize(x, (4, 4), method="nearest"),
        lambda x: tf.image.resize(x, (4, 4), antialias=True),
        lambda x: tf.image.resize(x, (4, 6), preserve_aspect_ratio=True),
        lambda x: tf.image.resize(x[0], (4, 4)),
        lambda x: tf.image.resize(x, tf.constant([4, 4])),
        lambda x: tf.image.resize(x, (8, 8)),
    ]
    expected = [call(images) for call in calls]
    with by_products():
        found = [call(images) for call in calls]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_the_gradient_is_that_of_tensorflow() -> None:
    images, weights = tf.constant(_images(2, 5, 6, 3)), _images(2, 9, 4, 3)

    def gradient() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = tf.reduce_sum(weights * tf.image.resize(images, (9, 4)))
        return tape.gradient(value, images)

    expected = gradient()
    with by_products():
        assert np.allclose(gradient(), expected, atol=1e-5)


def test_nothing_stays_replaced() -> None:
    before = tf.image.resize
    with pytest.raises(ValueError, match="stop"), by_products():
        assert tf.image.resize is not before
        raise ValueError("stop")
    assert tf.image.resize is before


def test_a_step_by_xla_has_no_resizing_of_its_own(tmp_path: Path) -> None:
    """The teacher reads 12 x 12, the data are 8 x 8."""
    own = {"backbone": mlp(7, 6, 5), "input": {**SMALL_IMAGE, "size": [12, 12]}}
    write(tmp_path, "wide", {"method": "scratch", "student": own})
    distiller = compiled(tmp_path, teacher={"spec": "wide.yaml"}).distiller
    features = {"image": tf.constant(pixels())}

    def run(image: Any) -> Any:
        return distiller({"image": image}, training=True)["teacher_low"]

    program = on_flat(run, (features["image"],))
    concrete = program.get_concrete_function(tf.TensorSpec(features["image"].shape, "uint8"))
    kinds = {operation.type for operation in concrete.graph.get_operations()}
    assert "ResizeBilinear" not in kinds
    assert np.allclose(program(features["image"]), run(features["image"]), atol=1e-5)
