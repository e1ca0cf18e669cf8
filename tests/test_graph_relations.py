"""Every distance of the modern methods against numpy, written anew from its paper's equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array

from tdspec.graph.across import Across
from tdspec.graph.projection import OrthogonalProjection
from tdspec.graph.terms import ACROSS_THE_BATCH, DISTANCES

RANDOM = np.random.default_rng(0)
TARGET, PREDICTION = (RANDOM.normal(size=(6, 4, 5)) for _ in range(2))
NARROW = RANDOM.normal(size=(6, 4, 3))
LOGITS, OTHER_LOGITS = (2 * RANDOM.normal(size=(6, 4)) for _ in range(2))
LABEL = np.array([0, 1, 2, 3, 0, 1])
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]])


def _huber(x: Array) -> Array:
    return np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def _by_position(between: Callable[[Array, Array], float]) -> Callable[[Array, Array], float]:
    def distance(target: Array, prediction: Array) -> float:
        return float(
            np.mean(
                [between(t, p) for ts, ps in zip(target, prediction, strict=True) for t, p in zip(ts, ps, strict=True)]
            )
        )

    return distance


def _kl(t: Array, p: Array) -> float:
    a, b = _softmax(t), _softmax(p)
    return float(np.sum(a * np.log(a / b)))


def _standardized(target: Array, prediction: Array) -> float:
    z = (target - target.mean(axis=(0, 1))) / target.std(axis=(0, 1))
    return float(np.mean((z - prediction) ** 2))


BY_POSITION: dict[str, Callable[[Array, Array], float]] = {
    "smooth_l1": lambda t, p: float(_huber(t - p).mean()),
    "cosine": lambda t, p: 1 - _cosine(t, p),
    "pearson": lambda t, p: 1 - float(np.corrcoef(t, p)[0, 1]),
    "kl": _kl,
}


@pytest.mark.parametrize("name", list(BY_POSITION))
def test_distances_by_position(name: str) -> None:
    expected = _by_position(BY_POSITION[name])(TARGET, PREDICTION)
    assert float(np.mean(DISTANCES[name](TARGET, PREDICTION))) == pytest.approx(expected, rel=1e-5)


def test_standardized_l2() -> None:
    found = float(np.mean(DISTANCES["standardized_l2"](TARGET, PREDICTION)))
    assert found == pytest.approx(_standardized(TARGET, PREDICTION), rel=1e-4)


@pytest.mark.parametrize(("temperature", "intra"), [(1.0, 1.0), (4.0, 2.0)])
def test_dist(temperature: float, intra: float) -> None:
    p, q = _softmax(LOGITS / temperature), _softmax(OTHER_LOGITS / temperature)
    rows = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    columns = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    found = np.mean(DISTANCES["dist"](LOGITS, OTHER_LOGITS, temperature=temperature, intra=intra))
    assert float(found) == pytest.approx(temperature**2 * (rows + intra * columns), rel=1e-4)


@pytest.mark.parametrize(("temperature", "non_target"), [(1.0, 1.5), (2.0, 0.5)])
def test_nkd(temperature: float, non_target: float) -> None:
    expected = []
    for t, s, label in zip(LOGITS, OTHER_LOGITS, LABEL, strict=True):
        others = np.delete(np.arange(4), label)
        a, b = _softmax(t[others] / temperature), _softmax(s[others] / temperature)
        expected.append(
            -_softmax(t)[label] * np.log(_softmax(s)[label]) - non_target * temperature**2 * np.sum(a * np.log(b))
        )
    found = DISTANCES["nkd"](LOGITS, OTHER_LOGITS, label=LABEL, temperature=temperature, non_target=non_target)
    assert np.allclose(found, expected, rtol=1e-4)


def _relational(target: Array, prediction: Array, distances: float, angles: float) -> float:
    t, p = target.mean(axis=1), prediction.mean(axis=1)
    n = len(t)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    lengths = [{(i, j): np.linalg.norm(x[i] - x[j]) for i, j in pairs} for x in (t, p)]
    relative = [{pair: length / np.mean(list(found.values())) for pair, length in found.items()} for found in lengths]
    by_distance = np.mean([_huber(relative[0][pair] - relative[1][pair]) for pair in pairs])
    total = 0.0
    for i in range(n):
        for j in range(n):
            for k in range(n):
                if i not in (j, k):
                    cosines = [_cosine(x[j] - x[i], x[k] - x[i]) for x in (t, p)]
                    total += float(_huber(np.array(cosines[0] - cosines[1])))
    return float(distances * by_distance + angles * total / n**3)


def test_relational_of_different_widths() -> None:
    found = np.mean(DISTANCES["relational"](TARGET, NARROW, distances=1.5, angles=2.0))
    assert float(found) == pytest.approx(_relational(TARGET, NARROW, 1.5, 2.0), rel=1e-4)


def test_attention_of_different_widths() -> None:
    expected = []
    for t, p in zip(TARGET, NARROW, strict=True):
        a, b = (t**2).mean(axis=-1), (p**2).mean(axis=-1)
        expected.append(np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2))
    assert np.allclose(DISTANCES["attention"](TARGET, NARROW), expected, rtol=1e-4)


def test_manifold_of_different_widths() -> None:
    within = np.mean(
        [
            (_cosine(t[i], t[j]) - _cosine(p[i], p[j])) ** 2
            for t, p in zip(TARGET, NARROW, strict=True)
            for i in range(4)
            for j in range(4)
        ]
    )
    between = np.mean(
        [
            (_cosine(TARGET[a, i], TARGET[b, i]) - _cosine(NARROW[a, i], NARROW[b, i])) ** 2
            for i in range(4)
            for a in range(6)
            for b in range(6)
        ]
    )
    found = np.mean(DISTANCES["manifold"](TARGET, NARROW, intra=2.0, inter=3.0))
    assert float(found) == pytest.approx(2 * within + 3 * between, rel=1e-4)


MASKED = [
    "l2",
    "relative_l2",
    "smooth_l1",
    "cosine",
    "pearson",
    "kl",
    "standardized_l2",
    "relational",
    "attention",
    "manifold",
]


@pytest.mark.parametrize("name", MASKED)
def test_what_stands_at_padded_positions_does_not_count(name: str) -> None:
    noise = 100 * RANDOM.normal(size=TARGET.shape) * (1 - MASK[..., None])
    found = DISTANCES[name](TARGET, PREDICTION, mask=MASK)
    assert np.allclose(found, DISTANCES[name](TARGET + noise, PREDICTION - 2 * noise, mask=MASK), rtol=1e-3, atol=1e-5)
    assert not np.allclose(found, DISTANCES[name](TARGET, PREDICTION), rtol=1e-3)
    assert np.allclose(
        DISTANCES[name](TARGET, PREDICTION, mask=np.ones_like(MASK)), DISTANCES[name](TARGET, PREDICTION)
    )


@pytest.mark.parametrize("name", [*MASKED, "dist"])
def test_gradients_are_finite_and_nothing_costs_nothing(name: str) -> None:
    values = tf.constant(LOGITS if name == "dist" else TARGET, "float32")
    prediction = tf.Variable(values)
    with tf.GradientTape() as tape:
        total = tf.reduce_mean(DISTANCES[name](values, prediction))
    assert np.all(np.isfinite(tape.gradient(total, prediction)))
    if name != "standardized_l2":
        assert float(total) == pytest.approx(0, abs=1e-5)
    with tf.GradientTape() as tape:
        zeros = tf.Variable(tf.zeros_like(values))
        total = tf.reduce_mean(DISTANCES[name](values, zeros))
    assert np.all(np.isfinite(tape.gradient(total, zeros)))


@pytest.mark.parametrize("name", ["relative_l2", "standardized_l2", "relational", "manifold", "dist"])
def test_two_halves_are_the_whole(name: str) -> None:
    """A replica sees its own examples, and through `Across` the sums and rows of all."""
    pair: tuple[Any, Any] = (LOGITS, OTHER_LOGITS) if name == "dist" else (TARGET, PREDICTION)
    whole = [np.asarray(value, "float32") for value in pair]
    sums: list[Array] = []
    rows: list[Array] = []

    def summed(values: Any) -> Any:
        sums.append(np.sum(values, axis=0))
        return sums[-1]

    def gathered(values: Any) -> Any:
        rows.append(np.asarray(values))
        return values

    expected = DISTANCES[name](*whole, across=Across(summed, gathered))
    parts = []
    for half in (slice(0, 3), slice(3, 6)):
        said_sums, said_rows = iter(sums), iter(rows)
        across = Across(lambda values, said=said_sums: next(said), lambda values, said=said_rows: next(said))
        parts.append(DISTANCES[name](*(values[half] for values in whole), across=across))
    assert np.allclose(np.concatenate(parts), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_who_looks_across_the_batch_is_listed(name: str) -> None:
    """The compiler refuses batches of one example for those, and only those."""
    asked: list[Any] = []

    def seen(values: Any) -> Any:
        asked.append(values)
        return np.sum(values, axis=0)

    pair = (LOGITS, OTHER_LOGITS) if name in ("dist", "nkd", "binary_kl") else (TARGET, PREDICTION)
    given = {"label": LABEL} if name == "nkd" else {}
    across = Across(seen, lambda values: asked.append(values) or values)
    DISTANCES[name](*(np.asarray(values, "float32") for values in pair), across=across, **given)
    assert bool(asked) == (name in ACROSS_THE_BATCH)


@pytest.mark.parametrize(("dim", "units"), [(3, 5), (5, 3), (4, 4)])
def test_projection_is_orthogonal(dim: int, units: int) -> None:
    layer = OrthogonalProjection(units)
    state = RANDOM.normal(size=(2, 7, dim)).astype("float32")
    assert layer(state).shape == (2, 7, units)
    layer.kernel.assign(RANDOM.normal(size=layer.kernel.shape))
    matrix = np.asarray(layer.matrix())
    small = matrix @ matrix.T if dim < units else matrix.T @ matrix
    assert np.allclose(small, np.eye(min(dim, units)), atol=1e-5)
    assert np.allclose(layer(state), state @ matrix, atol=1e-5)
