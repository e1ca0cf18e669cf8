"""Folding: the untouched model's numbers and gradients, in fewer operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array

from tdspec.graph.folding import Folded, folded
from tdspec.graph.inference import InInference, Recomputed

layers = keras.layers


def _with_random_weights(model: keras.Model) -> keras.Model:
    random = np.random.default_rng(0)
    for variable in model.variables:
        # also variances, which are positive
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


def _convolutions() -> keras.Model:
    """Every kind that is folded, and what must not be: an activation between, a tensor that another layer reads too."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(image))
    x = layers.ReLU()(x)
    x = layers.BatchNormalization(center=False)(layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x))
    x = layers.BatchNormalization(axis=3, epsilon=0.1)(layers.Conv2D(4, 1, dilation_rate=1)(layers.ReLU()(x)))
    x = layers.BatchNormalization(name="after_activation")(layers.Conv2D(4, 1, activation="relu")(x))
    read_twice = layers.Conv2D(4, 1)(x)
    x = layers.Add()([layers.BatchNormalization(name="read_twice")(read_twice), read_twice])
    x = layers.BatchNormalization()(layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    return _with_random_weights(keras.Model({"image": image}, layers.Dropout(0.5)(x), name="convolutions"))


def _nested() -> keras.Model:
    """A model inside that is called twice, beside a layer with the name of one in it."""
    image = keras.Input((8, 8, 3), name="photo")
    inside = _convolutions()
    inside.layers[1].name = "same"
    x = layers.Add()([inside({"image": image}), inside({"image": layers.Identity(name="same")(image)})])
    return keras.Model({"photo": image}, layers.Dense(2)(x), name="nested")


def _counted(model: keras.Model, kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in model._flatten_layers())


def _images() -> Array:
    return np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("make", [_convolutions, _nested])
def test_the_folded_model_is_the_model(make: Any) -> None:
    model = make()
    (name,) = model.input
    found = folded(model)
    assert _counted(found, Folded) == 4
    assert {id(variable) for variable in found.variables} == {id(variable) for variable in model.variables}
    images = {name: _images()}
    assert np.allclose(found(images, training=False), model(images, training=False), rtol=1e-5, atol=1e-5)


def test_a_trained_network_on_real_images(shared_folder: Path) -> None:
    """EfficientNet-Lite0 with ImageNet's weights: to 1e-5 of the largest number that it gives."""
    model = keras_hub.models.Backbone.from_preset(str(shared_folder / "presets" / "efficientnet_lite0"))
    pictures = np.load(shared_folder / "data" / "cifar10_subset_10k_2k.npz")["x_test"][:8]
    images = tf.image.resize(tf.cast(pictures, "float32"), (96, 96)) / 127.5 - 1
    found, expected = folded(model)(images, training=False), model(images, training=False)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_gradients_are_those_of_the_model() -> None:
    """Of what it reads, and of its weights: a student's own layers are asked again in inference mode too."""
    model, image = _convolutions(), tf.constant(_images())
    results = []
    for run in (model, folded(model)):
        with tf.GradientTape() as tape:
            tape.watch(image)
            total = tf.reduce_sum(run({"image": image}, training=False) ** 2)
        results.append(tape.gradient(total, [image, *(variable.value for variable in model.trainable_variables)]))
    for one, two in zip(*results, strict=True):
        assert np.allclose(one, two, rtol=1e-4, atol=1e-4 * np.abs(one).max())


def test_what_is_loaded_later_counts() -> None:
    model = _convolutions()
    found = folded(model)
    before = np.array(found({"image": _images()}))
    for variable in model.variables:
        variable.assign(variable * 1.1)
    after = np.array(found({"image": _images()}))
    assert not np.allclose(after, before)
    assert np.allclose(after, model({"image": _images()}, training=False), rtol=1e-5, atol=1e-5)


def test_fewer_passes_over_activations() -> None:
    """Two normalizations stay: one behind an activation, one whose input is read twice."""

    def products(model: keras.Model) -> int:
        run = tf.function(lambda image: model({"image": image}, training=False), autograph=False)
        operations = run.get_concrete_function(tf.TensorSpec((4, 8, 8, 3))).graph.get_operations()
        shapes = [operation.outputs[0].shape for operation in operations if operation.type == "Mul"]
        return sum(shape.rank == 4 and shape[0] == 4 for shape in shapes)

    model = _convolutions()
    assert (products(model), products(folded(model))) == (5, 2)


# (padding, layer), and whether the layer's own padding does the same.
PADDED = [
    (1, layers.DepthwiseConv2D(3), True),
    (0, layers.Conv2D(4, 1), True),
    (((1, 1), (2, 2)), layers.Conv2D(4, (3, 5)), True),
    (1, layers.Conv2D(4, 3, strides=2), False),
    (1, layers.DepthwiseConv2D(3, dilation_rate=2), False),
    (1, layers.Conv2D(4, 3, padding="same"), False),
    (2, layers.Conv2D(4, 3), False),
    (1, layers.Conv2D(4, 2), False),
    (((1, 0), (1, 1)), layers.Conv2D(4, 3), False),
]


@pytest.mark.parametrize(("padding", "layer", "expected"), PADDED)
def test_a_convolution_pads_by_itself_where_it_can(padding: Any, layer: Any, expected: bool) -> None:
    entry = keras.Input((8, 8, 3), name="image")
    x = layers.ZeroPadding2D(padding)(entry)
    # built anew: a layer of the list is in one model alone
    x = layers.BatchNormalization()(type(layer).from_config(layer.get_config())(x))
    model = _with_random_weights(keras.Model({"image": entry}, layers.ReLU()(x)))
    found = folded(model)
    assert (_counted(found, Folded), _counted(found, layers.ZeroPadding2D)) == (1, 0 if expected else 1)
    images = {"image": _images()}
    assert np.allclose(found(images), model(images), rtol=1e-5, atol=1e-5)
    assert found.output_shape == model.output_shape


def test_a_padding_that_is_read_twice_stays() -> None:
    entry = keras.Input((8, 8, 3), name="image")
    padded = layers.ZeroPadding2D(1)(entry)
    x = layers.BatchNormalization()(layers.Conv2D(3, 3)(padded))
    model = _with_random_weights(keras.Model({"image": entry}, layers.Add()([x, layers.Cropping2D(1)(padded)])))
    found = folded(model)
    assert (_counted(found, Folded), _counted(found, layers.ZeroPadding2D)) == (1, 1)
    assert np.allclose(found({"image": _images()}), model({"image": _images()}), rtol=1e-5, atol=1e-5)


def test_nothing_to_fold_changes_nothing() -> None:
    entry = keras.Input((3,))
    model = keras.Model(entry, layers.Dense(2, activation="relu")(entry))
    assert folded(model) is model


@pytest.mark.parametrize("kind", [InInference, Recomputed])
@pytest.mark.parametrize("training", [False, True])
def test_layers_in_inference_mode_run_folded(kind: type[InInference], training: bool) -> None:
    """Whatever the mode of the graph around them: dropout draws nothing, statistics of the batch are not taken."""
    model = _convolutions()
    image = keras.Input((8, 8, 3), name="image")
    around = keras.Model(image, kind(model, name="around")({"image": image}))
    expected = model({"image": _images()}, training=False)
    assert np.allclose(around(_images(), training=training), expected, rtol=1e-5, atol=1e-5)
    assert len(around.variables) == len(model.variables)


def test_half_precision_folds_in_float32() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = _convolutions()
        found = folded(model)
    finally:
        keras.config.set_dtype_policy(before)
    one, two = (run({"image": _images()}, training=False) for run in (model, found))
    assert one.dtype == two.dtype
    one, two = (tf.cast(tensor, "float32").numpy() for tensor in (one, two))
    assert np.allclose(one, two, rtol=0.05, atol=0.05 * np.abs(one).max())
