"""A function and its gradient as two programs: the numbers of one, and little between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tdspec.graph.halves import Halves, Uncuttable, in_halves

Function = Callable[..., Any]
WIDTH = 16


def _of_layers(*layers: keras.layers.Layer, length: int = 5) -> tuple[Function, Any, list[Any]]:
    """(a function that gives "y" of the layers, its arguments, the values of the layers' weights)."""
    model = keras.Sequential([keras.Input((length,), dtype="int32"), *layers])

    def function(trained: Any, others: Any, features: Any) -> Any:
        with keras.StatelessScope(list(zip(model.trainable_variables, trained, strict=True))):
            y = model(features["x"], training=True)
        return {"constant": tf.stop_gradient(y) + 1.0, "y": y, "x": features["x"]}, [others[0] + 1.0]

    weights = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]
    specs = [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights]
    return function, (specs, [tf.TensorSpec((), "float32")], {"x": tf.TensorSpec((None, length), "int32")}), weights


def _loss_and_gradients(run: Function, weights: list[Any], x: Any) -> Any:
    def of(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            tensors, changes = run(weights, [tf.constant(1.0)], {"x": x})
            loss = tf.reduce_sum(tensors["y"] ** 2) + tf.reduce_sum(tensors["constant"])
        return (
            loss,
            [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)],
            changes,
            tensors["x"],
        )

    return tf.function(of, autograph=False)(x)


def test_values_gradients_and_changes_are_the_functions_own() -> None:
    layers = keras.layers
    function, arguments, weights = _of_layers(
        layers.Embedding(11, WIDTH),
        layers.LayerNormalization(),
        layers.Conv1D(WIDTH, 3, activation="gelu"),
        layers.Dense(WIDTH, activation="relu"),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    )
    halves = in_halves(function, arguments)
    # whole numbers have no gradient, and nothing trained is behind a constant
    assert halves.names == ("constant", "y", "x") and halves.differentiable == (1,)
    assert halves.reached == tuple(range(len(weights)))
    for rows in (7, 4):
        x = tf.constant(np.arange(rows * 5).reshape(rows, 5) % 11, tf.int32)
        found, expected = (_loss_and_gradients(run, weights, x) for run in (halves, function))
        tf.nest.map_structure(
            lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6), found, expected
        )


def _kept(halves: Halves) -> list[tuple[int, ...]]:
    """The shapes of what the forward program gives beside its results."""
    outputs = halves.forward.get_concrete_function().outputs
    return [tuple(tensor.shape) for tensor in outputs[len(halves.names) + halves.num_changes :]]


@pytest.mark.parametrize("activation", [None, "relu"])
def test_an_activation_is_kept_once(activation: str | None) -> None:
    """Not before and after its bias, not in another shape, and not what a layer's own gradient does not read."""
    layers = keras.layers
    function, arguments, _ = _of_layers(
        layers.Embedding(11, WIDTH),
        layers.Dense(WIDTH, activation=activation),
        layers.Rescaling(0.5, offset=1.0),
        layers.Dense(WIDTH),
        length=40,
    )
    assert _kept(in_halves(function, arguments)).count((None, 40, WIDTH)) <= 2


def test_a_loop_is_told() -> None:
    function, arguments, _ = _of_layers(keras.layers.Embedding(11, 4), keras.layers.LSTM(3))
    with pytest.raises(Uncuttable):
        in_halves(function, arguments)
