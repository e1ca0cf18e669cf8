"""The modern methods through whole graphs: which tensors they compare, what they train, replicas, schedules, detach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array, compiled, pixels, slow_but, vit
from test_graph_distiller_replicas import _compare

from tdspec.errors import SpecError
from tdspec.graph.compiler import Compiled
from tdspec.graph.plan import plan_of
from tdspec.graph.terms import DISTANCES

LABEL = np.arange(8)
METHODS = ["vkd", "relational", "attention", "manifold"]


def _transformers(folder: Path, method: str, **options: Any) -> Compiled:
    teacher, student = vit(num_layers=3, hidden_dim=12), vit(hidden_dim=6, patch_size=2)
    return compiled(folder, method, teacher=teacher, student=student, **options)


def _values(found: Compiled) -> dict[str, float]:
    tensors = found.distiller({"image": pixels()}, training=False)
    values = found.distiller.term_values(tensors, LABEL, np.ones(8, "float32"))
    return {name: float(np.mean(value)) for name, value in values.items()}


def _states(found: Compiled, side: str) -> tuple[Array, Array]:
    segments: Any = getattr(found, side).segments
    low = segments.lower({"image": pixels()}, training=False)
    return np.asarray(low), np.asarray(segments.middle([low], training=False))


def _placed(state: Array) -> Array:
    """A class token and 2 x 2 patches to a class token and 4 x 4, bilinearly with half-pixel centres."""
    patches = tf.image.resize(state[:, 1:].reshape(-1, 2, 2, state.shape[-1]), (4, 4), method="bilinear").numpy()
    return np.concatenate([state[:, :1], patches.reshape(len(state), 16, -1)], axis=1)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_compared(tmp_path: Path, method: str) -> None:
    """Sequences of 5 and 17 tokens, 12 and 6 wide, from each model alone; the term from those by hand."""
    found = _transformers(tmp_path, method)
    (low, high), teacher = _states(found, "student"), _states(found, "teacher")
    assert low.shape == (8, 17, 6) and teacher[0].shape == (8, 5, 12)
    placed = [_placed(state) for state in teacher]
    expected = {
        "vkd": lambda: DISTANCES["standardized_l2"](placed[1], high @ np.asarray(found.distiller.projection.matrix())),
        "relational": lambda: DISTANCES["relational"](teacher[1], high),
        "attention": lambda: DISTANCES["attention"](placed[0], low) + DISTANCES["attention"](placed[1], high),
        "manifold": lambda: DISTANCES["manifold"](placed[0], low) + DISTANCES["manifold"](placed[1], high),
    }
    assert _values(found)[method] == pytest.approx(float(np.mean(expected[method]())), rel=1e-4)
    assert found.distiller.student_codec is None and plan_of(found)["codecs"] == []


@pytest.mark.parametrize("method", [*METHODS, "dist", "nkd", "talking_hybrid"])
def test_each_trains_the_student_and_not_the_teacher(tmp_path: Path, method: str) -> None:
    options: dict[str, Any] = {"losses": {"task": 0.0}, "teacher": None} if method in ("dist", "nkd") else {}
    found = compiled(tmp_path, method, **options) if "hybrid" in method or options else _transformers(tmp_path, method)
    distiller = found.distiller
    distiller.compile(keras.optimizers.Adam(0.01))
    before = {id(v): v.numpy() for v in distiller.variables}
    first = distiller.train_step(({"image": pixels()}, LABEL))
    assert all(np.isfinite(float(value)) for value in first.values())
    moved = {id(v) for v in distiller.variables if not np.array_equal(before[id(v)], v.numpy())}
    assert moved & {id(v) for v in distiller.student.trainable_variables}
    assert distiller.teacher is not None and not moved & {id(v) for v in distiller.teacher.variables}
    if distiller.projection is not None:
        assert moved & {id(v) for v in distiller.projection.variables}


@pytest.mark.parametrize("method", slow_but(("vkd",), [*METHODS, "dist", "nkd"]))
def test_two_replicas_are_one(tmp_path: Path, method: str) -> None:
    options: dict[str, Any] = {}
    if method in METHODS:
        options = {"teacher": vit(num_layers=3), "student": vit(hidden_dim=6), "student_head": {"dropout": 0.0}}
    _compare(tmp_path, method, keras.optimizers.SGD, 0.05, None, **options)


def test_nkd_leaves_out_who_has_no_label(tmp_path: Path) -> None:
    distiller = compiled(tmp_path, "nkd").distiller
    tensors = distiller({"image": pixels()}, training=False)
    weight = np.array([1, 0, 0, 1, 1, 0, 0, 1], "float32")
    values = distiller.term_values(tensors, LABEL, weight)["nkd"]
    assert np.array_equal(np.asarray(values) != 0, weight != 0)


def test_attention_needs_positions(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'dense_1' is one vector, expected positions"):
        compiled(tmp_path, "attention")


def test_a_weight_for_each_iteration(tmp_path: Path) -> None:
    def interaction(iterations: int, weights: list[float]) -> float:
        losses = {"interaction": {"weight": 1.0, "iteration_weights": weights}}
        return _values(compiled(tmp_path, losses=losses, communication={"iterations": iterations}))["interaction"]

    one, two = interaction(2, [1, 0]), interaction(2, [0, 1])
    assert one > 0 and two > 0
    assert interaction(2, [0.5, 3.0]) == pytest.approx(0.5 * one + 3 * two, rel=1e-5)
    assert interaction(2, []) == pytest.approx(one + two, rel=1e-5)


def _gradients(found: Compiled, name: str) -> dict[str, bool]:
    """Whether a term trains the student's lower part, the encoders, the decoders."""
    distiller = found.distiller
    parts = {"student": distiller.student_segments.lower}
    for side in ("student", "teacher"):
        codec: Any = getattr(distiller, f"{side}_codec")
        parts |= {f"{side}_encode": codec.encode, f"{side}_decode": codec.decode}
    with tf.GradientTape(persistent=True) as tape:
        tensors = distiller({"image": pixels()}, training=False)
        total = tf.reduce_sum(distiller.term_values(tensors, LABEL, np.ones(8, "float32"))[name])
    found_gradients = {}
    for part, model in parts.items():
        gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
        found_gradients[part] = any(g is not None and np.any(np.asarray(g) != 0) for g in gradients)
    return found_gradients


@pytest.mark.parametrize(
    ("detach", "stopped"),
    [
        ([], set()),
        (["question"], {"student_encode"}),
        (["answer"], {"student_encode", "teacher_encode", "teacher_decode"}),
    ],
)
def test_messages_that_carry_no_gradient(tmp_path: Path, detach: list[str], stopped: set[str]) -> None:
    found = compiled(tmp_path, communication={"iterations": 1, "detach": detach})
    trained = _gradients(found, "interaction")
    assert {part for part, is_trained in trained.items() if not is_trained} == stopped
    plain = compiled(tmp_path, communication={"iterations": 1})
    assert _values(found) == pytest.approx(_values(plain), rel=1e-5)


def test_ends_of_a_term_that_carry_no_gradient(tmp_path: Path) -> None:
    def trained(detach: str) -> dict[str, bool]:
        losses = {"message_consistency": {"detach": detach}}
        return _gradients(compiled(tmp_path, losses=losses), "message_consistency")

    assert trained("none")["student_encode"] and trained("none")["teacher_encode"]
    assert trained("target")["student_encode"] and not trained("target")["teacher_encode"]
    assert trained("prediction")["teacher_encode"] and not trained("prediction")["student_encode"]


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ({"schedule": "linear_warmup", "warmup": 0.5}, [0, 0.5, 1, 1]),
        ({"schedule": "cosine"}, [0.5 * (1 + np.cos(np.pi * step / 4)) for step in range(4)]),
        ({}, [1, 1, 1, 1]),
    ],
)
def test_a_weight_that_changes(tmp_path: Path, schedule: dict[str, Any], factors: list[float]) -> None:
    losses = {"task": 0.0, "logit": {"weight": 2.0, **schedule}}
    distiller = compiled(tmp_path, "logit", losses=losses).distiller
    distiller.compile(keras.optimizers.SGD(0.0), total_steps=4)
    for factor in factors:
        distiller.reset_metrics()
        logs = distiller.train_step(({"image": pixels()}, LABEL))
        assert float(logs["loss"]) == pytest.approx(2 * factor * float(logs["logit"]), rel=1e-5, abs=1e-6)


def test_a_weight_that_changes_needs_the_length_of_the_run(tmp_path: Path) -> None:
    distiller = compiled(tmp_path, "logit", losses={"logit": {"schedule": "cosine"}}).distiller
    with pytest.raises(ValueError, match="the weight of 'logit' has a schedule: expected total_steps, received None"):
        distiller.compile("sgd")
