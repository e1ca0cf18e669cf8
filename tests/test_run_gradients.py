"""Pulls of terms: against gradients taken by hand, the same on replicas, and leaving no trace."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from preflight_support import good_teacher as good_teacher
from preflight_support import opened, snapshot, write

from tdspec.run.gradients import (
    Pull,
    PullMeter,
    balancing_factors,
    first_batches,
    full_weights,
    mean_pull,
    set_term_factors,
    shares,
    student_parts,
)
from tdspec.run.prepare import compile_without_weights
from tdspec.spec.load import load

TALKING = {"method": "talking", "communication": {"iterations": 2}}


def _unstable_student(path: Path) -> dict[str, Any]:
    """A student with dropout and batch statistics, which a forward pass in training mode changes."""
    x = keras.Input((8, 8, 1))
    y = keras.layers.BatchNormalization()(keras.layers.Dense(8)(keras.layers.Flatten()(x)))
    y = keras.layers.Dense(6, activation="relu")(keras.layers.Dropout(0.3)(y))
    keras.Model(x, y).save(path / "student.keras")
    return {"backbone": {"file": str(path / "student.keras"), "weights": "random"}}


def _write(folder: Path, file: Path, **changes: Any) -> Path:
    path = write(folder, file, **changes)
    if "file" in str(changes.get("student", {})):
        path.write_text(path.read_text().replace("    mlp:\n      units:\n      - 10\n      - 8\n", "", 1))
    return path


def test_pulls_are_the_norms_of_the_gradients(good_teacher: Path, tmp_path: Path) -> None:
    compiled, splits, strategy = opened(load(write(tmp_path, good_teacher, **TALKING)))
    distiller = compiled.distiller
    (batch,) = first_batches(splits.train.batches(64, epoch=0), strategy, 1)
    pulls = PullMeter(distiller, strategy)(batch)
    assert list(pulls) == ["task", "interaction", "message_consistency", "state_consistency"]
    low, high = student_parts(distiller)
    assert len(low) == len(high) == 2
    for name, pull in pulls.items():
        with tf.GradientTape() as tape:
            values = distiller.term_values(distiller(batch[0], training=True), batch[1], batch[2])
            value = tf.reduce_mean(values[name])
        trained = distiller.trained_variables
        gradients = tape.gradient(value, [variable.value for variable in trained])
        squares = {
            id(v): 0.0 if g is None else float(tf.reduce_sum(g**2)) for g, v in zip(gradients, trained, strict=True)
        }
        parts = ([id(v) for v in low], [id(v) for v in high], list(squares))
        expected = [math.sqrt(sum(squares[key] for key in part)) for part in parts]
        assert (pull.low, pull.high, pull.anywhere) == pytest.approx(expected, rel=1e-4)
        assert pull.value == pytest.approx(float(value), rel=1e-5)
        assert pull.student == pytest.approx(math.hypot(*expected[:2]), rel=1e-4)


def test_replicas_measure_the_same(good_teacher: Path, tmp_path: Path) -> None:
    found = []
    for strategy_name in ("none", "mirrored"):
        changes = {
            **TALKING,
            "train": {"strategy": strategy_name},
            "data": {"labels_per_class": 20, "unlabeled": "keep"},
        }
        compiled, splits, strategy = opened(load(write(tmp_path, good_teacher, **changes)))
        (batch,) = first_batches(splits.train.batches(64, epoch=0), strategy, 1)
        pulls = PullMeter(compiled.distiller, strategy)(batch)
        found.append([number for pull in pulls.values() for number in vars(pull).values()])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_measuring_leaves_no_trace_and_repeats(good_teacher: Path, tmp_path: Path) -> None:
    changes = {**TALKING, "student": _unstable_student(tmp_path)}
    compiled, splits, strategy = opened(load(_write(tmp_path, good_teacher, **changes)))
    batches = first_batches(splits.train.batches(64, epoch=0), strategy, 2)
    meter = PullMeter(compiled.distiller, strategy)
    before = snapshot(compiled)
    assert any("seed" in variable.path for variable in compiled.distiller.variables)
    first = [meter(batch) for batch in batches]
    assert [meter(batch) for batch in batches] == first and first[0] != first[1]
    assert all(np.array_equal(old, new) for old, new in zip(before, snapshot(compiled), strict=True))


def test_what_is_measured_is_traced_once(good_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = load(write(tmp_path, good_teacher, **TALKING))
    # As a run does for its plan: it leaves variables without values.
    compile_without_weights(document)
    compiled, splits, strategy = opened(document)
    (batch,) = first_batches(splits.train.batches(64, epoch=0), strategy, 1)
    traced = []
    values = type(compiled.distiller).term_values
    monkeypatch.setattr(type(compiled.distiller), "term_values", lambda *args: traced.append("values") or values(*args))
    PullMeter(compiled.distiller, strategy)(batch)
    assert traced == ["values"]


def test_shares_add_up_to_one() -> None:
    pulls = {"task": Pull(2.0, 3.0, 0.0, 5.0), "other": Pull(1.0, 1.0, 0.0, 1.0), "silent": Pull(1.0, 0.0, 0.0, 1.0)}
    weights = {"task": 1.0, "other": 3.0, "silent": 9.0}
    assert shares(pulls, weights, "low") == {"task": 0.5, "other": 0.5, "silent": 0.0}
    assert shares(pulls, weights, "high") == dict.fromkeys(pulls, 0.0)
    assert mean_pull([pulls, pulls]) == pulls
    assert balancing_factors(pulls) == {"task": 1.0, "other": 3.0, "silent": 1.0}
    far = {"task": Pull(1, 1, 0, 1), "weak": Pull(1, 1e-9, 0, 1), "strong": Pull(1, 1e9, 0, 1)}
    assert balancing_factors(far) == {"task": 1.0, "weak": 1e6, "strong": pytest.approx(1e-9)}


def test_balanced_terms_pull_as_their_weights_say(good_teacher: Path, tmp_path: Path) -> None:
    losses = {"task": 2.0, "interaction": 1.0, "message_consistency": 0.5, "state_consistency": 0.25}
    compiled, splits, strategy = opened(load(write(tmp_path, good_teacher, **TALKING, losses=losses)))
    meter = PullMeter(compiled.distiller, strategy)
    batches = first_batches(splits.train.batches(64, epoch=0), strategy, 4)
    mean = mean_pull([meter(batch) for batch in batches])
    set_term_factors(compiled.distiller, balancing_factors(mean))
    found = shares(mean, full_weights(compiled.distiller), "student")
    assert found == pytest.approx({name: weight / 3.75 for name, weight in losses.items()}, rel=1e-4)
    # The step optimises what is measured.
    features, label, weight = batches[0]
    values = compiled.distiller.term_values(compiled.distiller(features), label, weight)
    expected = sum(
        full_weights(compiled.distiller)[name] * float(tf.reduce_mean(value)) for name, value in values.items()
    )
    assert compiled.distiller.train_step(batches[0])["loss"].numpy() == pytest.approx(expected, rel=1e-4)
