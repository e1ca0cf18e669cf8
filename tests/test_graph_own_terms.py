"""Terms of a user's own: optimised, logged and planned as all others, and each mistake one clear error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from graph_helpers import SMALL_IMAGE, mlp, pixels, write
from keras import ops
from text_support import text_spec, write_corpus, write_preset, write_spec

import tdspec
from tdspec.errors import GraphError, SpecError

Term = tdspec.Term


def gap(target: Any, prediction: Any) -> Any:
    """Mean over features of |target - prediction|."""
    return ops.mean(ops.abs(target - prediction), axis=-1)


def spec(folder: Path, method: str = "talking", **sections: Any) -> Path:
    write(folder, "teacher", {"method": "scratch", "student": {"backbone": mlp(7, 6, 4), "input": SMALL_IMAGE}})
    student = {"backbone": mlp(5, 4), "input": SMALL_IMAGE, "cut": {"low": 1, "high": 2}}
    teacher = {"backbone": {"spec": "teacher.yaml"}, "cut": {"low": 1, "high": 3}}
    return write(folder, "spec", {"method": method, "teacher": teacher, "student": student, **sections})


def term(name: str = "mine", distance: str = "gap", **changes: Any) -> Any:
    return Term(
        **{
            "name": name,
            "weight": 0.5,
            "distance": distance,
            "target": ("teacher_high",),
            "prediction": ("student_high",),
            **changes,
        }
    )


def compiled(path: Path, *terms: Any, **distances: Any) -> Any:
    with pytest.warns(UserWarning, match="fresh weights"):
        return tdspec.compile(path, terms=terms, distances=distances or {"gap": gap})


def refusal(path: Path, *terms: Any, **distances: Any) -> str:
    with pytest.raises(GraphError) as caught:
        tdspec.plan(path, terms=terms, distances=distances or {"gap": gap})
    return str(caught.value)


def test_what_the_teacher_would_predict_of_a_question_can_be_compared(tmp_path: Path) -> None:
    pairs = {
        "target": ("teacher_prediction", "teacher_high"),
        "prediction": ("teacher_prediction_1", "teacher_high_1"),
    }
    distiller = compiled(spec(tmp_path), term(**pairs))
    tensors = {name: np.asarray(value) for name, value in distiller({"image": pixels()}, training=False).items()}
    head = distiller.teacher_segments.upper
    expected = np.asarray(head([tensors["teacher_high_1"]], training=False))
    np.testing.assert_allclose(tensors["teacher_prediction_1"], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - tensors["teacher_prediction"]).max() > 1e-3
    values = distiller.term_values(tensors, np.arange(8), np.ones(8, "float32"))
    by_high = np.abs(tensors["teacher_high_1"] - tensors["teacher_high"]).mean(-1)
    by_prediction = np.abs(expected - tensors["teacher_prediction"]).mean(-1)
    np.testing.assert_allclose(values["mine"], by_prediction + by_high, rtol=1e-4)


def test_it_is_optimised_logged_and_planned(tmp_path: Path) -> None:
    path = spec(tmp_path, losses={"task": 0})
    pairs = {
        "target": ("teacher_high", "teacher_message_1"),
        "prediction": ("student_high", "student_message"),
        "pair_weights": (1.0, 2.0),
    }
    distiller = compiled(path, term(**pairs))
    tensors = {name: np.asarray(value) for name, value in distiller({"image": pixels()}, training=False).items()}
    expected = np.abs(tensors["teacher_high"] - tensors["student_high"]).mean(-1)
    expected += 2 * np.abs(tensors["teacher_message_1"] - tensors["student_message"]).mean(-1)
    values = distiller.term_values(tensors, np.arange(8), np.ones(8, "float32"))
    np.testing.assert_allclose(values["mine"], expected, rtol=1e-5)
    data = ({"image": pixels()}, np.arange(8))
    history = distiller.fit(*data, batch_size=8, epochs=1, verbose=0).history
    assert history["mine"][0] == pytest.approx(expected.mean(), rel=1e-4)
    (entry,) = [
        entry
        for entry in tdspec.plan(path, terms=[term(**pairs)], distances={"gap": gap})["terms"]
        if entry["name"] == "mine"
    ]
    assert entry["formula"] == "Mean over features of |target - prediction|." and entry["weight"] == 0.5
    assert entry["distance"] == "gap" and entry["target"] == ["teacher_high", "teacher_message_1"]


def test_one_of_tdspecs_distances_with_options(tmp_path: Path) -> None:
    own = term(distance="kl", options={"temperature": 2.0}, detach="target")
    assert compiled(spec(tmp_path, "feature"), own).terms[-1] == own


def test_alone_it_trains_the_student(tmp_path: Path) -> None:
    distiller = compiled(spec(tmp_path, "relational", losses={"task": 0, "relational": 1e-9}), term(weight=1.0))
    distiller.compile(keras.optimizers.Adam(0.01))
    data = ({"image": pixels(64)}, np.arange(64) % 10)
    history = distiller.fit(*data, batch_size=8, epochs=5, verbose=0).history["mine"]
    assert history[-1] < history[0]


def test_weight_0_leaves_no_trace(tmp_path: Path) -> None:
    path = spec(tmp_path, "feature")
    assert tdspec.plan(path, terms=[term(weight=0)], distances={"gap": gap}) == tdspec.plan(path)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            term(target=("teacher_hihg",)),
            "term 'mine' names the tensor 'teacher_hihg', which this method does not have",
        ),
        (term(target=("teacher_message_2",)), "'teacher_message_2', which this method does not have"),
        (term(name="loss"), "term 'loss' is one of tdspec's"),
        (term(name="interaction"), "term 'interaction' is one of tdspec's"),
        (term(name="No way"), "a term called 'No way', expected lower case"),
        (term(weight=-1.0), "term 'mine' has the weight -1.0"),
        (term(weight=float("nan")), "term 'mine' has the weight nan"),
        (term(distance="gip"), "term 'mine' has the distance 'gip', which does not exist"),
        (term(target="teacher_high"), "term 'mine' compares 'teacher_high', expected a tuple of names"),
        (term(target=("teacher_high", "teacher_low")), "term 'mine' has 2 targets"),
        (term(prediction=("teacher_high",)), "which nothing trains"),
        (term(target=("teacher_low",)), "fails on 'teacher_low' (batch, 7) and 'student_high' (batch, 4)"),
        (term(options={"power": 2.0}), "distance 'gap' fails on"),
    ],
)
def test_a_mistake_is_one_clear_error(tmp_path: Path, own: Any, message: str) -> None:
    assert message in refusal(spec(tmp_path), own)


def test_a_distance_that_reaches_the_batch_needs_one(tmp_path: Path) -> None:
    """With a teacher and without; one that stays with its example does not."""

    def centred(target: Any, prediction: Any, across: Any) -> Any:
        return ops.mean(ops.abs(prediction - across.mean(prediction)), axis=-1)

    own = term(target=("student_prediction",), prediction=("student_prediction",))
    for method in ("logit", "scratch"):
        path = spec(tmp_path, method, data={"source": "digits", "batch_size": 1})
        with pytest.raises(SpecError, match="distance centred needs at least 2 examples in a batch"):
            tdspec.plan(path, terms=[replace(own, distance="centred")], distances={"centred": centred})
        tdspec.plan(path, terms=[own], distances={"gap": gap})


def test_what_exists_is_named(tmp_path: Path) -> None:
    found = refusal(spec(tmp_path, "feature"), term(target=("teacher_hihg",)))
    assert "did you mean 'teacher_high'?" in found and "student_message, teacher_message" in found
    found = refusal(spec(tmp_path, "logit"), term())
    assert "there are label, student_prediction, teacher_prediction" in found
    assert "the distances are 'l2'" in refusal(spec(tmp_path), term(distance="gip"))


def test_two_of_one_name(tmp_path: Path) -> None:
    assert "two terms are called 'mine'" in refusal(spec(tmp_path), term(), term())
    assert "distance 'l2' is one of tdspec's" in refusal(spec(tmp_path), term(), l2=gap)


@pytest.mark.parametrize(
    ("distance", "shape"),
    [
        (lambda target, prediction: ops.mean(target - prediction), "()"),
        (lambda target, prediction: ops.abs(target - prediction), "(batch, 4)"),
        (lambda target, prediction: ops.mean(target - prediction, axis=0), "(4,)"),
    ],
)
def test_a_distance_that_is_not_one_value_an_example(tmp_path: Path, distance: Any, shape: str) -> None:
    found = refusal(spec(tmp_path), term(), gap=distance)
    assert f"has the shape {shape}, expected (batch,), one value an example" in found
    assert "take the mean over all axes but the first" in found


def test_padding_of_a_text(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    write_preset(tmp_path)
    path = write_spec(tmp_path, text_spec())
    own = term(target=("student_low_1",), prediction=("student_low",))

    def masked(target: Any, prediction: Any, mask: Any) -> Any:
        return ops.sum(ops.mean(ops.abs(target - prediction), axis=-1) * mask, axis=1)

    assert "takes no mask, and 'student_low' are the tokens of a text" in refusal(path, own)
    plan = tdspec.plan(path, terms=[own], distances={"gap": masked})
    assert plan["terms"][-1]["given"] == {"mask": ["padding_mask"]} and plan["terms"][-1]["formula"] == "gap"
