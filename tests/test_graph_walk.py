"""Opening and walking graphs: order, shared weights, unchanged results, names."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras_hub.models import ViTBackbone

from tdspec.graph.walk import functional, is_block, nodes_between, nodes_of, numbered_anew, opened, trace

VIT = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12, "patch_size": 4, "image_shape": (8, 8, 3)}


def _values(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def _nested(name: str, width: int) -> keras.Model:
    entry = keras.Input((width,))
    x = keras.layers.Dense(4, activation="tanh", name="dense")(entry)
    return keras.Model(entry, keras.layers.Dense(4, name="out")(x), name=name)


def test_each_node_comes_after_those_it_reads() -> None:
    entry = keras.Input((4,), name="entry")
    left = keras.layers.Dense(4, name="left")(entry)
    right = keras.layers.Dense(4, name="right")(left)
    model = keras.Model(entry, keras.layers.Add(name="sum")([right, left, entry]))
    nodes = nodes_of(model)
    assert [node.name for node in nodes] == ["entry", "left", "right", "sum"]
    made: set[int] = set()
    for node in nodes:
        assert made.issuperset(node.inputs)
        made.update(node.outputs)
    assert nodes[0].is_input and not any(node.is_input for node in nodes[1:])


def test_a_walk_stops_where_it_is_told() -> None:
    entry = keras.Input((4,), name="entry")
    first = keras.layers.Dense(4, name="first")(entry)
    second = keras.layers.Dense(4, name="second")(first)
    assert [node.name for node in nodes_between([first], [second])] == ["first", "second"]


def test_a_transformer_opens_into_its_blocks() -> None:
    model = ViTBackbone(**VIT)
    entry = keras.Input((8, 8, 3))
    graph = functional(entry, opened(entry, model(entry)))
    blocks = [node.name for node in nodes_of(graph) if is_block(node.operation)]
    assert blocks == ["transformer_block_1", "transformer_block_2"]
    assert not any(is_block(node.operation) for node in nodes_of(model))
    assert {id(v) for v in graph.variables} == {id(v) for v in model.variables}
    images = _values((2, 8, 8, 3))
    assert np.array_equal(graph(images), model(images))


def test_nested_models_open_at_every_depth() -> None:
    entry = keras.Input((4,), name="entry")
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a"), keras.layers.Dense(4, name="b")])
    middle = keras.Input((4,))
    outer = keras.Model(middle, keras.layers.Add(name="skip")([inner(middle), middle]), name="outer")
    model = keras.Model(entry, keras.layers.Dense(2, name="last")(outer(entry)))
    graph = functional(entry, opened(entry, model(entry)))
    assert [node.name for node in nodes_of(graph)] == ["entry", "a", "b", "skip", "last"]
    assert np.array_equal(graph(_values((3, 4))), model(_values((3, 4))))


def test_a_nested_model_used_twice_keeps_one_set_of_weights() -> None:
    entry = keras.Input((4,), name="entry")
    shared = _nested("shared", 4)
    model = keras.Model(entry, shared(shared(entry)))
    graph = functional(entry, opened(entry, model(entry)))
    assert [node.name for node in nodes_of(graph)] == ["entry", "dense", "out", "dense", "out"]
    assert len(graph.variables) == 4
    assert np.array_equal(graph(_values((3, 4))), model(_values((3, 4))))


def test_equal_names_in_nested_models_are_told_apart() -> None:
    entry = keras.Input((6,), name="entry")
    model = keras.Model(entry, _nested("two", 4)(_nested("one", 6)(entry)))
    graph = functional(entry, opened(entry, model(entry)))
    assert [node.name for node in nodes_of(graph)] == ["entry", "dense", "out", "dense_1", "out_1"]
    assert np.array_equal(graph(_values((3, 6))), model(_values((3, 6))))


def test_a_new_name_is_not_taken_either() -> None:
    """An input keeps its name, since data are fed by it."""
    entry = keras.Input((4,), name="dense")
    inner = keras.Input((4,))
    x = keras.layers.Dense(4, name="dense")(inner)
    model = keras.Model(inner, keras.layers.Dense(4, name="dense_1")(x))
    graph = functional(entry, opened(entry, model(entry)))
    assert [node.name for node in nodes_of(graph)] == ["dense", "dense_2", "dense_1"]


def test_tracing_keeps_the_structure() -> None:
    entries = {"a": keras.Input((2,), name="a"), "b": keras.Input((2,), name="b")}
    model = keras.Model(entries, {"sum": entries["a"] + entries["b"], "a": entries["a"] * 2.0})
    found = trace(model, {"a": np.ones((1, 2)), "b": np.full((1, 2), 5.0)})
    assert {name: np.asarray(value).tolist() for name, value in found.items()} == {"sum": [[6, 6]], "a": [[2, 2]]}


def test_names_do_not_depend_on_what_was_built_before() -> None:
    def names() -> list[str]:
        with numbered_anew():
            return [keras.layers.Add().name, keras.layers.Add().name, keras.layers.Dense(1).name]

    for _ in range(3):
        keras.layers.Add()
    before = keras.layers.Add().name
    assert names() == names() == ["add", "add_1", "dense"]
    assert int(keras.layers.Add().name.split("_")[1]) == int(before.split("_")[1]) + 1


@pytest.mark.parametrize("training", [False, True])
def test_the_mode_reaches_the_opened_layers(training: bool) -> None:
    entry = keras.Input((8, 8, 3))
    model = ViTBackbone(**VIT, dropout_rate=0.5)
    graph = functional(entry, opened(entry, model(entry)))
    images = _values((2, 8, 8, 3))
    same = np.allclose(graph(images, training=training), graph(images, training=False))
    assert same != training
