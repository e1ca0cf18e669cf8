"""Clean cuts: which there are, how they are numbered, what is refused, and that three parts are the model."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from graph_helpers import TINY_VIT, Array

from tdspec.errors import GraphError
from tdspec.graph import applications, backbones
from tdspec.graph.backbones import Backbone, Column
from tdspec.graph.cuts import CutPoint, clean_cuts, find_cut, split
from tdspec.graph.models import ImageInput, WholeModel, assemble
from tdspec.spec.model import Head

SIZE = (32, 32)
IMAGE = ImageInput("image", 3, (0.0, 1.0), (0.0,), (1.0,))


def _whole(backbone: Backbone, *, units: int | None = 3) -> WholeModel:
    head = Head("auto", 0.0, 0.0)
    size = None if backbone.size is None else (*backbone.size, 3)
    return assemble(backbone, IMAGE, image_shape=size, head=head, units=units, batch_norm_epsilon=None, name="m")


def _points(whole: WholeModel) -> tuple[CutPoint, ...]:
    return clean_cuts(whole.graph, whole.features, own_head=False)


def _hidden(whole: WholeModel) -> list[str]:
    hidden = [point for point in _points(whole) if point.number is not None]
    assert [point.number for point in hidden] == list(range(1, len(hidden) + 1))
    return [point.name for point in hidden]


def _application(name: str) -> WholeModel:
    return _whole(applications.application(name, size=SIZE, channels=3))


def _hub(name: str, **config: Any) -> WholeModel:
    return _whole(backbones.hub_class(name, config, size=SIZE, channels=3))


def _functional(*layers: Any, size: tuple[int, int] = (8, 8)) -> WholeModel:
    image = x = keras.Input((*size, 3), name="pixels")
    for layer in layers:
        x = layer(x)
    return _whole(Backbone(keras.Model(image, x), "Custom", size))


def _images(whole: WholeModel, count: int = 2) -> dict[str, Array]:
    shape = whole.model.input["image"].shape[1:]
    return {"image": np.random.default_rng(0).integers(0, 256, (count, *shape)).astype("uint8")}


def _check_parts(whole: WholeModel, low: CutPoint, high: CutPoint) -> None:
    segments = split(whole.graph, low, high, prefix="student")
    images = _images(whole)
    parts = segments.upper([segments.middle([segments.lower(images)])])
    assert np.array_equal(parts, whole.model(images))
    owned = [id(v) for part in (segments.lower, segments.middle, segments.upper) for v in part.variables]
    assert sorted(owned) == sorted(id(v) for v in whole.graph.variables)


CONV = keras.layers.Conv2D
PLAIN = [("conv_1", "norm_1", "relu_1"), ("conv_2", "norm_2", "relu_2")]


def _plain_cnn() -> WholeModel:
    layers: list[Any] = []
    for conv, norm, relu in PLAIN:
        layers += [CONV(4, 3, name=conv), keras.layers.BatchNormalization(name=norm), keras.layers.ReLU(name=relu)]
    return _functional(*layers, keras.layers.MaxPooling2D(name="pool"), CONV(2, 1, name="conv_3"))


def test_a_transformer_counts_its_blocks() -> None:
    vit = {**TINY_VIT, "patch_size": 8}
    assert _hidden(_hub("ViTBackbone", **vit)) == ["transformer_block_1", "transformer_block_2"]


def test_a_plain_network_counts_kernels_and_cuts_behind_the_activation() -> None:
    assert _hidden(_plain_cnn()) == ["relu_1", "relu_2", "conv_3"]


def test_an_mlp_counts_its_dense_layers_before_the_dropout() -> None:
    image = backbones.mlp_on_image((5, 4), "gelu", 0.1, size=(8, 8), channels=3)
    assert _hidden(_whole(image)) == ["dense_1", "dense_2"]


def test_embeddings_of_columns_are_no_hidden_layers() -> None:
    columns = (Column("user", "id", 5, 3, 0.0, 1.0), Column("genres", "ids", 4, 2, 0.0, 1.0))
    columns += (Column("age", "number", None, 0, 30.0, 9.0),)
    whole = _whole(backbones.mlp_on_columns((6, 5), "relu", 0.0, columns))
    assert _hidden(whole) == ["dense_1", "dense_2"]
    assert [point.name for point in _points(whole)] == ["columns", "dense_1", "dense_2", "prediction"]
    with pytest.raises(GraphError, match=r"layer 'user_embedding' is no clean cut: genres -> one_hot.* goes around it"):
        find_cut(whole.graph, _points(whole), "user_embedding")


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("ResNet50", 16, "conv2_block1_out", "conv5_block3_out"),
        ("MobileNetV2", 17, "expanded_conv_project_BN", "block_16_project_BN"),
        ("EfficientNetV2B0", 21, "block1a_project_activation", "block6h_add"),
        ("VGG16", 13, "block1_conv1", "block5_conv3"),
    ],
)
def test_known_networks_count_their_blocks(name: str, count: int, first: str, last: str) -> None:
    """Numbers as their papers count them; three parts are the network, weights and all."""
    with keras.StatelessScope(initialize_variables=False):
        hidden = _hidden(_application(name))
    assert (len(hidden), hidden[0], hidden[-1]) == (count, first, last)


def test_a_residual_network_of_keras_hub() -> None:
    whole = _hub(
        "ResNetBackbone",
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
    assert _hidden(whole) == ["stack0_block0_out", "stack1_block0_out", "stack1_block1_out"]
    hidden = [point for point in _points(whole) if point.number]
    _check_parts(whole, hidden[0], hidden[1])


def test_a_fetched_efficientnet(shared_folder: Path) -> None:
    folder = shared_folder / "presets" / "efficientnet_lite0"
    whole = _whole(backbones.hub_preset(str(folder), size=SIZE, channels=3))
    hidden = [point for point in _points(whole) if point.number]
    assert (len(hidden), hidden[0].name) == (16, "block1a_project_bn")
    _check_parts(whole, hidden[3], hidden[11])


def test_residual_blocks_without_telling_names_count_as_one_each() -> None:
    image = keras.Input((8, 8, 3))
    x = CONV(4, 3, padding="same", name="stem")(image)
    for letter in "ab":
        y = CONV(4, 3, padding="same", name=f"{letter}_in")(x)
        y = CONV(4, 3, padding="same", name=f"{letter}_out")(y)
        x = keras.layers.ReLU(name=f"{letter}_relu")(keras.layers.Add(name=f"{letter}_add")([x, y]))
    assert _hidden(_whole(Backbone(keras.Model(image, x), "Custom", (8, 8)))) == ["a_relu", "b_relu"]


@pytest.mark.parametrize("make", [_plain_cnn, lambda: _hub("ViTBackbone", **{**TINY_VIT, "patch_size": 8})])
def test_three_parts_are_the_model_at_every_pair_of_cuts(make: Any) -> None:
    whole = make()
    points = _points(whole)
    assert len(points) > 8
    for low, high in [*pairwise(points), (points[0], points[-1]), (points[3], points[3])]:
        _check_parts(whole, low, high)


def _skipping() -> WholeModel:
    """a -> b -> c -> sum, with ways from a to sum and from d to the end; clean are a, sum and d alone."""
    image = keras.Input((8, 8, 3), name="pixels")
    a = CONV(4, 1, name="a")(image)
    c = CONV(4, 1, name="c")(CONV(4, 1, name="b")(a))
    joined = keras.layers.Add(name="sum")([a, c])
    d = CONV(4, 1, name="d")(joined)
    e = CONV(4, 1, name="e")(d)
    end = keras.layers.Concatenate(name="end")([e, d])
    return _whole(Backbone(keras.Model(image, end), "Custom", (8, 8)), units=None)


def test_skip_connections_leave_the_known_cuts() -> None:
    whole = _skipping()
    assert [point.name for point in _points(whole)] == ["image_scaled", "a", "sum", "d", "end"]


def test_an_unclean_cut_names_the_way_around_and_the_nearest_clean_cuts() -> None:
    whole = _skipping()
    with pytest.raises(GraphError) as caught:
        find_cut(whole.graph, _points(whole), "b")
    assert caught.value.message == "layer 'b' is no clean cut: a -> sum goes around it"
    assert caught.value.hint == "near clean cuts: 'a' and 'sum'"
    with pytest.raises(GraphError, match="d -> end goes around it"):
        find_cut(whole.graph, _points(whole), "e")


def test_pixels_are_no_cut() -> None:
    whole = _plain_cnn()
    with pytest.raises(GraphError, match="is not one floating point tensor"):
        find_cut(whole.graph, _points(whole), "image")


def test_a_misspelt_name_gets_a_suggestion() -> None:
    whole = _plain_cnn()
    with pytest.raises(GraphError) as caught:
        find_cut(whole.graph, _points(whole), "relu1")
    assert (caught.value.message, caught.value.hint) == ("no layer 'relu1'", "did you mean 'relu_1'?")


def test_a_number_too_large() -> None:
    whole = _plain_cnn()
    with pytest.raises(GraphError) as caught:
        find_cut(whole.graph, _points(whole), 4)
    assert caught.value.message == "there is no hidden layer 4, found 3 of them"
    assert caught.value.hint == "write 1 to 3"


def test_numbers_and_names_find_the_same() -> None:
    whole = _plain_cnn()
    points = _points(whole)
    assert find_cut(whole.graph, points, 2) == find_cut(whole.graph, points, "relu_2")
    assert find_cut(whole.graph, points, "pool").number is None


def test_a_layer_that_is_called_twice_is_no_place() -> None:
    twice = keras.layers.Dense(3, name="twice")
    whole = _functional(twice, twice)
    with pytest.raises(GraphError, match="layer 'twice' is called 2 times"):
        find_cut(whole.graph, _points(whole), "twice")
    assert len([point for point in _points(whole) if point.number]) == 2


def test_low_comes_first() -> None:
    whole = _plain_cnn()
    points = _points(whole)
    with pytest.raises(GraphError, match=r"low \('relu_2'\) comes after high \('relu_1'\)"):
        split(whole.graph, find_cut(whole.graph, points, 2), find_cut(whole.graph, points, 1), prefix="student")


def test_a_network_that_ends_in_its_own_prediction_does_not_count_it() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Dense(5, name="hidden")(keras.layers.Flatten()(image))
    backbone = Backbone(keras.Model(image, keras.layers.Dense(3, name="own")(x)), "Custom", (8, 8))
    whole = assemble(backbone, IMAGE, image_shape=(8, 8, 3), head=None, units=3, batch_norm_epsilon=None, name="m")
    points = clean_cuts(whole.graph, whole.features, own_head=True)
    assert [point.name for point in points if point.number] == ["hidden"]
    assert points[-1].name == "own"
