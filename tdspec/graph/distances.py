"""Distances between a target and a prediction: pure, unreduced, one value an example.

In: two tensors (batch, ...) of the same shape. Out: float32 (batch,). `DISTANCES` names those a spec can choose,
`TASK_LOSSES` those the label decides; `FORMULAS` says each in one line, as `plan.json` lists it.
Leaves out: the mean over examples and the sum over replicas, which the Distiller does once for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any
Distance = Callable[..., Tensor]


def sum_over_batch(values: Tensor) -> Tensor:
    """Sum (batch, ...) over its first axis: what "across the batch" means on one device."""
    return ops.sum(values, axis=0)


def _float32(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    if len(target.shape) != len(prediction.shape) or any(
        None not in (a, b) and a != b for a, b in zip(target.shape, prediction.shape, strict=True)
    ):
        raise ValueError(f"target has shape {tuple(target.shape)}, prediction has shape {tuple(prediction.shape)}")
    return ops.cast(target, "float32"), ops.cast(prediction, "float32")


def _each_example(values: Tensor) -> Tensor:
    """(batch, ...) -> (batch, features), the batch axis kept even where its size is unknown."""
    size = 1
    for dim in values.shape[1:]:
        size *= dim
    return ops.reshape(values, (-1, size))


def l2(target: Tensor, prediction: Tensor, *, across: Distance = sum_over_batch) -> Tensor:
    """Mean squared error of each example (the paper's L2, arXiv 2310.03188).

    Args:
        target, prediction: (batch, ...), equal shapes.
        across: unused; every distance takes it.

    Returns:
        (batch,) float32.
    """
    target, prediction = _float32(target, prediction)
    # mean over all but the batch of (t - p)^2
    return ops.mean(_each_example(ops.square(target - prediction)), axis=1)


def relative_l2(target: Tensor, prediction: Tensor, *, across: Distance = sum_over_batch) -> Tensor:
    """Squared error over the target's variance across the batch: 1 - R^2, scale-free.

    The gradient flows through the variance too, so that shrinking the target gains nothing.

    Args:
        target, prediction: (batch, ...), equal shapes.
        across: sums (batch, ...) over the whole batch, on all replicas.

    Returns:
        (batch,) float32, whose mean is sum (t - p)^2 / sum (t - mean t)^2, both sums over examples and features.
    """
    target, prediction = _float32(target, prediction)
    target, prediction = _each_example(target), _each_example(prediction)
    count = across(ops.ones_like(target[:, :1]))
    centred = target - across(target) / count
    variance = ops.sum(across(ops.square(centred)) / count)
    # (batch,): sum over features of (t - p)^2, over the summed variance
    return ops.sum(ops.square(target - prediction), axis=1) / (variance + keras.config.epsilon())


def kl(target: Tensor, prediction: Tensor, *, across: Distance = sum_over_batch, temperature: float = 1.0) -> Tensor:
    """T^2 KL(softmax(target / T) || softmax(prediction / T)) of logits (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        target, prediction: logits (batch, classes).
        temperature: T.

    Returns:
        (batch,) float32, in nats times T^2.
    """
    target, prediction = _float32(target, prediction)
    log_p = ops.log_softmax(target / temperature, axis=-1)
    log_q = ops.log_softmax(prediction / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def binary_kl(
    target: Tensor, prediction: Tensor, *, across: Distance = sum_over_batch, temperature: float = 1.0
) -> Tensor:
    """T^2 times the KL divergence of independent yes/no predictions, averaged over them.

    Args:
        target, prediction: logits (batch, outputs).
        temperature: T.

    Returns:
        (batch,) float32, in nats times T^2.
    """
    target, prediction = _float32(target, prediction)
    target, prediction = target / temperature, prediction / temperature
    p = ops.sigmoid(target)
    # log p = -softplus(-z), log (1 - p) = -softplus(z)
    yes = p * (ops.softplus(-prediction) - ops.softplus(-target))
    no = (1 - p) * (ops.softplus(prediction) - ops.softplus(target))
    return temperature**2 * ops.mean(yes + no, axis=-1)


def cross_entropy(target: Tensor, prediction: Tensor, *, across: Distance = sum_over_batch) -> Tensor:
    """Cross-entropy of class numbers (batch,) against logits (batch, classes), in nats: (batch,) float32."""
    log_q = ops.log_softmax(ops.cast(prediction, "float32"), axis=-1)
    # (batch, 1) is as good as (batch,), and would be broadcast to (batch, batch) if it were let through
    target = ops.reshape(target, (-1,))
    return -ops.sum(ops.one_hot(target, prediction.shape[-1], dtype="float32") * log_q, axis=-1)


def binary_cross_entropy(target: Tensor, prediction: Tensor, *, across: Distance = sum_over_batch) -> Tensor:
    """Mean cross-entropy of 0/1 labels (batch,) or (batch, outputs) against logits (batch, outputs): (batch,)."""
    logits = ops.cast(prediction, "float32")
    labels = ops.reshape(ops.cast(target, "float32"), (-1, prediction.shape[-1]))
    return ops.mean(ops.softplus(logits) - labels * logits, axis=-1)


def squared_error(target: Tensor, prediction: Tensor, *, across: Distance = sum_over_batch) -> Tensor:
    """Squared error of numbers (batch,) against predictions (batch, 1): (batch,) float32."""
    labels = ops.reshape(ops.cast(target, "float32"), (-1, 1))
    return ops.mean(ops.square(labels - ops.cast(prediction, "float32")), axis=-1)


DISTANCES: dict[str, Distance] = {"l2": l2, "relative_l2": relative_l2, "kl": kl, "binary_kl": binary_kl}

TASK_LOSSES: dict[str, tuple[str, Distance]] = {
    "classification": ("cross_entropy", cross_entropy),
    "regression": ("squared_error", squared_error),
    "binary": ("binary_cross_entropy", binary_cross_entropy),
    "multilabel": ("binary_cross_entropy", binary_cross_entropy),
}

FORMULAS: dict[str, str] = {
    "l2": "mean over examples, positions and features of (target - prediction)^2",
    "relative_l2": "sum of (target - prediction)^2 / sum of (target - its batch mean)^2",
    "kl": "mean over examples of T^2 sum p log(p / q), p = softmax(target / T), q = softmax(prediction / T)",
    "binary_kl": "mean over examples and outputs of T^2 KL(sigmoid(target / T) || sigmoid(prediction / T))",
    "cross_entropy": "weighted mean over examples of -log softmax(prediction)[target]",
    "squared_error": "weighted mean over examples of (target - prediction)^2",
    "binary_cross_entropy": "weighted mean over examples and outputs of -log of the probability of the label",
}
