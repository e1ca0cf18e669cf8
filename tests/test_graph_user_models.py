"""A user's own .keras files: nested models, shared layers, Sequential, several inputs; what is refused and how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from graph_helpers import Array

from tdspec.errors import GraphError
from tdspec.graph.backbones import Column, keras_file
from tdspec.graph.cuts import CutPoint, clean_cuts, find_cut, split
from tdspec.graph.models import ImageInput, WholeModel, assemble
from tdspec.graph.weights import from_file
from tdspec.spec.model import Head

IMAGE = ImageInput("image", 3, (0.0, 1.0), (0.0,), (1.0,))
SHAPE = (8, 8, 3)
layers = keras.layers


def _nested() -> keras.Model:
    entry = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", name="one")(entry)
    inner = keras.Model(entry, layers.Add(name="join")([x, entry]), name="inner")
    image = keras.Input(SHAPE)
    x = inner(layers.Conv2D(4, 1, name="stem")(image))
    tail = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(3, 1, name="two"), layers.Conv2D(2, 1, name="three")]
    )
    return keras.Model(image, tail(x))


def _shared() -> keras.Model:
    image = keras.Input(SHAPE)
    shared = layers.Dense(6, activation="relu", name="shared")
    x = layers.Dense(6, name="first")(layers.Flatten()(image))
    return keras.Model(image, layers.Dense(4, name="last")(shared(shared(x))))


def _sequential() -> keras.Model:
    inner = keras.Sequential(
        [layers.Conv2D(4, 3, name="a"), layers.BatchNormalization(name="norm"), layers.ReLU(name="r")]
    )
    return keras.Sequential([keras.Input(SHAPE), inner, layers.Flatten(), layers.Dense(5, name="b")])


def _opened(folder: Path, model: keras.Model) -> tuple[WholeModel, tuple[CutPoint, ...]]:
    """The file's model with its own weights, and its clean cuts."""
    for variable in model.variables:
        variable.assign(variable + 0.1)
    path = folder / "own.keras"
    model.save(path)
    backbone = keras_file(str(path), size=None, channels=3)
    from_file(backbone.model, str(path))
    head = Head("auto", 0.0, 0.0)
    whole = assemble(backbone, IMAGE, image_shape=SHAPE, head=head, units=2, batch_norm_epsilon=None, name="m")
    return whole, clean_cuts(whole.graph, whole.features, own_head=False)


def _check(whole: WholeModel, points: tuple[CutPoint, ...], inputs: dict[str, Array]) -> None:
    hidden = [point for point in points if point.number]
    for low, high in ((0, 1), (0, len(hidden) - 1), (1, 1)):
        parts = split(whole.graph, hidden[low], hidden[high], prefix="m")
        found = parts.upper([parts.middle([parts.lower(inputs)])])
        assert np.array_equal(found, whole.model(inputs))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (_nested, ["stem", "join", "two", "three"]),
        (_shared, ["first", "shared", "shared", "last"]),
        (_sequential, ["r", "b"]),
    ],
)
def test_a_model_of_a_user_falls_apart_exactly(tmp_path: Path, make: Callable[[], Any], names: list[str]) -> None:
    whole, points = _opened(tmp_path, make())
    found = [point.name for point in points if point.number]
    # a network in which blocks branch counts these alone
    assert found == names
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("uint8")
    _check(whole, points, {"image": images})


def test_a_shared_layer_has_no_place_by_its_name(tmp_path: Path) -> None:
    whole, points = _opened(tmp_path, _shared())
    with pytest.raises(GraphError, match="layer 'shared' is called 2 times"):
        find_cut(whole.graph, points, "shared")
    assert find_cut(whole.graph, points, 2).position < find_cut(whole.graph, points, 3).position


def _table(*shapes: tuple[int, ...], dtype: str = "float32") -> keras.Model:
    entries = [keras.Input(shape, dtype=dtype, name=f"column_{number}") for number, shape in enumerate(shapes)]
    x = layers.Concatenate()([layers.Reshape((-1,))(entry) for entry in entries])
    return keras.Model(entries, layers.Dense(4, name="b")(layers.Dense(5, name="a")(x)))


def test_inputs_of_one_value_are_columns_of_a_table(tmp_path: Path) -> None:
    age, city = keras.Input((1,), name="age"), keras.Input((), dtype="int32", name="city")
    x = layers.Concatenate()([layers.Embedding(5, 3)(city), age])
    model = keras.Model([age, city], layers.Dense(4, name="b")(layers.Dense(6, name="a")(x)))
    whole, points = _opened(tmp_path, model)
    assert whole.backbone.columns == (Column("age", "number", None, 0, 0.0, 1.0), Column("city", "id", 5, 3, 0.0, 1.0))
    assert {name: tensor.shape for name, tensor in whole.model.input.items()} == {"age": (None,), "city": (None,)}
    values: dict[str, Array] = {"age": np.array([0.5, 2.0], "float32"), "city": np.array([1, 4], "int32")}
    own = model([values["age"][:, None], values["city"]])
    assert np.allclose(whole.backbone.model(values), own)
    _check(whole, points, values)


def test_inputs_that_are_no_column_are_refused(tmp_path: Path) -> None:
    def message(model: keras.Model) -> str:
        model.save(tmp_path / "own.keras")
        with pytest.raises(GraphError) as caught:
            keras_file(str(tmp_path / "own.keras"), size=None, channels=3)
        return caught.value.message

    assert message(_table((), (3,))).startswith("the model's input 'column_1' has the shape 3, a column of a table")
    image, age = keras.Input(SHAPE, name="photo"), keras.Input((), name="age")
    joined = layers.Concatenate()([layers.Flatten()(image), layers.Reshape((1,))(age)])
    expected = "the model does not read one image, its inputs are photo, age"
    assert message(keras.Model([image, age], layers.Dense(2)(joined))) == expected
    second = keras.Input(SHAPE, name="other")
    both = keras.Model([image, second], layers.Flatten()(layers.Add()([image, second])))
    assert message(both) == "the model does not read one image, its inputs are photo, other"


def test_integers_that_are_no_ids_are_refused(tmp_path: Path) -> None:
    entries = [keras.Input((), dtype="int32", name=name) for name in ("a", "b")]
    keras.Model(entries, layers.Add()(entries)).save(tmp_path / "own.keras")
    with pytest.raises(GraphError, match="the model's input 'a' is int32"):
        keras_file(str(tmp_path / "own.keras"), size=None, channels=3)
