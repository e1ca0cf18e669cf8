"""Optimizers: the arguments arrive, and clipping does not depend on the number of replicas."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tdspec.run.optimizers import OPTIMIZERS, SCHEDULES, make_optimizer
from tdspec.run.strategy import make_strategy

PLAIN: dict[str, Any] = {
    "learning_rate": 0.1,
    "weight_decay": 0.0,
    "momentum": 0.0,
    "global_clipnorm": 0.0,
    "schedule": "constant",
    "total_steps": 10,
    "jit": False,
}


def per_replica(shares: np.ndarray, strategy: tf.distribute.Strategy) -> np.ndarray:
    """(shares, dim) -> (replicas, dim), with the same sum."""
    return np.stack([part.sum(axis=0) for part in np.array_split(shares, strategy.num_replicas_in_sync)])


def update(strategy: tf.distribute.Strategy, shares: np.ndarray, **changes: Any) -> list[np.ndarray]:
    """Weights (3,) and (4, 2) after steps in which each replica applies its part of `shares` (replicas, 3)."""
    with strategy.scope():
        weights = keras.Variable(np.array([1.0, 2.0, 3.0], "float32"))
        table = keras.Variable(np.ones((4, 2), "float32"))
        optimizer = make_optimizer(**(PLAIN | {"type": "sgd"} | changes))
        optimizer.build([weights, table])
    parts = per_replica(shares, strategy)

    @tf.function
    def step() -> None:
        def replica() -> None:
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            rows = tf.IndexedSlices(
                tf.ones((2, 2)) / strategy.num_replicas_in_sync, tf.constant([1, 1]), tf.constant([4, 2])
            )
            optimizer.apply([tf.gather(parts, index), rows], [weights, table])

        strategy.run(replica)

    step()
    step()
    return [weights.numpy(), table.numpy()]


SHARES = np.array([[3.0, 0.0, 1.0], [-2.0, 4.0, 1.0]], "float32")


def test_clipping_is_that_of_the_summed_gradient() -> None:
    gradient = SHARES.sum(axis=0)
    rows = np.zeros((4, 2))
    rows[1] = 2.0
    scale = 0.5 / np.sqrt(np.sum(gradient**2) + np.sum(rows**2))
    for name in ("none", "mirrored"):
        weights, table = update(make_strategy(name, "auto"), SHARES, global_clipnorm=0.5)
        np.testing.assert_allclose(weights, np.array([1.0, 2.0, 3.0]) - 2 * 0.1 * scale * gradient, rtol=1e-6)
        np.testing.assert_allclose(table, 1 - 2 * 0.1 * scale * rows, rtol=1e-6)


def test_kerass_own_clipping_differs_with_replicas() -> None:
    """Why this project has its own; should Keras mend it, ours can go."""
    results = []
    for name in ("none", "mirrored"):
        strategy = make_strategy(name, "auto")
        with strategy.scope():
            weights = keras.Variable(np.zeros(3, "float32"))
            optimizer = keras.optimizers.SGD(1.0, global_clipnorm=0.5)
            optimizer.build([weights])
        parts = per_replica(SHARES, strategy)

        def replica(parts: Any = parts, optimizer: Any = optimizer, weights: Any = weights) -> None:
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply([tf.gather(parts, index)], [weights])

        tf.function(strategy.run)(replica)
        results.append(np.linalg.norm(weights.numpy()))
    assert results[0] == pytest.approx(0.5)
    assert results[1] != pytest.approx(0.5, rel=1e-3)


def test_a_small_gradient_is_not_clipped() -> None:
    plain = update(make_strategy("none", "auto"), SHARES)
    clipped = update(make_strategy("none", "auto"), SHARES, global_clipnorm=100.0)
    for expected, found in zip(plain, clipped, strict=True):
        np.testing.assert_array_equal(expected, found)


def test_an_infinite_gradient_shows_as_nan() -> None:
    weights, _ = update(make_strategy("none", "auto"), np.array([[np.inf, 0.0, 0.0]], "float32"), global_clipnorm=1.0)
    assert np.isnan(weights).all()


@pytest.mark.parametrize("name", ["none", "mirrored"])
def test_adam_on_an_embedding_is_adam_on_the_whole_gradient(name: str) -> None:
    """Both of `update`'s slices are of row 1: its gradient is 2, and Adam's first steps are of size 1."""
    _, table = update(make_strategy(name, "auto"), SHARES, type="adam")
    np.testing.assert_allclose(table[1], 1 - 0.1 * 2, rtol=1e-5)
    np.testing.assert_array_equal(table[0], 1.0)


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
@pytest.mark.parametrize("clipnorm", [0.0, 1.0])
@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_replicas_agree_with_one_device(kind: str, clipnorm: float, schedule: str) -> None:
    changes = {"type": kind, "global_clipnorm": clipnorm, "schedule": schedule, "weight_decay": 0.01}
    one = update(make_strategy("none", "auto"), SHARES, **changes)
    two = update(make_strategy("mirrored", 2), SHARES, **changes)
    for expected, found in zip(one, two, strict=True):
        np.testing.assert_allclose(expected, found, rtol=1e-5)


def test_weight_decay_is_decoupled_and_momentum_carries() -> None:
    still = np.zeros((1, 3), "float32")
    weights, _ = update(make_strategy("none", "auto"), still, weight_decay=0.5)
    np.testing.assert_allclose(weights, np.array([1.0, 2.0, 3.0]) * (1 - 0.1 * 0.5) ** 2, rtol=1e-6)
    weights, _ = update(make_strategy("none", "auto"), SHARES, momentum=0.5)
    # Steps of 1 and 1 + 0.5.
    np.testing.assert_allclose(weights, np.array([1.0, 2.0, 3.0]) - 0.1 * 2.5 * SHARES.sum(axis=0), rtol=1e-6)


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
@pytest.mark.parametrize("name", ["none", "mirrored"])
def test_one_program_of_xla_updates_all_that_a_replica_has(kind: str, name: str) -> None:
    strategy = make_strategy(name, 2 if name == "mirrored" else "auto")
    options: dict[str, Any] = {"type": kind, "weight_decay": 0.5, "global_clipnorm": 0.3, "schedule": "cosine"}
    found, expected = (update(strategy, SHARES, **options, jit=jit) for jit in (True, False))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_gradients_need_not_know_their_shapes() -> None:
    """As those of batches of unknown size among several workers."""
    strategy = make_strategy("mirrored", 2)
    with strategy.scope():
        weights = keras.Variable(np.array([1.0, 2.0, 3.0], "float32"))
        optimizer = make_optimizer(**PLAIN | {"type": "sgd", "jit": True})
        optimizer.build([weights])

    @tf.function(input_signature=[tf.TensorSpec([2, None])])
    def step(parts: tf.Tensor) -> None:
        def replica() -> None:
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply([tf.gather(parts, index)], [weights])

        strategy.run(replica)

    step(tf.constant(SHARES))
    np.testing.assert_allclose(weights.numpy(), np.array([1.0, 2.0, 3.0]) - 0.1 * SHARES.sum(axis=0), rtol=1e-6)


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_zero_means_none(kind: str) -> None:
    optimizer = make_optimizer(**PLAIN, type=kind)
    assert not optimizer.weight_decay
    assert optimizer.global_clipnorm is None


def test_cosine_ends_at_zero() -> None:
    optimizer = make_optimizer(**(PLAIN | {"type": "adam", "schedule": "cosine"}))
    optimizer.build([keras.Variable(np.zeros(1, "float32"))])
    rates = []
    for step in (0, 5, 10):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.0], atol=1e-7)
