"""Distances: against numpy, known values, refused shapes, half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array
from graph_helpers import l2 as numpy_l2
from graph_helpers import relative_l2 as numpy_relative_l2

from tdspec.graph.across import Across
from tdspec.graph.distances import DISTANCES as STATE_DISTANCES
from tdspec.graph.distances import kl, l2, relative_l2
from tdspec.graph.predictions import TASK_LOSSES, binary_cross_entropy, binary_kl, cross_entropy, squared_error
from tdspec.graph.terms import DISTANCES, FORMULAS
from tdspec.spec.schema import schema

SHAPES = [(4, 3), (4, 5, 3), (4, 2, 3, 3)]


def _pair(shape: tuple[int, ...]) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.normal(size=shape).astype("float32"), random.normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("distance", "expected"), [(l2, numpy_l2), (relative_l2, numpy_relative_l2)])
def test_distances_of_states(
    distance: Callable[..., Any], expected: Callable[..., float], shape: tuple[int, ...]
) -> None:
    target, prediction = _pair(shape)
    found = distance(target, prediction)
    assert found.shape == (4,) and found.dtype == "float32"
    assert float(np.mean(found)) == pytest.approx(expected(target.astype("float64"), prediction), rel=1e-5)


def test_l2_of_each_example() -> None:
    assert l2(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, 1.0], [1.0, 1.0]])).numpy().tolist() == [5.0, 0.0]


def test_relative_l2_of_known_values() -> None:
    """The mean predicts nothing, which costs 1; what is right costs 0; each example bears its own error."""
    target = np.array([[0.0], [2.0], [4.0]], "float32")
    assert float(np.mean(relative_l2(target, np.full((3, 1), 2.0, "float32")))) == pytest.approx(1.0)
    assert np.allclose(relative_l2(target, target), 0)
    # variance 8 / 3; the second example is off by 2: 4 / (8 / 3)
    assert np.allclose(relative_l2(target, np.array([[0.0], [0.0], [4.0]], "float32")), [0, 1.5, 0])


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_relative_l2_does_not_know_scales(scale: float) -> None:
    target, prediction = _pair((8, 5))
    expected = np.mean(relative_l2(target, prediction))
    assert float(np.mean(relative_l2(scale * target, scale * prediction))) == pytest.approx(float(expected), rel=1e-2)


def test_relative_l2_does_not_know_shifts() -> None:
    target, prediction = _pair((8, 5))
    expected = float(np.mean(relative_l2(target, prediction)))
    assert float(np.mean(relative_l2(target + 10, prediction + 10))) == pytest.approx(expected, rel=1e-4)


def test_a_constant_target_stays_finite() -> None:
    constant = tf.ones((4, 3))
    with tf.GradientTape() as tape:
        tape.watch(constant)
        total = tf.reduce_mean(relative_l2(constant, tf.zeros((4, 3))))
    assert np.isfinite(total) and float(total) > 1e6
    assert np.all(np.isfinite(tape.gradient(total, constant)))
    assert np.allclose(relative_l2(tf.ones((4, 3)), tf.ones((4, 3))), 0)


def test_variance_is_that_of_all_replicas() -> None:
    """`across` is how a part of the batch learns of the rest."""
    target, prediction = _pair((8, 3))
    mean = target.mean(axis=0)
    sums = [
        target.sum(axis=0),
        np.array([[8.0]], "float32"),
        np.array(8.0, "float32"),
        np.square(target - mean).sum(axis=0),
    ]
    parts = []
    for half in (target[:4], target[4:]):
        replies = iter(sums)
        parts.append(
            relative_l2(half, prediction[:4], across=Across(lambda values, replies=replies: next(replies), np.array))
        )
    whole = relative_l2(target, np.concatenate([prediction[:4]] * 2))
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-5)


@pytest.mark.parametrize("name", [*STATE_DISTANCES, "binary_kl", "dist"])
@pytest.mark.parametrize("shapes", [((4, 3), (4, 1)), ((4, 3), (4, 3, 1)), ((4,), (4, 1)), ((4, 1), (1, 4))])
def test_shapes_must_agree(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"target has shape .*, prediction has shape"):
        DISTANCES[name](np.zeros(shapes[0], "float32"), np.zeros(shapes[1], "float32"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", sorted(set(DISTANCES) - {"nkd"}))
def test_half_precision_is_computed_in_float32(name: str, dtype: str) -> None:
    target, prediction = (tf.cast(3 * values, dtype) for values in _pair((64, 33)))
    options = {"temperature": 3.0} if "kl" in name else {}
    found = DISTANCES[name](target, prediction, **options)
    exact = DISTANCES[name](tf.cast(target, "float32"), tf.cast(prediction, "float32"), **options)
    assert found.dtype == "float32"
    assert np.array_equal(found, exact)


def _log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_with_temperature(temperature: float) -> None:
    target, prediction = (values.astype("float64") for values in _pair((4, 3)))
    log_p, log_q = _log_softmax(target / temperature), _log_softmax(prediction / temperature)
    expected = temperature**2 * np.sum(np.exp(log_p) * (log_p - log_q), axis=1)
    assert np.allclose(kl(target, prediction, temperature=temperature), expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_kl_hardly_depends_on_a_high_temperature() -> None:
    """The reason for T^2: at high T the gradient tends to (q - p) of centred logits over the number of classes."""
    target, prediction = _pair((4, 3))
    gradients = []
    for temperature in (100.0, 200.0):
        logits = tf.constant(prediction)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = tf.reduce_sum(kl(target, logits, temperature=temperature))
        gradients.append(tape.gradient(total, logits).numpy())
    centred = (prediction - prediction.mean(axis=1, keepdims=True)) - (target - target.mean(axis=1, keepdims=True))
    assert np.allclose(gradients[0], gradients[1], atol=2e-2)
    assert np.allclose(gradients[1], centred / 3, atol=2e-2)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_binary_kl_is_kl_of_two_classes(temperature: float) -> None:
    target, prediction = _pair((4, 3))

    def two(logits: Array) -> Array:
        return np.stack([logits, np.zeros_like(logits)], axis=-1).reshape(-1, 2)

    expected = np.reshape(kl(two(target), two(prediction), temperature=temperature), (4, 3)).mean(axis=1)
    assert np.allclose(binary_kl(target, prediction, temperature=temperature), expected, rtol=1e-4, atol=1e-6)


def test_extreme_logits_stay_finite() -> None:
    target, prediction = np.array([[500.0, -500.0]], "float32"), np.array([[-500.0, 500.0]], "float32")
    assert float(kl(target, prediction)[0]) == pytest.approx(1000)
    assert float(binary_kl(target, prediction)[0]) == pytest.approx(500)
    assert float(cross_entropy(np.array([1]), target)[0]) == pytest.approx(1000)
    assert float(binary_cross_entropy(np.array([[0, 0]]), target)[0]) == pytest.approx(250)


def test_losses_of_tasks() -> None:
    _, logits = _pair((4, 3))
    label = np.array([2, 0, 1, 1])
    assert np.allclose(cross_entropy(label, logits), -_log_softmax(logits)[range(4), label], rtol=1e-4)
    marks = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    p = 1 / (1 + np.exp(-logits))
    expected = -(marks * np.log(p) + (1 - marks) * np.log(1 - p)).mean(axis=1)
    assert np.allclose(binary_cross_entropy(marks, logits), expected, rtol=1e-4)
    assert np.allclose(binary_cross_entropy(marks[:, 0], logits[:, :1])[0], -np.log(p[0, 0]), rtol=1e-4)
    numbers = np.array([1.0, 2.0, 3.0, 4.0])
    assert np.allclose(squared_error(numbers, logits[:, :1]), (numbers - logits[:, 0]) ** 2, rtol=1e-4)


def test_labels_in_a_column_are_not_broadcast() -> None:
    _, logits = _pair((4, 3))
    label = np.array([2, 0, 1, 1])
    for loss, prediction in (
        (cross_entropy, logits),
        (squared_error, logits[:, :1]),
        (binary_cross_entropy, logits[:, :1]),
    ):
        assert np.allclose(loss(label[:, None], prediction), loss(label, prediction))


def test_every_distance_has_its_formula() -> None:
    assert set(FORMULAS) == set(DISTANCES) | {name for name, _ in TASK_LOSSES.values()}


def test_the_schema_offers_these_distances() -> None:
    definitions = schema()["$defs"]
    offered = definitions["state_loss"]["oneOf"][1]["properties"]["distance"]["enum"]
    assert set(offered) < set(DISTANCES)
    assert set(definitions["task"]["properties"]["type"]["enum"]) == set(TASK_LOSSES)
