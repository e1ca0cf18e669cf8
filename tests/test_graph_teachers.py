"""Several teachers in one graph: each term against numpy and against each teacher alone; weights, fixed and learned."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import DISTANCES, Array, Talker, expected_terms, mlp, mlp_talker, pixels, slow_but, vit
from several_teachers import COARSE, DEEP, FINE, FLAT, compiled_with, small_teacher, talker_of

from tdspec.errors import SpecError
from tdspec.graph.compiler import Compiled
from tdspec.graph.walk import nodes_of
from tdspec.run.strategy import make_strategy
from tdspec.spec.checks import LOGIT_METHODS, TERMS

LABEL = np.arange(8)
STATES = ("feature", "fitnet", "interaction", "interpretation", "message_consistency", "state_consistency")
SMALL = {"message": {"dim": 3}, "encoder": {"type": "mlp", "hidden_dim": 6}, "iterations": 2}


def values_of(found: Compiled) -> dict[str, float]:
    """Each term of a batch before its weight."""
    tensors = found.distiller({"image": pixels()}, training=False)
    values = found.distiller.term_values(tensors, LABEL, np.ones(8, "float32"))
    return {name: float(np.mean(value)) for name, value in values.items()}


def _losses(method: str, distance: str) -> dict[str, Any]:
    return {name: {"weight": 0.5, "distance": distance} for name in TERMS[method] if name in STATES}


def _student_talker(found: Compiled, codec: Any) -> Talker:
    return mlp_talker(
        SimpleNamespace(student=found.student, distiller=SimpleNamespace(student_codec=codec)),  # type: ignore[arg-type]
        "student",
        pixels(),
        1,
        2,
    )


@pytest.mark.parametrize("distance", ["l2", "relative_l2"])
@pytest.mark.parametrize("method", ["talking", "one_way_control", "feature", "fitnet"])
def test_every_term_of_two_perceptrons_in_numpy(tmp_path: Path, method: str, distance: str) -> None:
    found = compiled_with(tmp_path, method, [DEEP, FLAT], losses=_losses(method, distance), communication=SMALL)
    values = values_of(found)
    expected = {}
    for index, (name, high) in enumerate((("deep", 3), ("flat", 2))):
        suffix = f"_for_{name}" if method == "fitnet" else ""
        student = _student_talker(found, found.distiller.codecs[f"student_codec{suffix}"])
        teacher = talker_of(found, index, pixels(), 1, high)
        terms = expected_terms(student, teacher, DISTANCES[distance], 2, control=method == "one_way_control")
        expected |= {f"{term}_{name}": terms[term] for term in TERMS[method] if term != "task"}
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert list(values) == ["task", *expected]


def test_predictions_of_two_teachers_in_numpy(tmp_path: Path) -> None:
    found = compiled_with(tmp_path, "logit", [DEEP, FLAT], losses={"logit": {"temperature": 3.0}})
    values = values_of(found)

    def log_softmax(x: Array) -> Array:
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    own = _student_prediction(found)
    for index, name in enumerate(("deep", "flat")):
        theirs = np.asarray(found.teachers[index].side.whole.model({"image": pixels()}, training=False))
        t, s = log_softmax(theirs / 3.0), log_softmax(own / 3.0)
        assert values[f"logit_{name}"] == pytest.approx(9.0 * np.sum(np.exp(t) * (t - s), axis=1).mean(), rel=1e-4)


def _student_prediction(found: Compiled) -> Array:
    return np.asarray(found.student.whole.model({"image": pixels()}, training=False))


def _part_talker(side: Any, codec: Any) -> Talker:
    """A model of any layout by its own parts, called one by one."""
    segments = side.segments
    low = np.asarray(segments.lower({"image": pixels()}, training=False))

    def middle(state: Array) -> Array:
        return np.asarray(segments.middle([state.astype("float32")], training=False))

    return Talker(
        low,
        middle(low),
        np.zeros(0),
        middle,
        lambda low, high: np.asarray(codec.encode([low, high])),
        lambda message: (*map(np.asarray, keras.tree.flatten(codec.decode(message))), np.zeros(0))[:2],
    )


@pytest.mark.parametrize("student", [vit(hidden_dim=6), mlp(5, 4)])
@pytest.mark.parametrize("method", ["talking", "fitnet", "feature"])
def test_teachers_of_other_layouts(tmp_path: Path, method: str, student: Any) -> None:
    """17 tokens 12 wide, 5 tokens 8 wide, and a vector, beside a student of 5 tokens 6 wide or of one vector."""
    teachers = [FINE, COARSE, FLAT]
    found = compiled_with(
        tmp_path, method, teachers, student=student, losses=_losses(method, "l2"), communication=SMALL
    )
    values, codecs = values_of(found), found.distiller.codecs
    for teacher in found.teachers:
        suffix = f"_for_{teacher.name}" if method == "fitnet" else ""
        ours = _part_talker(found.student, codecs[f"student_codec{suffix}"])
        theirs = _part_talker(teacher.side, codecs[f"{teacher.name}_codec"])
        expected = expected_terms(ours, theirs, DISTANCES["l2"], 2, control=False)
        for term in TERMS[method][1:]:
            assert values[f"{term}_{teacher.name}"] == pytest.approx(expected[term], rel=1e-4), term
    shapes = {teacher.name: teacher.side.low.shape for teacher in found.teachers if teacher.side.low is not None}
    assert shapes == {"fine": (None, 17, 12), "coarse": (None, 5, 8), "flat": (None, 9)}


def _all_weights(found: Compiled, name: str) -> list[tuple[str, Any]]:
    """What takes part in the conversation with one teacher, in a fixed order."""
    parts = next(parts for parts in found.distiller.teachers if parts.name == name)
    codecs = found.distiller.codecs
    student = codecs.get(f"student_codec_for_{name}", codecs.get("student_codec"))
    models = [found.student.whole.model, parts.model]
    models += [model for codec in (student, parts.codec) if codec is not None for model in (codec.encode, codec.decode)]
    models += [] if parts.projection is None else [parts.projection]
    return [variable for model in models for variable in model.variables]


@pytest.mark.parametrize("method", slow_but(("logit", "talking"), [method for method in TERMS if method != "scratch"]))
def test_each_conversation_is_that_with_the_teacher_alone(tmp_path: Path, method: str) -> None:
    head = {"head": "probe"} if method in LOGIT_METHODS else {}
    teachers = [{**FINE, **head}, {**COARSE, **head}]
    more = {"student": vit(hidden_dim=6), "communication": SMALL}
    together = compiled_with(tmp_path, method, teachers, **more)
    values = values_of(together)
    for item in teachers[1:]:
        alone = compiled_with(tmp_path, method, [item], **more)
        for own, theirs in zip(_all_weights(together, item["name"]), _all_weights(alone, "teacher"), strict=True):
            theirs.assign(own)
        expected = values_of(alone)
        found = {term: values[term if term == "task" else f"{term}_{item['name']}"] for term in expected}
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_student_runs_once_and_each_teacher_once(tmp_path: Path) -> None:
    losses = {"interpretation": 0.4}
    found = compiled_with(tmp_path, "talking_hybrid", [DEEP, FLAT], losses=losses, communication=SMALL)
    runs = Counter(node.name for node in nodes_of(found.distiller))
    once = [f"student_{part}" for part in ("lower", "middle", "upper")]
    once += [f"{name}_{part}_in_inference" for name in ("deep", "flat") for part in ("lower", "upper")]
    assert {name: runs[name] for name in once} == dict.fromkeys(once, 1)
    # on the data, and in two iterations; the student answers once for each teacher
    assert runs["deep_middle_in_inference"] == runs["flat_middle_in_inference"] == 3
    assert runs["student_middle_in_inference"] == 2
    # its message on the data is the same for both, then one for each
    assert runs["student_codec_encode"] == 3
    assert [term.weight for term in found.distiller.terms] == [1.0, 0.3, 0.4, 0.5, 0.5, 1.0, 0.15, 0.2, 0.25, 0.25, 0.5]
    assert {term.key for term in found.distiller.terms if term.teacher == "flat"} == set(TERMS["talking_hybrid"]) - {
        "task"
    }


def test_a_teacher_of_weight_0_leaves_no_trace(tmp_path: Path) -> None:
    found = compiled_with(tmp_path, "talking", [DEEP, {**FLAT, "weight": 0}], communication=SMALL)
    assert [teacher.name for teacher in found.teachers] == ["deep"]
    assert not any("flat" in layer.name for layer in found.distiller.layers)
    assert not any("flat" in name for name in found.distiller.output)
    alone = compiled_with(tmp_path, "talking", [DEEP], communication=SMALL)
    assert len(found.distiller.variables) == len(alone.distiller.variables)
    assert [v.shape for v in found.distiller.trained_variables] == [v.shape for v in alone.distiller.trained_variables]
    # and it draws no number: what is left starts from the same weights
    for one, two in zip(found.distiller.trained_variables, alone.distiller.trained_variables, strict=True):
        assert np.array_equal(one.numpy(), two.numpy())


def test_without_a_term_of_theirs_there_is_no_teacher(tmp_path: Path) -> None:
    found = compiled_with(tmp_path, "logit", [DEEP, FLAT], losses={"logit": 0})
    assert found.teachers == () and [term.name for term in found.distiller.terms] == ["task"]


def test_only_the_student_and_the_codecs_are_trained(tmp_path: Path) -> None:
    found = compiled_with(tmp_path, "talking", [DEEP, FLAT], communication=SMALL)
    distiller = found.distiller
    theirs = {id(v) for teacher in found.teachers for v in teacher.side.whole.model.variables}
    assert theirs and not theirs & {id(variable) for variable in distiller.trained_variables}
    before = {id(v): v.numpy() for t in found.teachers for v in t.side.whole.model.variables}
    start = [variable.numpy() for variable in distiller.trained_variables]
    distiller.compile(keras.optimizers.SGD(0.1))
    distiller.train_step(({"image": pixels()}, LABEL))
    for teacher in found.teachers:
        assert all(np.array_equal(before[id(v)], v.numpy()) for v in teacher.side.whole.model.variables)
    moved = [not np.array_equal(old, new.numpy()) for old, new in zip(start, distiller.trained_variables, strict=True)]
    assert sum(moved) > 0.9 * len(moved)


LEARNED = [{**DEEP, "weight": "learned"}, {**FLAT, "weight": "learned"}]


def test_the_gradient_of_a_learned_weight(tmp_path: Path) -> None:
    """d/ds (exp(-s) L + s) = 1 - exp(-s) L, and by one step of gradient descent s has moved by it."""
    found = compiled_with(tmp_path, "talking", LEARNED, communication=SMALL)
    distiller = found.distiller
    assert list(distiller.teacher_scales) == ["deep", "flat"]
    distiller.teacher_scales["flat"].assign(0.7)
    scales = {"deep": 0.0, "flat": 0.7}
    # what is drawn by dropout or batch statistics there is none of: training and inference are alike
    values, weights = values_of(found), {term.name: term.weight for term in distiller.terms}
    totals = {
        name: sum(weights[term.name] * values[term.name] for term in distiller.terms if term.teacher == name)
        for name in scales
    }
    distiller.compile(keras.optimizers.SGD(0.01))
    logs = distiller.train_step(({"image": pixels()}, LABEL))
    objective = values["task"] + sum(np.exp(-s) * totals[name] + s for name, s in scales.items())
    assert float(logs["loss"]) == pytest.approx(objective, rel=1e-5)
    for name, s in scales.items():
        gradient = 1 - np.exp(-s) * totals[name]
        assert float(distiller.teacher_scales[name].numpy()) == pytest.approx(s - 0.01 * gradient, rel=1e-5, abs=1e-6)


def test_a_learned_weight_comes_to_rest_at_one_over_its_terms(tmp_path: Path) -> None:
    found = compiled_with(tmp_path, "logit", LEARNED)
    distiller = found.distiller
    distiller.compile(keras.optimizers.SGD(0.1))
    only = list(distiller.teacher_scales.values())
    distiller.trained_variables = only
    distiller.compile(keras.optimizers.SGD(0.3))
    step = tf.function(lambda: distiller.train_step(({"image": pixels()}, LABEL)))
    for _ in range(200):
        step()
    values = values_of(found)
    for name, scale in distiller.teacher_scales.items():
        assert float(scale.numpy()) == pytest.approx(np.log(values[f"logit_{name}"]), rel=1e-3, abs=1e-3)


def test_weight_decay_leaves_learned_weights_alone(tmp_path: Path) -> None:
    found = compiled_with(tmp_path, "logit", LEARNED)
    distiller = found.distiller
    distiller.compile(keras.optimizers.AdamW(0.1, weight_decay=0.5))
    scale = distiller.teacher_scales["deep"]
    assert not distiller.optimizer._use_weight_decay(scale)
    assert distiller.optimizer._use_weight_decay(distiller.trained_variables[0])


@pytest.mark.slow
@pytest.mark.parametrize(("teachers", "jit"), [([DEEP, FLAT], "off"), (LEARNED, "off"), (LEARNED, "on")])
def test_two_replicas_train_as_one_device(tmp_path: Path, teachers: list[dict[str, Any]], jit: str) -> None:
    results = []
    rows = tf.data.Dataset.from_tensor_slices(({"image": pixels(24)}, np.arange(24) % 10)).batch(8)
    for name in ("none", "mirrored"):
        strategy = make_strategy(name, 2 if name == "mirrored" else "auto")
        with strategy.scope():
            found = compiled_with(tmp_path, "talking_hybrid", teachers, communication=SMALL)
            # XLA is on under the replicas only, so that it is compared with plain TensorFlow
            found.distiller.compile(keras.optimizers.SGD(1e-3), jit=jit if name == "mirrored" else "off")
        distiller = found.distiller
        batches: Any = strategy.experimental_distribute_dataset(rows) if name == "mirrored" else rows
        step = tf.function(lambda batch, s=strategy, d=distiller: s.run(d.train_step, args=(batch,)) and None)
        for batch in batches:
            step(batch)
        figures = {metric.name: float(metric.result()) for metric in distiller.metrics}
        results.append((figures, [variable.numpy() for variable in distiller.trained_variables]))
    (figures, weights), (more_figures, more_weights) = results
    assert more_figures == pytest.approx(figures, rel=1e-5, abs=1e-5)
    for one, two in zip(weights, more_weights, strict=True):
        assert np.allclose(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"cut": {"low": 1, "high": 7}}, "teachers[1].cut.high"),
        ({"backbone": {"class": "NoSuchBackbone", "config": {}, "weights": "random"}}, "teachers[1].backbone.class"),
        ({"head": "own"}, "teachers[1].head"),
        ({"input": {"size": [8, 8], "channels": 3}}, "teachers[1]"),
    ],
)
def test_errors_name_the_teacher(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    wrong = {**small_teacher(vit(), 1, 2, head="probe"), **change}
    with pytest.raises(SpecError) as caught:
        compiled_with(tmp_path, "talking_hybrid", [DEEP, wrong], student=vit(hidden_dim=6))
    assert caught.value.diagnostics[0].key == place, caught.value
