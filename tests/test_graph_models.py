"""Whole models: preprocessing, heads, two views of one set of weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import TINY_VIT, Array

from tdspec.errors import GraphError
from tdspec.graph import backbones
from tdspec.graph.backbones import Backbone, Column
from tdspec.graph.layouts import VECTOR, Layout
from tdspec.graph.models import ImageInput, WholeModel, assemble, units_of
from tdspec.spec.model import Head

PLAIN = ImageInput("image", 3, (0.0, 1.0), (0.0,), (1.0,))


def _assemble(
    backbone: Backbone, *, image: ImageInput = PLAIN, image_shape: Any = (8, 8, 3), **options: Any
) -> WholeModel:
    values: dict[str, Any] = {"head": Head("auto", 0.0, 0.0), "units": 4, "batch_norm_epsilon": None, "name": "whole"}
    return assemble(backbone, image, image_shape=image_shape, **{**values, **options})


def _custom(*layers: Any, size: tuple[int, int] = (8, 8), channels: int = 3) -> Backbone:
    image = x = keras.Input((*size, channels), name="pixels")
    for layer in layers:
        x = layer(x)
    return Backbone(keras.Model(image, x), "Custom", size)


def _images(shape: tuple[int, ...] = (2, 8, 8, 3)) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def _vit(**changes: Any) -> Backbone:
    return backbones.hub_class("ViTBackbone", {**TINY_VIT, **changes}, size=(8, 8), channels=3)


@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [
        ((0.0, 1.0), (0.0,), (1.0,)),
        ((-1.0, 1.0), (0.0,), (1.0,)),
        ((0.0, 255.0), (127.0,), (128.0,)),
        ((0.0, 1.0), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0.0, 1.0), (0.5,), (0.2, 0.3, 0.4)),
        ((1.0, -1.0), (0.1, 0.2, 0.3), (2.0,)),
    ],
)
def test_pixels_are_scaled_then_standardised(scale: Any, mean: Any, std: Any) -> None:
    flat = _custom(keras.layers.Flatten())
    whole = _assemble(flat, image=ImageInput("image", 3, scale, mean, std), head=None, units=None)
    low, high = scale
    expected = (_images() / 255.0 * (high - low) + low - np.array(mean)) / np.array(std)
    assert np.allclose(whole.model({"image": _images()}), expected.reshape(2, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("declared", [(16, 12, 3), (None, None, 3), None])
def test_images_of_another_size_are_resized(declared: Any) -> None:
    whole = _assemble(_custom(keras.layers.Flatten()), image_shape=declared, head=None, units=None)
    images = _images((2, 16, 12, 3))
    expected = tf.image.resize(images / 255.0, (8, 8), method="bilinear")
    assert np.allclose(whole.model({"image": images}), np.reshape(expected, (2, -1)), atol=1e-5)


def test_both_views_share_inputs_weights_and_results() -> None:
    whole = _assemble(_vit())
    assert whole.model.input["image"] is whole.graph.input["image"]
    assert {id(v) for v in whole.model.variables} == {id(v) for v in whole.graph.variables}
    assert np.array_equal(whole.model({"image": _images()}), whole.graph({"image": _images()}))
    assert len(whole.graph.layers) > len(whole.model.layers)
    assert whole.patch_grid == (2, 2) and whole.layout((None, 5, 8)) == Layout((5,), (2, 2), 1)


def _features(backbone: Backbone) -> Array:
    return np.asarray(backbone.model(_images() / np.float32(255)))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("auto", lambda x: x[:, 0]),
        ("token", lambda x: x[:, 0]),
        ("mean", lambda x: x.mean(axis=1)),
        ("max", lambda x: x.max(axis=1)),
        ("flatten", lambda x: x.reshape(2, -1)),
    ],
)
def test_pooling_of_a_sequence(pooling: str, expected: Any) -> None:
    backbone = _vit()
    whole = _assemble(backbone, head=Head(pooling, 0.0, 0.0))
    kernel, bias = whole.model.get_layer("prediction").get_weights()
    found = whole.model({"image": _images()})
    assert np.allclose(found, expected(_features(backbone)) @ kernel + bias, atol=1e-4)


@pytest.mark.parametrize("pooling", ["auto", "mean", "max", "flatten"])
def test_pooling_of_a_grid(pooling: str) -> None:
    backbone = _custom(keras.layers.Conv2D(5, 3))
    whole = _assemble(backbone, head=Head(pooling, 0.0, 0.0))
    kernel, bias = whole.model.get_layer("prediction").get_weights()
    x = _features(backbone)
    pooled = {"max": x.max(axis=(1, 2)), "flatten": x.reshape(2, -1)}.get(pooling, x.mean(axis=(1, 2)))
    assert np.allclose(whole.model({"image": _images()}), pooled @ kernel + bias, atol=1e-4)


def test_without_a_class_token_auto_is_the_mean() -> None:
    backbone = _vit(use_class_token=False)
    whole = _assemble(backbone)
    kernel, bias = whole.model.get_layer("prediction").get_weights()
    expected = _features(backbone).mean(axis=1) @ kernel + bias
    assert np.allclose(whole.model({"image": _images()}), expected, atol=1e-4)
    with pytest.raises(GraphError, match="needs a class token, the backbone has none"):
        _assemble(_vit(use_class_token=False), head=Head("token", 0.0, 0.0))


@pytest.mark.parametrize("layer", [keras.layers.Conv2D(5, 3), keras.layers.Flatten()])
def test_a_token_needs_a_sequence(layer: Any) -> None:
    with pytest.raises(GraphError, match="pooling 'token' needs a class token"):
        _assemble(_custom(layer), head=Head("token", 0.0, 0.0))


def test_dropout_of_the_head_acts_in_training_only() -> None:
    whole = _assemble(_custom(keras.layers.Flatten()), head=Head("auto", 0.9, 0.0))
    images = {"image": _images()}
    assert np.array_equal(whole.model(images), whole.model(images, training=False))
    assert not np.allclose(whole.model(images, training=True), whole.model(images))


def test_predictions_start_from_the_bias_of_the_head() -> None:
    plain, moved = (_assemble(_custom(keras.layers.Flatten()), head=Head("auto", 0.0, bias)) for bias in (0.0, 3.5))
    moved.model.get_layer("prediction").kernel.assign(plain.model.get_layer("prediction").kernel)
    images = {"image": _images()}
    assert np.allclose(moved.model(images), plain.model(images) + 3.5, atol=1e-5)


@pytest.mark.parametrize("epsilon", [1e-5, 0.5])
def test_the_epsilon_of_batch_normalization(epsilon: float) -> None:
    """It holds in the file of the student too."""
    layers = (keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Flatten())
    whole = _assemble(_custom(*layers), head=None, units=None, batch_norm_epsilon=epsilon)
    kernel = layers[0].kernel
    raw = tf.nn.conv2d(_images() / np.float32(255), kernel.value, 1, "VALID")
    found = whole.model({"image": _images()})
    assert np.allclose(found, np.reshape(raw, (2, -1)) / np.sqrt(1 + epsilon), atol=1e-5)
    copy = keras.Model.from_config(whole.model.get_config())
    copy.set_weights(whole.model.get_weights())
    assert np.allclose(copy({"image": _images()}), found, atol=1e-6)


def test_batch_normalization_is_synchronised() -> None:
    norm = keras.layers.BatchNormalization()
    _assemble(_custom(norm, keras.layers.Flatten()))
    assert norm.synchronized


def test_a_prediction_of_the_backbone() -> None:
    backbone = _custom(keras.layers.Flatten(), keras.layers.Dense(4, name="own"))
    whole = _assemble(backbone, head=None)
    assert whole.own_head and whole.has_prediction
    assert np.allclose(whole.model({"image": _images()}), _features(backbone), atol=1e-5)
    with pytest.raises(GraphError, match=r"own output has shape \(None, 4\), the task needs \(None, 7\)"):
        _assemble(_custom(keras.layers.Flatten(), keras.layers.Dense(4)), head=None, units=7)


def test_several_outputs_are_refused() -> None:
    image = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(image)
    with pytest.raises(GraphError, match="Custom has several outputs, expected one"):
        _assemble(Backbone(keras.Model(image, [flat, flat + 1.0]), "Custom", (8, 8)))


def test_columns_of_a_table() -> None:
    columns = (
        Column("user", "id", 5, 3, 0.0, 1.0),
        Column("genres", "ids", 4, 2, 0.0, 1.0),
        Column("age", "number", None, 0, 30.0, 10.0),
    )
    whole = _assemble(backbones.mlp_on_columns((6,), "relu", 0.0, columns), image_shape=None, units=1)
    assert whole.layout((None, 6)) == VECTOR
    rows = {
        "user": np.array([4, 0, 2]),
        "genres": np.array([[1, 3, -1], [2, -1, -1], [-1, -1, -1]]),
        "age": np.array([20.0, 30.0, 45.0], "float32"),
    }
    weights = {layer.name: layer.get_weights() for layer in whole.graph.layers}
    (users,), (genres,) = weights["user_embedding"], weights["genres_embedding"]
    parts = [users[rows["user"]], [genres[[1, 3]].mean(0), genres[2], np.zeros(2)], [[-1.0], [0.0], [1.5]]]
    (kernel, bias), (last, last_bias) = weights["dense_1"], weights["prediction"]
    expected = np.maximum(np.concatenate(parts, axis=1) @ kernel + bias, 0) @ last + last_bias
    assert np.allclose(whole.model(rows), expected, atol=1e-5)
    assert np.allclose(whole.graph(rows), expected, atol=1e-5)


def test_units_of_tasks() -> None:
    assert [units_of(task, 7) for task in ("classification", "multilabel", "regression", "binary")] == [7, 7, 1, 1]
