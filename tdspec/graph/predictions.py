"""Distances between predictions, and the losses of tasks: pure, unreduced, one value an example.

In: a target and a prediction (batch, outputs), or labels and a prediction. Out: float32 (batch,). `DISTANCES` are those
of terms that compare predictions, `TASK_LOSSES` those of the labels.
Leaves out: states (`distances.py`); the mean over examples, which the Distiller takes.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from tdspec.graph.across import ALONE, TINY, Across
from tdspec.graph.distances import Distance, pearson_correlation, same_shape

Tensor = Any


def binary_kl(target: Tensor, prediction: Tensor, *, across: Across = ALONE, temperature: float = 1.0) -> Tensor:
    """T^2 times the KL divergence of independent yes/no predictions, averaged over them.

    Args:
        target, prediction: logits (batch, outputs).
        across: unused; every distance takes it.
        temperature: T.

    Returns:
        (batch,) float32, in nats times T^2.
    """
    target, prediction = same_shape(target, prediction)
    target, prediction = target / temperature, prediction / temperature
    p = ops.sigmoid(target)
    # log p = -softplus(-z), log (1 - p) = -softplus(z)
    yes = p * (ops.softplus(-prediction) - ops.softplus(-target))
    no = (1 - p) * (ops.softplus(prediction) - ops.softplus(target))
    return temperature**2 * ops.mean(yes + no, axis=-1)


def dist(
    target: Tensor, prediction: Tensor, *, across: Across = ALONE, temperature: float = 1.0, intra: float = 1.0
) -> Tensor:
    """T^2 (1 - correlation over classes + intra * mean over classes of (1 - correlation over the batch)).

    DIST (Huang et al. 2022, arXiv 2205.10536, equations 7 to 10), of the predictions softmax(logits / T).

    Args:
        target, prediction: logits (batch, classes).
        across: reaches the whole batch, on all replicas.
        temperature: T.
        intra: weight of the relation within each class.

    Returns:
        (batch,) float32.
    """
    target, prediction = same_shape(target, prediction)
    p, q = (ops.softmax(logits / temperature, axis=-1) for logits in (target, prediction))
    inter_class = 1.0 - pearson_correlation(p, q)
    p, q = (values - across.mean(values) for values in (p, q))
    p, q = (values * ops.rsqrt(across.sum(ops.square(values)) + TINY) for values in (p, q))
    intra_class = 1.0 - ops.mean(across.sum(p * q))
    return temperature**2 * (inter_class + intra * intra_class)


def nkd(
    target: Tensor,
    prediction: Tensor,
    *,
    label: Tensor,
    across: Across = ALONE,
    temperature: float = 1.0,
    non_target: float = 1.5,
) -> Tensor:
    """- T_t log S_t - g T^2 sum over the other classes of N(T_i) log N(S_i): NKD (Yang 2023, arXiv 2303.13005, eq. 7).

    t is the label's class; T and S are the softmax of teacher and student; N is the softmax over the other classes
    alone, at temperature T.

    Args:
        target, prediction: logits (batch, classes).
        label: class numbers (batch,).
        across: unused; every distance takes it.
        temperature: T, of the other classes.
        non_target: g.

    Returns:
        (batch,) float32, in nats.
    """
    target, prediction = same_shape(target, prediction)
    is_label = ops.one_hot(ops.reshape(label, (-1,)), prediction.shape[-1], dtype="float32")
    p, log_q = ops.softmax(target, axis=-1), ops.log_softmax(prediction, axis=-1)
    at_label = -ops.sum(is_label * p * log_q, axis=-1)
    # the label's class leaves the softmax: its logit is as good as minus infinity
    others = [logits / temperature - 1e9 * is_label for logits in (target, prediction)]
    p, log_q = ops.softmax(others[0], axis=-1), ops.log_softmax(others[1], axis=-1)
    return at_label - non_target * temperature**2 * ops.sum((1 - is_label) * p * log_q, axis=-1)


def cross_entropy(target: Tensor, prediction: Tensor, *, across: Across = ALONE) -> Tensor:
    """Cross-entropy of class numbers (batch,) against logits (batch, classes), in nats: (batch,) float32."""
    log_q = ops.log_softmax(ops.cast(prediction, "float32"), axis=-1)
    # (batch, 1) is as good as (batch,), and would be broadcast to (batch, batch) if it were let through
    target = ops.reshape(target, (-1,))
    return -ops.sum(ops.one_hot(target, prediction.shape[-1], dtype="float32") * log_q, axis=-1)


def binary_cross_entropy(target: Tensor, prediction: Tensor, *, across: Across = ALONE) -> Tensor:
    """Mean cross-entropy of 0/1 labels (batch,) or (batch, outputs) against logits (batch, outputs): (batch,)."""
    logits = ops.cast(prediction, "float32")
    labels = ops.reshape(ops.cast(target, "float32"), (-1, prediction.shape[-1]))
    return ops.mean(ops.softplus(logits) - labels * logits, axis=-1)


def squared_error(target: Tensor, prediction: Tensor, *, across: Across = ALONE) -> Tensor:
    """Squared error of numbers (batch,) against predictions (batch, 1): (batch,) float32."""
    labels = ops.reshape(ops.cast(target, "float32"), (-1, 1))
    return ops.mean(ops.square(labels - ops.cast(prediction, "float32")), axis=-1)


DISTANCES: dict[str, Distance] = {"binary_kl": binary_kl, "dist": dist, "nkd": nkd}
ACROSS_THE_BATCH = frozenset(("dist",))

TASK_LOSSES: dict[str, tuple[str, Distance]] = {
    "classification": ("cross_entropy", cross_entropy),
    "regression": ("squared_error", squared_error),
    "binary": ("binary_cross_entropy", binary_cross_entropy),
    "multilabel": ("binary_cross_entropy", binary_cross_entropy),
}

FORMULAS: dict[str, str] = {
    "binary_kl": "mean over examples and outputs of T^2 KL(sigmoid(target / T) || sigmoid(prediction / T))",
    "dist": "T^2 ((1 - correlation of p and q over classes) + intra mean over classes of (1 - correlation over "
    "examples)), p = softmax(target / T), q = softmax(prediction / T)",
    "nkd": "mean over examples of - p_label log q_label - non_target T^2 sum over other classes of N(p) log N(q), "
    "N = softmax(logits / T) over the other classes alone",
    "cross_entropy": "weighted mean over examples of -log softmax(prediction)[target]",
    "squared_error": "weighted mean over examples of (target - prediction)^2",
    "binary_cross_entropy": "weighted mean over examples and outputs of -log of the probability of the label",
}
