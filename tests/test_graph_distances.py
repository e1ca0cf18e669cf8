"""Distances against numpy and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tdspec.graph import distances

RANDOM = np.random.default_rng(0)
TARGET = RANDOM.normal(size=(6, 5, 3)).astype("float32")
PREDICTION = RANDOM.normal(size=(6, 5, 3)).astype("float32")
LOGITS, OTHERS = TARGET[:, 0] * 3, PREDICTION[:, 0] * 3


def softmax(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def test_l2_is_the_mean_squared_error_of_each_example() -> None:
    expected = ((TARGET - PREDICTION) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(distances.l2(TARGET, PREDICTION), expected, rtol=1e-5)


def test_relative_l2_is_one_minus_r_squared() -> None:
    errors = ((TARGET - PREDICTION) ** 2).sum()
    variance = ((TARGET - TARGET.mean(axis=0)) ** 2).sum()
    value = distances.relative_l2(TARGET, PREDICTION)
    assert value.shape == (6,)
    np.testing.assert_allclose(np.mean(value), errors / variance, rtol=1e-4)
    # the mean of the batch explains nothing
    mean = np.broadcast_to(TARGET.mean(axis=0), TARGET.shape)
    np.testing.assert_allclose(np.mean(distances.relative_l2(TARGET, mean)), 1, rtol=1e-4)


def test_relative_l2_does_not_see_scale() -> None:
    value, scaled = (np.mean(distances.relative_l2(TARGET * s, PREDICTION * s)) for s in (1.0, 100.0))
    np.testing.assert_allclose(value, scaled, rtol=1e-4)
    assert np.isfinite(distances.relative_l2(np.ones((4, 2)), np.ones((4, 2)))).all()


def test_the_gradient_of_relative_l2_flows_through_the_variance() -> None:
    target = tf.Variable(TARGET[:, 0])
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(distances.relative_l2(target, PREDICTION[:, 0]))
    t, p = TARGET[:, 0].astype("float64"), PREDICTION[:, 0].astype("float64")
    errors, variance = ((t - p) ** 2).sum(), ((t - t.mean(axis=0)) ** 2).sum()
    # d (E / V) = (2 (t - p) V - E 2 (t - mean)) / V^2
    expected = (2 * (t - p) * variance - errors * 2 * (t - t.mean(axis=0))) / variance**2
    np.testing.assert_allclose(tape.gradient(value, target), expected, rtol=1e-3, atol=1e-6)
    # shrinking both gains nothing: the gradient is orthogonal to the scale of target and prediction together
    assert abs(float((expected * t).sum() + (-2 * (t - p) / variance * p).sum())) < 1e-9


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_has_the_factor_of_the_temperature(temperature: float) -> None:
    p, q = softmax(LOGITS / temperature), softmax(OTHERS / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=-1)
    np.testing.assert_allclose(distances.kl(LOGITS, OTHERS, temperature=temperature), expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(distances.kl(LOGITS, LOGITS + 5, temperature=temperature), 0, atol=1e-4)


def test_binary_kl() -> None:
    p, q = (1 / (1 + np.exp(-x / 2)) for x in (LOGITS, OTHERS))
    expected = 4 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(axis=-1)
    np.testing.assert_allclose(distances.binary_kl(LOGITS, OTHERS, temperature=2.0), expected, rtol=1e-3, atol=1e-6)


def test_task_losses() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    expected = -np.log(softmax(LOGITS)[np.arange(6), labels])
    np.testing.assert_allclose(distances.cross_entropy(labels, LOGITS), expected, rtol=1e-4)
    numbers = np.arange(6.0)
    np.testing.assert_allclose(
        distances.squared_error(numbers, LOGITS[:, :1]), (numbers - LOGITS[:, 0]) ** 2, rtol=1e-4
    )
    yes = (PREDICTION[:, 1] > 0).astype("float32")
    p = 1 / (1 + np.exp(-LOGITS))
    expected = -(yes * np.log(p) + (1 - yes) * np.log(1 - p)).mean(axis=-1)
    np.testing.assert_allclose(distances.binary_cross_entropy(yes, LOGITS), expected, rtol=1e-3)


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_shapes_that_differ_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="shape"):
        distances.DISTANCES[name](np.zeros((4, 3), "float32"), np.zeros((4, 2), "float32"))


@pytest.mark.parametrize("name", ["l2", "relative_l2"])
def test_half_precision_is_computed_in_float32(name: str) -> None:
    value = distances.DISTANCES[name](tf.cast(TARGET, "bfloat16"), tf.cast(PREDICTION, "bfloat16"))
    assert value.dtype == "float32"


def test_every_distance_has_its_formula() -> None:
    names = {*distances.DISTANCES, *(name for name, _ in distances.TASK_LOSSES.values())}
    assert set(distances.FORMULAS) == names
