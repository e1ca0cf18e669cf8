"""Every term of every method against the equations in numpy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from graph_helpers import (
    DISTANCES,
    Array,
    Talker,
    codec_of,
    compiled,
    expected_terms,
    mlp_talker,
    only,
    pixels,
    vit,
)

from tdspec.graph.compiler import Compiled
from tdspec.graph.walk import nodes_of
from tdspec.spec.checks import CONTROL_METHODS, ITERATED, TERMS

STATE_TERMS = (*ITERATED, "message_consistency", "state_consistency", "feature", "fitnet")


def _distances(distance: str) -> dict[str, Any]:
    return {term: {"weight": 0.7, "distance": distance} for term in STATE_TERMS}


def _losses(method: str, distance: str) -> dict[str, Any]:
    return {name: value for name, value in _distances(distance).items() if name in TERMS[method]}


def _vit_talker(found: Compiled, side: str, images: Array) -> Talker:
    """A transformer: its parts by Keras in inference mode, its codec in numpy."""
    segments: Any = getattr(found, side).segments
    low = segments.lower({"image": images}, training=False)
    high = segments.middle([low], training=False)
    return Talker(
        np.asarray(low, "float64"),
        np.asarray(high, "float64"),
        np.asarray(segments.upper([high], training=False)),
        lambda x: np.asarray(segments.middle([x.astype("float32")], training=False), "float64"),
        **codec_of(found, side),
    )


def _found_terms(found: Compiled, images: Array, label: Array) -> dict[str, float]:
    """The mean over the examples of what the Distiller makes of each term."""
    tensors = found.distiller({"image": images}, training=False)
    values = found.distiller.term_values(tensors, label, np.ones(len(images), "float32"))
    assert all(value.shape == (len(images),) and value.dtype == "float32" for value in values.values())
    return {name: float(np.mean(value)) for name, value in values.items()}


def _check(found: Compiled, student: Talker, teacher: Talker, distance: str, iterations: int, method: str) -> None:
    images, label = pixels(), np.arange(8)
    expected = expected_terms(student, teacher, DISTANCES[distance], iterations, control=method in CONTROL_METHODS)
    terms = _found_terms(found, images, label)
    names = [name for name in TERMS[method] if name not in ITERATED or iterations]
    assert list(terms) == names
    for name in set(names) - {"task", "logit"}:
        assert terms[name] == pytest.approx(expected[name], rel=2e-4), name
        assert expected[name] > 0


@pytest.mark.parametrize("encoder", ["linear", "mlp"])
@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize("distance", ["l2", "relative_l2"])
def test_talking_on_vectors(tmp_path: Path, distance: str, iterations: int, encoder: str) -> None:
    communication = {
        "message": {"dim": 3},
        "encoder": {"type": encoder, "hidden_dim": 6},
        "iterations": iterations,
    }
    found = compiled(tmp_path, "talking", losses=_losses("talking", distance), communication=communication)
    student, teacher = mlp_talker(found, "student", pixels(), 1, 2), mlp_talker(found, "teacher", pixels(), 1, 3)
    _check(found, student, teacher, distance, iterations, "talking")


@pytest.mark.parametrize(
    ("method", "distance", "iterations"),
    [
        ("feature", "l2", 1),
        ("feature", "relative_l2", 1),
        ("fitnet", "l2", 1),
        ("fitnet", "relative_l2", 1),
        ("hybrid", "relative_l2", 1),
        ("one_way_control", "l2", 1),
        ("one_way_control", "relative_l2", 3),
        ("one_way_control", "relative_l2", 0),
        ("one_way_control_hybrid", "relative_l2", 2),
    ],
)
def test_the_other_methods_on_vectors(tmp_path: Path, method: str, distance: str, iterations: int) -> None:
    communication = {"message": {"dim": 3}, "encoder": {"type": "mlp", "hidden_dim": 6}, "iterations": iterations}
    found = compiled(tmp_path, method, losses=_losses(method, distance), communication=communication)
    student, teacher = mlp_talker(found, "student", pixels(), 1, 2), mlp_talker(found, "teacher", pixels(), 1, 3)
    _check(found, student, teacher, distance, iterations, method)


@pytest.mark.parametrize(
    ("method", "distance", "iterations", "encoder"),
    [
        ("talking", "relative_l2", 0, "mlp"),
        ("talking", "l2", 1, "linear"),
        ("talking", "relative_l2", 3, "mlp"),
        ("one_way_control", "l2", 3, "mlp"),
        ("fitnet", "relative_l2", 1, "mlp"),
        ("talking", "relative_l2", 2, "transformer"),
        ("fitnet", "l2", 1, "transformer"),
    ],
)
def test_sequences_of_equal_length(tmp_path: Path, method: str, distance: str, iterations: int, encoder: str) -> None:
    found = compiled(
        tmp_path,
        method,
        teacher=vit(num_layers=3),
        student=vit(hidden_dim=6),
        losses=_losses(method, distance),
        communication={
            "message": {"dim": 3},
            "encoder": {"type": encoder, "hidden_dim": 8},
            "iterations": iterations,
        },
    )
    student, teacher = _vit_talker(found, "student", pixels()), _vit_talker(found, "teacher", pixels())
    assert student.low.shape == (8, 5, 6) and teacher.low.shape == (8, 5, 8)
    _check(found, student, teacher, distance, iterations, method)


def test_a_sequence_told_as_one_vector(tmp_path: Path) -> None:
    """message.positions: vector: means over positions go out, and every position hears the same."""
    found = compiled(
        tmp_path,
        teacher=vit(num_layers=3),
        student=vit(hidden_dim=6),
        losses=_losses("talking", "l2"),
        communication={"message": {"dim": 3, "positions": "vector"}, "encoder": {"type": "linear"}, "iterations": 1},
    )

    def through_mean(talker: Talker) -> Talker:
        num_positions = talker.low.shape[1]

        def tell(low: Array, high: Array) -> Array:
            return talker.encode(low.mean(axis=1), high.mean(axis=1))

        def hear(message: Array) -> tuple[Array, Array]:
            low, high = (np.repeat(part[:, None], num_positions, axis=1) for part in talker.decode(message))
            return low, high

        return Talker(talker.low, talker.high, talker.prediction, talker.middle, tell, hear)

    student, teacher = (through_mean(_vit_talker(found, side, pixels())) for side in ("student", "teacher"))
    _check(found, student, teacher, "l2", 1, "talking")


def _log_softmax(x: Array) -> Array:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


@pytest.mark.parametrize("method", ["scratch", "logit", "hybrid"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_classification(tmp_path: Path, method: str, temperature: float) -> None:
    losses = {"logit": {"temperature": temperature}} if method != "scratch" else {}
    found = compiled(tmp_path, method, losses=losses, communication={"message": {"dim": 3}})
    images, label = pixels(), np.arange(8)
    student = mlp_talker(found, "student", images, 1, 2).prediction
    terms = _found_terms(found, images, label)
    assert list(terms) == list(TERMS[method])
    assert terms["task"] == pytest.approx(-_log_softmax(student)[range(8), label].mean(), rel=1e-5)
    if method != "scratch":
        teacher = mlp_talker(found, "teacher", images, 1, 3).prediction
        log_p, log_q = _log_softmax(teacher / temperature), _log_softmax(student / temperature)
        kl = temperature**2 * np.sum(np.exp(log_p) * (log_p - log_q), axis=1).mean()
        assert terms["logit"] == pytest.approx(kl, rel=1e-4)


def test_logits_by_l2(tmp_path: Path) -> None:
    found = compiled(tmp_path, "logit", losses={"logit": {"distance": "l2"}})
    student, teacher = mlp_talker(found, "student", pixels(), 1, 2), mlp_talker(found, "teacher", pixels(), 1, 3)
    expected = np.mean((teacher.prediction - student.prediction) ** 2)
    assert _found_terms(found, pixels(), np.arange(8))["logit"] == pytest.approx(expected, rel=1e-5)


def _binary_terms(student: Array, teacher: Array, label: Array, temperature: float) -> dict[str, float]:
    def cross(p: Array, z: Array) -> Array:
        return -(p * np.log(_sigmoid(z)) + (1 - p) * np.log(1 - _sigmoid(z)))

    soft = _sigmoid(teacher / temperature)
    kl = cross(soft, student / temperature) - cross(soft, teacher / temperature)
    return {"task": float(cross(label, student).mean()), "logit": float(temperature**2 * kl.mean())}


def test_binary(tmp_path: Path) -> None:
    found = compiled(tmp_path, "logit", task={"type": "binary"}, losses={"logit": {"temperature": 2.0}})
    label = np.array([0, 1, 1, 0, 1, 0, 0, 0])
    student, teacher = mlp_talker(found, "student", pixels(), 1, 2), mlp_talker(found, "teacher", pixels(), 1, 3)
    expected = _binary_terms(student.prediction, teacher.prediction, label[:, None], 2.0)
    assert student.prediction.shape == (8, 1)
    assert _found_terms(found, pixels(), label) == pytest.approx(expected, rel=1e-4)


def test_multilabel(tmp_path: Path) -> None:
    task = {"type": "multilabel", "num_classes": 3}
    found = compiled(tmp_path, "logit", task=task, losses={"logit": {"temperature": 3.0}})
    label = np.random.default_rng(2).integers(0, 2, (8, 3))
    student, teacher = mlp_talker(found, "student", pixels(), 1, 2), mlp_talker(found, "teacher", pixels(), 1, 3)
    expected = _binary_terms(student.prediction, teacher.prediction, label, 3.0)
    assert _found_terms(found, pixels(), label) == pytest.approx(expected, rel=1e-4)


def test_regression_compares_numbers(tmp_path: Path) -> None:
    found = compiled(tmp_path, "logit", task={"type": "regression"})
    label = np.linspace(-1, 1, 8).astype("float32")
    student, teacher = mlp_talker(found, "student", pixels(), 1, 2), mlp_talker(found, "teacher", pixels(), 1, 3)
    expected = {
        "task": np.mean((label[:, None] - student.prediction) ** 2),
        "logit": np.mean((teacher.prediction - student.prediction) ** 2),
    }
    assert _found_terms(found, pixels(), label) == pytest.approx(expected, rel=1e-4)


def test_a_distance_of_its_own_for_each_term(tmp_path: Path) -> None:
    losses = {"interaction": {"distance": "l2"}, "state_consistency": {"distance": "l2"}}
    found = compiled(tmp_path, losses=losses, communication={"message": {"dim": 3}})
    student, teacher = mlp_talker(found, "student", pixels(), 1, 2), mlp_talker(found, "teacher", pixels(), 1, 3)
    plain = expected_terms(student, teacher, DISTANCES["l2"], 1, control=False)
    relative = expected_terms(student, teacher, DISTANCES["relative_l2"], 1, control=False)
    terms = _found_terms(found, pixels(), np.arange(8))
    assert terms["interaction"] == pytest.approx(plain["interaction"], rel=1e-4)
    assert terms["state_consistency"] == pytest.approx(plain["state_consistency"], rel=1e-4)
    assert terms["message_consistency"] == pytest.approx(relative["message_consistency"], rel=1e-4)


def test_a_term_of_weight_0_leaves_no_trace(tmp_path: Path) -> None:
    def names(method: str, **sections: Any) -> tuple[list[str], int, list[str]]:
        found = compiled(tmp_path, method, **sections).distiller
        return sorted(layer.name for layer in found.layers), len(found.variables), sorted(found.output)

    keras.backend.clear_session()
    whole = names("talking")
    assert "teacher_middle_in_inference" in whole[0]
    keras.backend.clear_session()
    silent = names("talking", losses={"interaction": 0.0})
    keras.backend.clear_session()
    assert silent == names("talking", communication={"iterations": 0})
    assert not any(name[-1].isdigit() for name in silent[2])
    layers, _, tensors = names("talking", losses={"interaction": 0.0, "state_consistency": 0})
    assert not any("decode" in name for name in layers)
    assert tensors == ["student_message", "student_prediction", "teacher_message"]
    unanswered = only("talking", "interpretation") | {"task": 1.0}
    layers, _, tensors = names("talking", losses=unanswered)
    assert "teacher_codec_decode" in layers and not {"teacher_codec_encode", "student_codec_decode"} & {*layers}
    assert tensors == ["student_prediction", "teacher_high", "teacher_high_1"]
    layers, _, _ = names("hybrid", losses={"feature": 0})
    assert not any("codec" in name for name in layers)
    layers, _, tensors = names("one_way_control", losses={"message_consistency": 0, "state_consistency": 0})
    assert "student_codec_encode" not in layers and "student_message" not in tensors


@pytest.mark.parametrize("method", ["logit", "talking"])
def test_without_a_term_of_the_teacher_there_is_no_teacher(tmp_path: Path, method: str) -> None:
    losses = {name: 0.0 for name in TERMS[method] if name != "task"}
    found = compiled(tmp_path, method, losses=losses)
    scratch = compiled(tmp_path, "scratch")
    assert found.teacher is None and found.distiller.teacher is None
    assert [layer.name for layer in found.distiller.layers] == [layer.name for layer in scratch.distiller.layers]
    assert len(found.distiller.variables) == len(scratch.distiller.variables)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_each_part_runs_as_often_as_the_equations_say(tmp_path: Path, iterations: int) -> None:
    found = compiled(tmp_path, communication={"iterations": iterations}).distiller
    runs = Counter(node.name for node in nodes_of(found))
    once = {name: 1 for name in ("student_lower", "student_middle", "student_upper", "teacher_lower_in_inference")}
    repeated = {
        "teacher_middle_in_inference": 1 + iterations,
        "student_middle_in_inference": max(iterations - 1, 0),
        "student_codec_encode": max(iterations, 1),
        "teacher_codec_encode": 1 + iterations,
        # one more for the state consistency; what the teacher hears first is the student's message on the data
        "student_codec_decode": 1 + iterations,
        "teacher_codec_decode": max(iterations, 1),
    }
    assert {name: runs[name] for name in (*once, *repeated)} == once | repeated
    assert "teacher_upper_in_inference" not in runs
