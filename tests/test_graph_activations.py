"""GELU inside an XLA program: TensorFlow's numbers, by another formula."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tdspec.graph.programs import on_flat


def _gelu_and_gradient(approximate: bool) -> Any:
    def of(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = keras.activations.gelu(x, approximate=approximate)
        return y, tape.gradient(y, x)

    return of


def test_values_and_gradients_are_tensorflows() -> None:
    x, of = tf.linspace(-12.0, 12.0, 4001), _gelu_and_gradient(False)
    found, expected = on_flat(of, (x,))(x), of(x)
    for one, two in zip(found, expected, strict=True):
        assert np.all(np.abs(one - two) <= 1e-6 + 1e-7 * np.abs(x))


def test_the_approximation_stays() -> None:
    x = tf.zeros((3,))
    text = on_flat(_gelu_and_gradient(True), (x,)).experimental_get_compiler_ir(x)(stage="hlo")
    assert "tanh(" in text and "erf" not in text


def test_erfc_is_in_no_program() -> None:
    """Nor in the gradient: what XLA is given has erf alone."""
    x = tf.zeros((3,))
    text = on_flat(_gelu_and_gradient(False), (x,)).experimental_get_compiler_ir(x)(stage="hlo")
    assert "erf(" in text and text.count("erf") == text.count("erf(")


def test_lower_precision_stays() -> None:
    x = tf.cast(tf.linspace(-6.0, 6.0, 101), "bfloat16")
    of = _gelu_and_gradient(False)
    found, expected = on_flat(of, (x,))(x)[0], of(x)[0]
    assert found.dtype == tf.bfloat16 and np.allclose(
        tf.cast(found, "float32"), tf.cast(expected, "float32"), rtol=0.02, atol=0.02
    )


def test_the_backward_pass_is_given_the_argument_alone() -> None:
    """Beside GELU the forward program gives nothing else: what is kept is written and read."""

    def loss(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = on_flat(keras.activations.gelu, (x,))(x)
        return tape.gradient(y, x)

    graph = tf.function(loss, autograph=False).get_concrete_function(tf.zeros((3,))).graph
    calls = [operation for operation in graph.get_operations() if "Call" in operation.type]
    assert [len(call.outputs) for call in calls] == [2, 1]
