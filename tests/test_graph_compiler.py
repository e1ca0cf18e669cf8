"""The compiler: seeds, weights that are never allocated, precision, and errors with their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from graph_helpers import SMALL_IMAGE, compiled, facts, mlp, pixels, vit, write

from tdspec.errors import SpecError
from tdspec.graph.compiler import Compiled, build
from tdspec.graph.objective import terms_of
from tdspec.graph.plan import plan_of
from tdspec.spec.checks import TERMS
from tdspec.spec.load import load

METHODS = list(TERMS)


def _weights(found: Compiled) -> list[Any]:
    return [variable.numpy() for variable in found.student.whole.model.variables]


def _equal(one: list[Any], two: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_student_starts_alike_for_every_method_and_teacher(tmp_path: Path) -> None:
    student = mlp(5, 4, dropout=0.1)
    first = _weights(compiled(tmp_path, "scratch", student=student))
    for method in METHODS:
        if method != "attention":  # which compares positions, of which a vector has none
            assert _equal(first, _weights(compiled(tmp_path, method, student=student))), method
    communication = {"message": {"dim": 7}, "iterations": 2}
    other = compiled(tmp_path, student=student, teacher=vit(num_layers=3), communication=communication)
    assert _equal(first, _weights(other))
    assert not _equal(first, _weights(compiled(tmp_path, "scratch", student=student, seed=1)))


def test_two_compilations_are_one(tmp_path: Path) -> None:
    one, two = (compiled(tmp_path, communication={"iterations": 2}) for _ in range(2))
    assert _equal(*([v.numpy() for v in found.distiller.variables] for found in (one, two)))
    assert [layer.name for layer in one.distiller.layers] == [layer.name for layer in two.distiller.layers]
    outputs = [found.distiller({"image": pixels()}) for found in (one, two)]
    assert all(np.array_equal(outputs[0][name], outputs[1][name]) for name in outputs[0])


def test_names_of_layers_do_not_depend_on_the_process(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, padding="same")(image)
    for _ in range(2):
        x = keras.layers.Add()([x, keras.layers.Conv2D(3, 3, padding="same")(x)])
    keras.Model(image, x).save(tmp_path / "net.keras")
    other = vit(num_layers=3)
    kinds: list[Any] = [{"file": "net.keras", "weights": "random"}, other]
    for teacher in kinds:
        names = []
        for student in (mlp(5, 4), vit(num_layers=2)):
            found = compiled(tmp_path, teacher=teacher, student=student, teacher_cut=(1, 2))
            assert found.teacher is not None
            names.append([point.name for point in found.teacher.points])
        assert names[0] == names[1]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_allocated_without_weights(tmp_path: Path, method: str) -> None:
    student, communication = vit(dropout_rate=0.1), {"iterations": 2}
    with keras.StatelessScope(initialize_variables=False):
        found = compiled(tmp_path, method, student=student, communication=communication)
    assert found.distiller.variables
    everything = [*found.distiller.variables, *(v for m in found.distiller.metrics for v in m.variables)]
    if found.teacher is not None:
        everything += found.teacher.whole.model.variables
    assert all(variable._value is None for variable in everything)


def test_a_large_model_without_weights(tmp_path: Path) -> None:
    """Two gigabytes of weights in float32, none of which exists."""
    large = vit(num_layers=3, num_heads=16, hidden_dim=4096, mlp_dim=16384)
    with keras.StatelessScope(initialize_variables=False):
        found = compiled(tmp_path, teacher=large)
    assert found.teacher is not None
    assert found.teacher.whole.model.count_params() > 5e8


@pytest.mark.parametrize("method", ["hybrid", "talking"])
def test_mixed_precision(tmp_path: Path, method: str) -> None:
    """States are computed in bfloat16, predictions and losses in float32; the policy of the process comes back."""
    before = keras.config.dtype_policy()
    train = {"precision": "mixed_bfloat16"}
    communication = {"iterations": 2}
    found = compiled(tmp_path, method, train=train, communication=communication).distiller
    assert keras.config.dtype_policy() == before
    tensors = found({"image": pixels()}, training=True)
    kinds = {name: tensor.dtype.name for name, tensor in tensors.items()}
    assert kinds.pop("student_prediction") == "float32"
    assert kinds.pop("teacher_prediction", "float32") == "float32"
    assert set(kinds.values()) == {"bfloat16"}
    assert {str(variable.dtype) for variable in found.trained_variables} == {"float32"}
    values = found.term_values(tensors, np.arange(8), np.ones(8, "float32"))
    assert {value.dtype.name for value in values.values()} == {"float32"}
    found.compile("adam")
    log = found.train_step(({"image": pixels()}, np.arange(8)))
    assert all(np.isfinite(float(value)) for value in log.values())


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("scratch", ["task"]),
        ("logit", ["task", "logit"]),
        ("feature", ["task", "feature"]),
        ("fitnet", ["task", "fitnet"]),
        ("hybrid", ["task", "logit", "feature"]),
        ("talking", ["task", "interaction", "message_consistency", "state_consistency"]),
        ("one_way_control", ["task", "interaction", "message_consistency", "state_consistency"]),
        ("one_way_control_hybrid", ["task", "interaction", "message_consistency", "state_consistency", "logit"]),
    ],
)
def test_terms_of_methods(tmp_path: Path, method: str, names: list[str]) -> None:
    found = compiled(tmp_path, method)
    assert [term.name for term in found.distiller.terms] == names
    assert terms_of(found.document.spec) == found.distiller.terms
    assert all(len(term.target) == len(term.prediction) for term in found.distiller.terms)
    assert (found.teacher is None) == (method == "scratch")


def test_the_plan_has_the_iterations_that_a_term_asks_for(tmp_path: Path) -> None:
    def iterations(**losses: float) -> int:
        found = compiled(tmp_path, losses=losses, communication={"iterations": 2})
        return int(plan_of(found)["iterations"])

    assert iterations(interpretation=1) == iterations(interaction=0, interpretation=1) == 2
    assert iterations(interaction=0) == 0


def test_a_teacher_with_columns_of_its_own(tmp_path: Path) -> None:
    """Two models read different columns of one table; the Distiller reads both, the student its own."""
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,label\n1,0,0\n2,1,1\n")

    def reads(**features: Any) -> dict[str, Any]:
        return {"mlp": {"features": features, "units": [4, 3]}, "weights": "random"}

    a, b = {"type": "number"}, {"type": "id", "size": 2}
    path = write(
        tmp_path,
        "columns",
        {
            "data": {"source": "csv", "path": "rows.csv", "batch_size": 8},
            "task": {"type": "binary"},
            "teacher": {"backbone": reads(a=a, b=b), "cut": {"low": 1, "high": 2}},
            "student": {"backbone": reads(a=a), "cut": {"low": 1, "high": 2}},
        },
    )
    found = build(load(path), facts)
    assert sorted(found.distiller.input) == ["a", "b"] and sorted(found.distiller.student.input) == ["a"]
    data = {"a": np.arange(8, dtype="float32"), "b": np.arange(8) % 2}, np.arange(8) % 2
    found.distiller.compile("adam")
    assert found.distiller.fit(*data, batch_size=8, verbose=0, validation_data=data).history["val_task"][0] > 0
    assert found.distiller.predict(data[0], verbose=0).shape == (8, 1)
    assert found.num_classes is None


def _problem(build_it: Any) -> tuple[str, str, str, int]:
    with pytest.raises(SpecError) as caught:
        build_it()
    (item,) = caught.value.diagnostics
    return item.key, item.message, item.hint, item.place.line


def test_errors_stand_where_the_spec_says_it(tmp_path: Path) -> None:
    key, message, hint, line = _problem(lambda: compiled(tmp_path, student_cut=(1, 3)))
    spec = (tmp_path / "spec.yaml").read_text().splitlines()
    assert (key, message) == ("student.cut.high", "there is no hidden layer 3, found 2 of them")
    assert hint == f"write 1 to 2; `tdspec layers {tmp_path / 'spec.yaml'} --side student` lists the clean cuts"
    assert spec[line - 1].strip() == "high: 3" and line > len(spec) // 2


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"teacher_cut": (1, "dens_3")}, "teacher.cut.high", "no layer 'dens_3' in MLP"),
        (
            {"student_cut": ("dense_2", "dense_1")},
            "student.cut",
            "low ('dense_2') comes after high ('dense_1')",
        ),
        ({"teacher_cut": (2, "dense_2")}, "teacher.cut.high", "'dense_2' is low too, expected at least one layer"),
        ({"student_head": {"pooling": "token"}}, "student.head", "pooling 'token' needs a class token"),
        ({"student": vit(num_heads=2, patch_size=3)}, "student.backbone.class", "ViTBackbone refuses its config"),
        ({"data": {"source": "digits", "batch_size": 1}}, "data.batch_size", "relative_l2 needs at least 2 examples"),
        ({"task": {"label": "image"}}, "task.num_classes", "the source does not declare the classes of 'image'"),
    ],
)
def test_refusals(tmp_path: Path, options: dict[str, Any], key: str, message: str) -> None:
    found_key, found_message, _, _ = _problem(lambda: compiled(tmp_path, **options))
    assert found_key == key and message in found_message


def test_logits_need_the_same_classes(tmp_path: Path) -> None:
    write(
        tmp_path,
        "many",
        {"method": "scratch", "task": {"num_classes": 12}, "student": {"backbone": mlp(5), "input": SMALL_IMAGE}},
    )
    key, message, _, _ = _problem(lambda: compiled(tmp_path, "logit", teacher={"spec": "many.yaml"}))
    assert key == "losses.logit"
    assert message == "the teacher's prediction has shape (None, 12), the student's (None, 10)"


def test_images_of_two_shapes_are_refused(tmp_path: Path) -> None:
    colour = {"size": [8, 8], "channels": 3}
    write(tmp_path, "colour", {"method": "scratch", "student": {"backbone": mlp(5, 4, 3), "input": colour}})
    key, message, _, _ = _problem(lambda: compiled(tmp_path, teacher={"spec": "colour.yaml"}))
    assert key == "teacher"
    assert message == "the teacher reads 'image' with shape (None, 8, 8, 3), the student (None, 8, 8, 1)"


def test_a_teacher_may_read_another_size(tmp_path: Path) -> None:
    """Each side resizes for itself."""
    own = {"backbone": mlp(7, 6, 5), "input": {"size": [12, 12], "channels": 1}}
    write(tmp_path, "wide", {"method": "scratch", "student": own})
    found = compiled(tmp_path, teacher={"spec": "wide.yaml"})
    assert found.distiller({"image": pixels()})["teacher_low"].shape == (8, 7)


@pytest.mark.parametrize("task", [{"type": "regression"}, {"type": "binary"}, {"num_classes": 3}])
def test_a_student_by_spec_needs_the_same_task(tmp_path: Path, task: dict[str, Any]) -> None:
    write(tmp_path, "ten", {"method": "scratch", "student": {"backbone": mlp(5), "input": SMALL_IMAGE}})
    path = write(tmp_path, "again", {"method": "scratch", "task": task, "student": {"backbone": {"spec": "ten.yaml"}}})
    key, message, _, _ = _problem(lambda: build(load(path), facts))
    assert key == "student.backbone.spec"
    assert message == f"its prediction has shape (None, 10), the task needs (None, {task.get('num_classes', 1)})"


def test_a_teacher_of_digits_reads_images_of_unknown_size(tmp_path: Path) -> None:
    """A source that declares no size stands in for the teacher's own, which does."""
    write(tmp_path, "teacher", {"method": "scratch", "student": {"backbone": mlp(7, 6), "input": SMALL_IMAGE}})
    values = {
        "data": {"source": "image_folder", "path": ".", "batch_size": 8},
        "task": {"num_classes": 2},
        "teacher": {"backbone": {"spec": "teacher.yaml"}, "cut": {"low": 1, "high": 2}},
        "student": {"backbone": mlp(5, 4), "input": SMALL_IMAGE, "cut": {"low": 1, "high": 2}},
    }
    found = build(load(write(tmp_path, "folder", values)), facts).distiller
    assert found.input["image"].shape == (None, None, None, 1)
    assert found({"image": np.zeros((2, 9, 7, 1), "uint8")})["teacher_low"].shape == (2, 7)


def test_features_without_a_layout(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv3D(3, 1)(keras.layers.Reshape((4, 2, 8, 1))(image))
    keras.Model(image, x).save(tmp_path / "three.keras")
    student = {"file": "three.keras", "weights": "random"}
    key, message, _, _ = _problem(lambda: compiled(tmp_path, student=student))
    assert key == "student.head" and "has no layout: expected up to two axes" in message
