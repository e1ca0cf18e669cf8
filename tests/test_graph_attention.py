"""Self-attention inside an XLA program: Keras's numbers, by one product instead of three."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tdspec.graph.programs import on_flat

TOKENS, DIM = 5, 6


def _attention(**options: Any) -> keras.layers.MultiHeadAttention:
    keras.utils.set_random_seed(0)
    attention = keras.layers.MultiHeadAttention(2, 3, bias_initializer="random_normal", **options)
    attention.build((None, TOKENS, DIM), (None, TOKENS, DIM))
    return attention


def _with_gradients(attention: Any, *others: Any, **options: Any) -> Any:
    weights = [variable.value for variable in attention.trainable_variables]

    def of(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = attention(x, *(others or (x,)), **options)
            total = tf.reduce_sum(tf.sin(y))
        return y, tape.gradient(total, [x, *weights])

    return of


def _inputs() -> Any:
    return tf.random.stateless_normal((4, TOKENS, DIM), (1, 2))


def _num_products(of: Any, x: Any) -> int:
    return str(on_flat(of, (x,)).experimental_get_compiler_ir(x)(stage="hlo")).count(" dot(")


@pytest.mark.parametrize(
    "options", [{}, {"use_bias": False}, {"value_dim": 4}, {"output_shape": 7}, {"dropout": 0.5}, {"dtype": "float64"}]
)
def test_values_and_gradients_are_kerass(options: dict[str, Any]) -> None:
    x, of = _inputs(), _with_gradients(_attention(**options))
    found, expected = on_flat(of, (x,))(x), of(x)
    for one, two in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_three_products_are_one() -> None:
    x, attention = _inputs(), _attention()
    # query, key and value; scores; what is heard; the output
    assert _num_products(lambda x: attention(x, x), x) == 4
    assert _num_products(lambda x: attention(x, x + 1.0), x) == 6


@pytest.mark.parametrize(
    "options", [{"attention_mask": np.tri(TOKENS, dtype=bool)[None]}, {"use_causal_mask": True}, {"key": 2.0}]
)
def test_anything_else_is_kerass_own(options: dict[str, Any]) -> None:
    x = _inputs()
    if "key" in options:
        options = {"key": x * options["key"]}
    of = _with_gradients(_attention(), **options)
    found, expected = on_flat(of, (x,))(x), of(x)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)


def test_scores_are_still_returned() -> None:
    x, attention = _inputs(), _attention()
    _, scores = on_flat(lambda x: attention(x, x, return_attention_scores=True), (x,))(x)
    assert scores.shape == (4, 2, TOKENS, TOKENS)


def test_dropout_draws_in_training_alone() -> None:
    x, attention = _inputs(), _attention(dropout=0.5)
    run = {mode: on_flat(lambda x, mode=mode: attention(x, x, training=mode), (x,)) for mode in (True, False)}
    assert np.array_equal(run[False](x), run[False](x)) and not np.array_equal(run[True](x), run[True](x))
