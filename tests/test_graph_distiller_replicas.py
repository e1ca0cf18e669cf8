"""The Distiller on two replicas: the weights and every figure are those of one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array, compiled, pixels, slow_but, vit

from tdspec.graph.distiller import Distiller
from tdspec.run.strategy import make_strategy
from tdspec.spec.checks import TERMS

# The first replica holds the first four examples: three of its examples have no label, the other's all have.
UNEVEN = np.array([0, 0, 0, 1, 1, 2, 1, 0.5], "float32")
STATES = ("feature", "fitnet", "interaction", "interpretation", "message_consistency", "state_consistency")


def _losses(method: str, distance: str) -> dict[str, Any]:
    return {name: {"weight": 0.5, "distance": distance} for name in TERMS[method] if name in STATES}


def _train(distiller: Distiller, strategy: tf.distribute.Strategy, weight: Array | None) -> dict[str, float]:
    """Three steps on global batches of 8; the running means after them."""
    rows = [{"image": pixels(24)}, np.arange(24) % 10, *([] if weight is None else [np.tile(weight, 3)])]
    batches = tf.data.Dataset.from_tensor_slices(tuple(rows)).batch(8, drop_remainder=True)
    if strategy.num_replicas_in_sync > 1:
        batches = strategy.experimental_distribute_dataset(batches)

    @tf.function
    def step(batch: Any) -> None:
        strategy.run(distiller.train_step, args=(batch,))

    for batch in batches:
        step(batch)
    return {metric.name: float(metric.result()) for metric in distiller.metrics}


def _compare(
    folder: Path, method: str, optimizer: type[keras.Optimizer], rate: float, weight: Array | None, **options: Any
) -> None:
    results = []
    for name in ("none", "mirrored"):
        strategy = make_strategy(name, 2 if name == "mirrored" else "auto")
        with strategy.scope():
            distiller = compiled(folder, method, **options).distiller
            distiller.compile(optimizer(rate))
        figures = _train(distiller, strategy, weight)
        results.append((figures, [(v.path, v.numpy()) for v in distiller.variables if "metric" not in v.path]))
    (figures, weights), (more_figures, more_weights) = results
    assert more_figures == pytest.approx(figures, rel=1e-5, abs=1e-5)
    assert figures["loss"] > 0
    for (path, one), (_, two) in zip(weights, more_weights, strict=True):
        assert np.allclose(one, two, rtol=1e-5, atol=1e-5), path


# attention compares positions, of which a vector has none
@pytest.mark.parametrize(
    "method", slow_but(("logit", "talking"), [method for method in TERMS if method != "attention"])
)
def test_sgd_on_uneven_sample_weights(tmp_path: Path, method: str) -> None:
    """Steps are as long as gradients, whose share through the variance each replica must get too."""
    options = {"losses": _losses(method, "relative_l2"), "communication": {"message": {"dim": 4}}}
    _compare(tmp_path, method, keras.optimizers.SGD, 0.003, UNEVEN, **options)


def test_adam_and_l2(tmp_path: Path) -> None:
    options = {"losses": _losses("talking", "l2"), "communication": {"message": {"dim": 4}}}
    _compare(tmp_path, "talking", keras.optimizers.Adam, 0.003, None, **options)


def test_statistics_of_batch_normalization(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, name="first")(image)
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="tanh", name="second")(x)
    keras.Model(image, keras.layers.Flatten(name="flat")(x)).save(tmp_path / "student.keras")
    student = {"file": "student.keras", "weights": "random"}
    options = {"communication": {"message": {"positions": "vector"}, "iterations": 2}, "student": student}
    _compare(tmp_path, "talking", keras.optimizers.SGD, 0.03, UNEVEN, **options)


@pytest.mark.slow
def test_a_transformer_between_the_models(tmp_path: Path) -> None:
    communication = {"message": {"dim": 4}, "encoder": {"type": "transformer", "hidden_dim": 8}, "iterations": 1}
    options = {"teacher": vit(), "student": vit(hidden_dim=6), "teacher_cut": (1, 2)}
    losses = _losses("talking", "relative_l2")
    _compare(
        tmp_path, "talking", keras.optimizers.SGD, 0.0003, UNEVEN, losses=losses, communication=communication, **options
    )


def test_keras_fit_under_a_strategy(tmp_path: Path) -> None:
    logs = []
    for name in ("none", "mirrored"):
        strategy = make_strategy(name, 2 if name == "mirrored" else "auto")
        with strategy.scope():
            distiller = compiled(tmp_path, "feature").distiller
            distiller.compile(keras.optimizers.SGD(0.01))
        data = ({"image": pixels(16)}, np.arange(16) % 10)
        history = distiller.fit(*data, batch_size=8, epochs=2, shuffle=False, verbose=0, validation_data=data).history
        logs.append({key: values[-1] for key, values in history.items()})
    assert logs[1] == pytest.approx(logs[0], rel=1e-4, abs=1e-5)
