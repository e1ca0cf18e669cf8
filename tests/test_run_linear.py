"""Linear models on features: against closed forms, and at the optimum of what they say they minimise."""

from __future__ import annotations

import numpy as np
import pytest

from tdspec.run import linear
from tdspec.run.linear import Fitted, fit

RANDOM = np.random.default_rng(0)
WIDTH = 5
DIRECTIONS = RANDOM.normal(size=(WIDTH, 3))


def _features(count: int) -> np.ndarray:
    return (RANDOM.normal(size=(count, WIDTH)) * [1, 10, 0.1, 1, 100] + [0, 5, 0, -3, 50]).astype(np.float32)


def _standard(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    return (features - by.mean(axis=0)) / by.std(axis=0)


def _classes(features: np.ndarray) -> np.ndarray:
    scores = _standard(features, features) @ DIRECTIONS + RANDOM.gumbel(size=(len(features), 3))
    return np.argmax(scores, axis=1).astype(np.int32)


def _pair(task_type: str) -> tuple[Fitted, Fitted]:
    parts = []
    for features in (_features(400), _features(200)):
        labels = {
            "classification": _classes(features),
            "regression": (_standard(features, features) @ DIRECTIONS[:, 0] + 7).astype(np.float32),
            "binary": (_classes(features) == 1).astype(np.float32),
            "multilabel": np.eye(3, dtype=np.float32)[_classes(features)],
        }
        parts.append(Fitted(features, labels[task_type]))
    return parts[0], parts[1]


def test_ridge_regression_is_the_closed_form() -> None:
    train, validation = _pair("regression")
    found = fit("regression", train, validation, 1)
    x = _standard(train.features.astype(np.float64), train.features.astype(np.float64))
    y = train.labels - train.labels.mean()
    kernel = np.linalg.solve(x.T @ x / 400 + found.strength * np.eye(WIDTH), x.T @ y / 400)
    expected = _standard(validation.features, train.features) @ kernel + train.labels.mean()
    np.testing.assert_allclose(found(validation.features)[:, 0], expected, rtol=1e-3, atol=1e-3)
    assert found.kernel.dtype == found.bias.dtype == np.float32 and found.kernel.shape == (WIDTH, 1)
    assert np.sqrt(np.mean((found(validation.features)[:, 0] - validation.labels) ** 2)) < 0.3


@pytest.mark.parametrize("task_type", ["classification", "binary", "multilabel"])
def test_logistic_regression_is_at_its_optimum(task_type: str) -> None:
    train, validation = _pair(task_type)
    units = 1 if task_type == "binary" else 3
    found = fit(task_type, train, validation, units)
    x = _standard(train.features.astype(np.float64), train.features.astype(np.float64))
    z = found(train.features).astype(np.float64)
    y = np.eye(3)[train.labels] if task_type == "classification" else train.labels.reshape(-1, units)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) if task_type == "classification" else 1 / (1 + np.exp(-z))
    kernel = found.kernel * train.features.std(axis=0)[:, None]
    gradient = x.T @ (p - y) / 400 + found.strength * kernel
    assert np.abs(gradient).max() < 2e-3 and np.abs((p - y).mean(axis=0)).max() < 2e-3


def test_the_strength_is_the_best_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = _pair("classification")
    small = Fitted(train.features[:12], train.labels[:12])
    found = fit("classification", small, validation, 3)

    def loss(strengths: tuple[float, ...]) -> float:
        monkeypatch.setattr(linear, "STRENGTHS", strengths)
        logits = fit("classification", small, validation, 3)(validation.features).astype(np.float64)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-logits[np.arange(200), validation.labels].mean())

    losses = {strength: loss((strength,)) for strength in linear.STRENGTHS}
    # Each fit starts where the stronger one ended, so that the losses agree up to where the solver stops.
    assert losses[found.strength] <= min(losses.values()) + 0.02 and found.strength > 1e-4


def test_much_work_is_done_by_least_squares_with_logits_of_a_fair_size(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = _pair("classification")
    exact = fit("classification", train, validation, 3)
    monkeypatch.setattr(linear, "MOST_WORK", 0)
    quick = fit("classification", train, validation, 3)
    hits = [np.mean(np.argmax(model(validation.features), 1) == validation.labels) for model in (exact, quick)]
    assert hits[1] > hits[0] - 0.05
    spread = [np.std(model(validation.features)) for model in (exact, quick)]
    assert 0.3 < spread[1] / spread[0] < 3


def test_a_constant_feature_does_no_harm() -> None:
    train, validation = _pair("classification")
    still = [
        Fitted(np.c_[part.features, np.full(len(part.features), 3, np.float32)], part.labels)
        for part in (train, validation)
    ]
    found, plain = fit("classification", *still, 3), fit("classification", train, validation, 3)
    np.testing.assert_allclose(found(still[1].features), plain(validation.features), rtol=1e-2, atol=1e-2)
