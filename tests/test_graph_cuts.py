"""Clean cuts, their numbers, and segments that compute what the model computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from tdspec.errors import GraphError
from tdspec.graph.backbones import Backbone, application, hub_class, mlp_on_image
from tdspec.graph.cuts import clean_cuts, find_cut, split
from tdspec.graph.models import ImageInput, WholeModel, assemble

IMAGE = ImageInput("image", 3, (-1.0, 1.0), (0.0,), (1.0,))
RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 64],
    "stackwise_num_blocks": [1, 1],
    "stackwise_num_strides": [1, 2],
    "block_type": "basic_block",
}
VIT = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "patch_size": 8}


def whole(backbone: Backbone, *, own: bool = False) -> WholeModel:
    return assemble(
        backbone,
        IMAGE,
        image_shape=(24, 24, 3),
        head=None if own else ("auto", 0.0),
        units=4,
        batch_norm_epsilon=None,
        name="model",
    )


def own_model(build: Callable[[keras.KerasTensor], keras.KerasTensor]) -> WholeModel:
    image = keras.Input((24, 24, 3))
    return whole(Backbone(keras.Model(image, build(image)), "own", (24, 24)), own=True)


def conv(x: keras.KerasTensor, name: str, filters: int = 4, **options: Any) -> keras.KerasTensor:
    return keras.layers.Conv2D(filters, 3, padding="same", name=name, **options)(x)


def plain(x: keras.KerasTensor) -> keras.KerasTensor:
    x = keras.layers.ReLU(name="first")(keras.layers.BatchNormalization()(conv(x, "conv_1")))
    x = conv(keras.layers.MaxPooling2D()(x), "conv_2", activation="relu")
    return keras.layers.Dense(4, name="logits")(keras.layers.Flatten()(x))


def skipping(x: keras.KerasTensor) -> keras.KerasTensor:
    start = conv(x, "start")
    inside = conv(start, "inside")
    merged = keras.layers.Add(name="merged")([start, inside])
    return keras.layers.Dense(4, name="logits")(keras.layers.GlobalAveragePooling2D()(merged))


def nested(x: keras.KerasTensor) -> keras.KerasTensor:
    entry = keras.Input((24, 24, 3))
    inner = keras.Model(entry, conv(conv(entry, "inner_1"), "inner_2"))
    return keras.layers.Dense(4, name="logits")(keras.layers.GlobalAveragePooling2D()(inner(x)))


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "vit": lambda: hub_class("ViTBackbone", VIT, size=(24, 24), channels=3),
    "resnet": lambda: hub_class("ResNetBackbone", RESNET, size=(24, 24), channels=3),
    "vgg": lambda: hub_class(
        "VGGBackbone", {"stackwise_num_repeats": [2, 1], "stackwise_num_filters": [4, 8]}, size=(24, 24), channels=3
    ),
    "mobilenet": lambda: application("MobileNetV2", size=(32, 32), channels=3),
    "efficientnet": lambda: application("EfficientNetV2B0", size=(32, 32), channels=3),
    "mlp": lambda: mlp_on_image([8, 6, 5], 0.5, size=(24, 24), channels=3),
}
NUMBERED = {
    "vit": ["transformer_block_1", "transformer_block_2", "transformer_block_3"],
    "resnet": ["stack0_block0_out", "stack1_block0_out"],
    "vgg": ["block1_conv1", "block1_conv2", "block2_conv1"],
    "mlp": ["dense_1", "dense_2", "dense_3"],
}


@pytest.mark.parametrize("name", BACKBONES)
def test_segments_compute_the_model(name: str) -> None:
    model = whole(BACKBONES[name]())
    points = clean_cuts(model.graph, model.features, own_head=False)
    hidden = [point for point in points if point.number]
    assert [point.number for point in hidden] == list(range(1, len(hidden) + 1))
    if name in NUMBERED:
        assert [point.name for point in hidden] == NUMBERED[name]
    parts = split(model.graph, hidden[0], hidden[-1], prefix="student")
    image = {"image": np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3)).astype("uint8")}
    expected = model.model(image)
    np.testing.assert_array_equal(parts.upper(parts.middle(parts.lower(image))), expected)
    np.testing.assert_array_equal(model.graph(image), expected)


def test_every_pair_of_clean_cuts_computes_the_model() -> None:
    model = own_model(plain)
    points = clean_cuts(model.graph, model.features, own_head=True)
    image = {"image": np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3)).astype("uint8")}
    for low, high in itertools.pairwise(points):
        parts = split(model.graph, low, high, prefix="student")
        np.testing.assert_array_equal(parts.upper(parts.middle(parts.lower(image))), model.model(image))


def test_a_plain_chain_counts_layers_with_kernels_after_their_activation() -> None:
    model = own_model(plain)
    points = clean_cuts(model.graph, model.features, own_head=True)
    assert [point.name for point in points if point.number] == ["first", "conv_2"]


def test_nested_models_are_opened() -> None:
    model = own_model(nested)
    names = [point.name for point in clean_cuts(model.graph, model.features, own_head=True)]
    assert {"inner_1", "inner_2"} <= set(names)


def test_an_unclean_cut_names_the_way_around_and_its_neighbours() -> None:
    model = own_model(skipping)
    points = clean_cuts(model.graph, model.features, own_head=True)
    assert "inside" not in [point.name for point in points]
    with pytest.raises(GraphError) as caught:
        find_cut(model.graph, points, "inside")
    assert caught.value.message == "layer 'inside' is no clean cut: start -> merged goes around it"
    assert caught.value.hint == "near clean cuts: 'start' and 'merged'"


def test_names_and_numbers_that_are_not_there() -> None:
    model = own_model(plain)
    points = clean_cuts(model.graph, model.features, own_head=True)
    with pytest.raises(GraphError, match="no layer 'conv_22'") as misspelt:
        find_cut(model.graph, points, "conv_22")
    assert misspelt.value.hint == "did you mean 'conv_2'?"
    with pytest.raises(GraphError, match="no hidden layer 3, found 2 of them"):
        find_cut(model.graph, points, 3)
    low, high = find_cut(model.graph, points, 2), find_cut(model.graph, points, 1)
    with pytest.raises(GraphError, match="comes after high"):
        split(model.graph, low, high, prefix="student")


def test_a_layer_called_twice_is_no_single_place() -> None:
    def shared(x: keras.KerasTensor) -> keras.KerasTensor:
        layer = keras.layers.Conv2D(3, 3, padding="same", name="shared")
        return keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(layer(layer(x))))

    model = own_model(shared)
    points = clean_cuts(model.graph, model.features, own_head=True)
    with pytest.raises(GraphError, match="called 2 times"):
        find_cut(model.graph, [point for point in points if point.name != "shared"], "shared")  # type: ignore[arg-type]


def test_a_model_with_preprocessing_is_not_in_training_mode_by_itself() -> None:
    """Keras's own Resizing layer hands training=True on; the graph must not contain such a layer."""
    model = whole(application("MobileNetV2", size=(32, 32), channels=3))
    image = {"image": np.zeros((2, 24, 24, 3), "uint8")}
    before = [np.array(weight) for weight in model.model.get_weights()]
    np.testing.assert_array_equal(model.model(image), model.model(image, training=False))
    for old, new in zip(before, model.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
