"""Distances between two states or messages: pure, unreduced, one value an example.

In: a target and a prediction (batch, ..., dim) of the same shape, and which of their positions count. Out: float32
(batch,). Those that take any shape serve predictions (batch, outputs) too. `DISTANCES` names them.
Leaves out: what only predictions have (`predictions.py`), relations between examples (`relations.py`), and the mean
over examples, which the Distiller takes once for all.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from keras import ops

from tdspec.graph.across import ALONE, TINY, Across

Tensor = Any
Distance = Callable[..., Tensor]


def same_shape(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32.

    Raises:
        ValueError: the shapes differ, where they are known.
    """
    if len(target.shape) != len(prediction.shape) or any(
        None not in (a, b) and a != b for a, b in zip(target.shape, prediction.shape, strict=True)
    ):
        raise ValueError(f"target has shape {tuple(target.shape)}, prediction has shape {tuple(prediction.shape)}")
    return ops.cast(target, "float32"), ops.cast(prediction, "float32")


def by_position(state: Tensor) -> Tensor:
    """(batch, ..., dim) -> float32 (batch, positions, dim); a vector is one position."""
    return ops.reshape(ops.cast(state, "float32"), (-1, prod(state.shape[1:-1]), state.shape[-1]))


def position_weights(state: Tensor, mask: Tensor | None) -> Tensor:
    """1 for each position that counts, 0 for padding.

    Args:
        state: (batch, positions, dim).
        mask: (batch, positions), or None where all count. Of another state where this one is a single vector.

    Returns:
        float32 (batch, positions).
    """
    return ops.ones_like(state[..., 0]) if _all_count(state, mask) else ops.cast(mask, "float32")


def _all_count(state: Tensor, mask: Tensor | None) -> bool:
    return mask is None or state.shape[1] == 1 != mask.shape[1]


def without_padding(state: Tensor, mask: Tensor | None) -> Tensor:
    """A state (batch, positions, dim) with 0 where a position does not count.

    Where all count it is itself: outside XLA, to multiply by ones is one more pass over it.
    """
    return state if _all_count(state, mask) else state * position_weights(state, mask)[..., None]


def mean_over_positions(values: Tensor, weights: Tensor) -> Tensor:
    """(batch, positions, ...), weights that broadcast to it -> (batch, ...); 0 where no position counts."""
    return ops.sum(values * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), TINY)


def _positionwise(function: Callable[..., Tensor]) -> Distance:
    """A distance from one between two vectors (..., dim): its mean over the positions that count."""

    def distance(
        target: Tensor, prediction: Tensor, *, across: Across = ALONE, mask: Tensor | None = None, **options: float
    ) -> Tensor:
        target, prediction = same_shape(target, prediction)
        target, prediction = by_position(target), by_position(prediction)
        return mean_over_positions(function(target, prediction, **options), position_weights(target, mask))

    distance.__doc__, distance.__name__ = function.__doc__, function.__name__.strip("_")
    return distance


def _l2(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean over positions and features of (target - prediction)^2 (the paper's L2, arXiv 2310.03188)."""
    return ops.mean(ops.square(target - prediction), axis=-1)


def huber(error: Tensor) -> Tensor:
    """0.5 e^2 where |e| < 1, else |e| - 0.5, element by element."""
    error = ops.abs(error)
    quadratic = ops.minimum(error, 1.0)
    return 0.5 * ops.square(quadratic) + error - quadratic


def _smooth_l1(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean over positions and features of Huber's function at 1 (Girshick 2015, arXiv 1504.08083, equation 3)."""
    return ops.mean(huber(target - prediction), axis=-1)


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., dim) over their length; 0 stays 0. Its gradient is finite everywhere."""
    return vectors * ops.rsqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + TINY)


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """(..., dim) x (..., dim) -> (...), from -1 to 1; 0 where one is 0."""
    return ops.sum(unit(a) * unit(b), axis=-1)


def _cosine(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean over positions of 1 - cosine of the angle between the two vectors of features."""
    return 1.0 - cosine_similarity(target, prediction)


def pearson_correlation(a: Tensor, b: Tensor) -> Tensor:
    """(..., dim) x (..., dim) -> (...): the correlation over the last axis."""
    return cosine_similarity(a - ops.mean(a, axis=-1, keepdims=True), b - ops.mean(b, axis=-1, keepdims=True))


def _pearson(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean over positions of 1 - Pearson's correlation of the features (Huang 2022, arXiv 2205.10536)."""
    return 1.0 - pearson_correlation(target, prediction)


def _divergence(target: Tensor, prediction: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T^2 KL(softmax(target / T) || softmax(prediction / T)), in nats times T^2 (Hinton 2015, arXiv 1503.02531)."""
    log_p = ops.log_softmax(target / temperature, axis=-1)
    log_q = ops.log_softmax(prediction / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


l2 = _positionwise(_l2)
smooth_l1 = _positionwise(_smooth_l1)
cosine = _positionwise(_cosine)
pearson = _positionwise(_pearson)
kl = _positionwise(_divergence)


def relative_l2(target: Tensor, prediction: Tensor, *, across: Across = ALONE, mask: Tensor | None = None) -> Tensor:
    """Squared error over the target's variance across the batch: 1 - R^2, scale-free.

    The gradient flows through the variance too, so that shrinking the target gains nothing.

    Args:
        target, prediction: (batch, ..., dim), equal shapes.
        across: reaches the whole batch, on all replicas.
        mask: (batch, positions), 0 for padding; None: all count.

    Returns:
        (batch,) float32, whose mean is sum (t - p)^2 / sum (t - mean t)^2, both sums over examples, positions and
        features, the mean over the examples.
    """
    target, prediction = same_shape(target, prediction)
    target, prediction = by_position(target), by_position(prediction)
    weights = position_weights(target, mask)[..., None]
    mean = across.sum(without_padding(target, mask)) / ops.maximum(across.sum(weights), TINY)
    centred, error = (without_padding(target - other, mask) for other in (mean, prediction))
    num_examples = across.sum(ops.ones_like(target[:, 0, 0]))
    variance = ops.sum(across.sum(ops.square(centred))) / num_examples
    # (batch,): sum over positions and features of (t - p)^2, over the summed variance
    return ops.sum(ops.square(error), axis=(1, 2)) / (variance + TINY)


def standardized_l2(
    target: Tensor, prediction: Tensor, *, across: Across = ALONE, mask: Tensor | None = None
) -> Tensor:
    """Mean squared error against the target standardised feature by feature over examples and positions.

    The task normalisation of VkD for tasks that discriminate (Miles 2024, arXiv 2403.06213, section 3.2).

    Args:
        target, prediction: (batch, ..., dim), equal shapes.
        across: reaches the whole batch, on all replicas.
        mask: (batch, positions), 0 for padding; None: all count.

    Returns:
        (batch,) float32.
    """
    target, prediction = same_shape(target, prediction)
    target, prediction = by_position(target), by_position(prediction)
    weights = position_weights(target, mask)
    count = ops.maximum(ops.sum(across.sum(weights)), TINY)

    def mean(values: Tensor) -> Tensor:
        return ops.sum(across.sum(without_padding(values, mask)), axis=0) / count

    centred = target - mean(target)
    standardized = centred * ops.rsqrt(mean(ops.square(centred)) + 1e-6)
    return mean_over_positions(ops.mean(ops.square(standardized - prediction), axis=-1), weights)


DISTANCES: dict[str, Distance] = {
    "l2": l2,
    "relative_l2": relative_l2,
    "smooth_l1": smooth_l1,
    "cosine": cosine,
    "pearson": pearson,
    "kl": kl,
    "standardized_l2": standardized_l2,
}
ACROSS_THE_BATCH = frozenset(("relative_l2", "standardized_l2"))  # those that ask `across` for the other examples

FORMULAS: dict[str, str] = {
    "l2": "mean over examples, positions and features of (target - prediction)^2",
    "relative_l2": "sum of (target - prediction)^2 / sum of (target - its batch mean)^2",
    "smooth_l1": "mean over examples, positions and features of 0.5 e^2 where |e| < 1, else |e| - 0.5, "
    "e = target - prediction",
    "cosine": "mean over examples and positions of 1 - cosine of target and prediction over features",
    "pearson": "mean over examples and positions of 1 - correlation of target and prediction over features",
    "kl": "mean over examples and positions of T^2 sum p log(p / q), p = softmax(target / T), "
    "q = softmax(prediction / T)",
    "standardized_l2": "mean of (z - prediction)^2, z = target minus its mean over its deviation, by feature",
}
