"""Linear models on features in memory: what a frozen teacher's features say about the labels.

In: numpy arrays. Out: the weights and bias of one Dense layer, and how well it does on examples it was not fitted to.
Leaves out: computing features (`probe.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

Array = NDArray[Any]

# Multiples of ||W||^2 / 2 beside the mean loss, on standardised features, from strong to weak.
STRENGTHS = (1.0, 0.1, 0.01, 1e-3, 1e-4)
MOST_STEPS = 200
# Above so many multiplications for one pass over the examples, classes are fitted by least squares instead.
MOST_WORK = 4e8
LARGEST_SCALE = 1e3


@dataclass(frozen=True)
class Linear:
    """One Dense layer: kernel (features, units) and bias (units,), float32; and the strength that was chosen."""

    kernel: Array
    bias: Array
    strength: float

    def __call__(self, features: Array) -> Array:
        """Predictions (examples, units) of features (examples, features)."""
        return features @ self.kernel + self.bias


@dataclass(frozen=True)
class Fitted:
    """Features and labels of one split: (examples, features) float32, and labels as the task has them."""

    features: Array
    labels: Array


def fit(task_type: str, train: Fitted, validation: Fitted, units: int) -> Linear:
    """The linear model of a task, its L2 strength chosen by the mean loss on `validation`.

    Classification: multinomial logistic regression (where that is much work, least squares on one-hot labels, scaled to
    the best likelihood on `validation`). Binary, multilabel: logistic regression. Regression: ridge regression.

    Args:
        task_type: the task.
        train: what it is fitted to.
        validation: what the strength is chosen on.
        units: width of the prediction.
    """
    mean, std = train.features.mean(axis=0), train.features.std(axis=0)
    std = np.where(std > 1e-6 * (np.abs(mean) + 1e-6), std, 1.0)
    shown, judged = ((part.features - mean) / std for part in (train, validation))
    targets = _targets(task_type, train.labels, units)
    loss = LOSSES[task_type]
    is_large = shown.shape[0] * shown.shape[1] * units > MOST_WORK and task_type == "classification"
    solve = _least_squares if task_type == "regression" or is_large else _logistic
    best: tuple[float, Array, Array, float] | None = None
    start = np.zeros((shown.shape[1] + 1, units), np.float32)
    for strength in STRENGTHS:
        start = solve(shown, targets, strength, start, loss)
        kernel, bias = start[:-1], start[-1]
        if is_large:
            kernel, bias = _scaled(kernel, bias, judged, _targets(task_type, validation.labels, units))
        value = float(loss(judged @ kernel + bias, _targets(task_type, validation.labels, units))[0])
        if best is None or value < best[0]:
            best = value, kernel, bias, strength
    assert best is not None
    _, kernel, bias, strength = best
    # ((x - mean) / std) W + b = x (W / std) + (b - (mean / std) W)
    folded = kernel / std[:, None]
    return Linear(folded.astype(np.float32), (bias - mean @ folded).astype(np.float32), strength)


def _targets(task_type: str, labels: Array, units: int) -> Array:
    """Labels as (examples, units) float32."""
    if task_type == "classification":
        return np.eye(units, dtype=np.float32)[labels.reshape(-1)]
    return labels.reshape(-1, units).astype(np.float32)


def _cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Mean of -log softmax(z)[y], and its gradient (softmax(z) - y) / n."""
    value = -np.sum(targets * log_softmax(logits, axis=1)) / len(targets)
    return float(value), (softmax(logits, axis=1) - targets) / len(targets)


def _binary_cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Mean over examples of the sum over outputs of softplus(z) - y z, and its gradient (sigmoid(z) - y) / n."""
    value = np.sum(np.logaddexp(0, logits) - targets * logits) / len(targets)
    return float(value), (0.5 * (1 + np.tanh(0.5 * logits)) - targets) / len(targets)


def _squared_error(predictions: Array, targets: Array) -> tuple[float, Array]:
    """Mean of (z - y)^2, and its gradient."""
    difference = predictions - targets
    return float(np.sum(np.square(difference)) / len(targets)), 2 * difference / len(targets)


Loss = Callable[[Array, Array], tuple[float, Array]]
LOSSES: dict[str, Loss] = {
    "classification": _cross_entropy,
    "binary": _binary_cross_entropy,
    "multilabel": _binary_cross_entropy,
    "regression": _squared_error,
}


def _logistic(features: Array, targets: Array, strength: float, start: Array, loss: Loss) -> Array:
    """(features + 1, units): the kernel above the bias, which is not shrunk, by L-BFGS from `start`."""
    shape = start.shape

    def objective(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(shape).astype(np.float32)
        value, upstream = loss(features @ weights[:-1] + weights[-1], targets)
        gradient = np.concatenate([features.T @ upstream + strength * weights[:-1], upstream.sum(axis=0)[None]])
        penalty = 0.5 * strength * float(np.sum(np.square(weights[:-1], dtype=np.float64)))
        return value + penalty, gradient.ravel().astype(np.float64)

    options = {"maxiter": MOST_STEPS, "ftol": 1e-7}
    found = _least(objective, start.ravel().astype(np.float64), jac=True, options=options)
    return found.reshape(shape).astype(np.float32)


def _least(objective: Callable[[Array], Any], start: Array, **options: Any) -> Array:
    """Where an objective is least, by L-BFGS."""
    from scipy.optimize import minimize  # 0.4 s of imports, for those alone who fit

    found: Array = minimize(objective, start, method="L-BFGS-B", **options).x
    return found


def _least_squares(features: Array, targets: Array, strength: float, start: Array, loss: Loss) -> Array:
    """(features + 1, units): ridge regression in closed form; features have mean 0, so the bias is the mean target."""
    count = len(targets)
    centre = targets.mean(axis=0, dtype=np.float64)
    gram = (features.T @ features).astype(np.float64) / count + strength * np.eye(features.shape[1])
    kernel = np.linalg.solve(gram, features.T @ (targets - centre) / count)
    return np.concatenate([kernel, centre[None]]).astype(np.float32)


def _scaled(kernel: Array, bias: Array, features: Array, targets: Array) -> tuple[Array, Array]:
    """Scores of least squares as logits: times the factor of the best likelihood."""
    scores = features @ kernel + bias

    def objective(log_scale: Array) -> float:
        return _cross_entropy(scores * np.exp(log_scale[0]), targets)[0]

    bounds = [(0.0, np.log(LARGEST_SCALE))]
    scale = float(np.exp(_least(objective, np.array([1.0]), bounds=bounds)[0]))
    return kernel * scale, bias * scale
