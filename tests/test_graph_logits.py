"""What stands behind a teacher's own output: logits of its probabilities, the student's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from run_support import TEACHER, write_pair, write_spec

from tdspec.errors import SpecError
from tdspec.graph.compiler import Compiled
from tdspec.run.prepare import compile_with_weights, compile_without_weights
from tdspec.spec.load import load

MAP = [[0, 1], [2, 3, 4], 9]
IMAGES = {"image": np.random.default_rng(0).integers(0, 255, (5, 8, 8, 1), "uint8")}


def _file(path: Path, units: int, activation: str | None, kind: str = "layer") -> Path:
    x = keras.Input((8, 8, 1))
    y = keras.layers.Dense(6, activation="relu")(keras.layers.Flatten()(x))
    y = keras.layers.Dense(units, activation=activation if kind == "layer" else None)(y)
    if kind == "own layer":
        y = keras.layers.Softmax()(y)
    keras.Model(x, y).save(path)
    return path


def _compiled(folder: Path, method: str = "logit", **changes: Any) -> Compiled:
    teacher = {
        "backbone": {"file": "teacher.keras", "spec": None},
        "head": "own",
        "input": {"size": [8, 8], "channels": 1},
        "cut": {"low": 1, "high": 2},
    }
    path = write_pair(folder, method=method, **{"teacher": {**teacher, **changes.pop("teacher", {})}, **changes})
    path.write_text(path.read_text().replace("    spec: null\n", ""))
    return compile_with_weights(load(path), {})


def _outputs(compiled: Compiled) -> np.ndarray:
    assert compiled.teacher is not None
    whole = compiled.teacher.whole
    values, opened = (keras.ops.convert_to_numpy(model(IMAGES)) for model in (whole.model, whole.graph))
    assert np.array_equal(values, opened)
    return values


def _file_outputs(path: Path) -> np.ndarray:
    model = keras.models.load_model(path)
    return np.asarray(model(IMAGES["image"] / np.float32(255)), np.float64)


@pytest.mark.parametrize("kind", ["layer", "own layer"])
def test_probabilities_become_logits(tmp_path: Path, kind: str) -> None:
    path = _file(tmp_path / "teacher.keras", 10, "softmax", kind)
    np.testing.assert_allclose(_outputs(_compiled(tmp_path)), np.log(_file_outputs(path)), rtol=1e-5)


def test_a_yes_or_no_becomes_a_logit(tmp_path: Path) -> None:
    path = _file(tmp_path / "teacher.keras", 1, "sigmoid")
    p = _file_outputs(path)
    np.testing.assert_allclose(_outputs(_compiled(tmp_path, task={"type": "binary"})), np.log(p / (1 - p)), rtol=1e-4)


def test_logits_stay(tmp_path: Path) -> None:
    path = _file(tmp_path / "teacher.keras", 10, None)
    np.testing.assert_allclose(_outputs(_compiled(tmp_path)), _file_outputs(path), rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_probabilities_of_a_group_add_up(tmp_path: Path, activation: str | None) -> None:
    path = _file(tmp_path / "teacher.keras", 12, activation)
    p = _file_outputs(path)
    p = np.exp(p) if activation is None else p
    found = _outputs(_compiled(tmp_path, teacher={"class_map": MAP}, task={"num_classes": 3}))
    expected = np.log(np.stack([p[:, :2].sum(1), p[:, 2:5].sum(1), p[:, 9]], axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_teacher_by_spec_is_mapped_and_keeps_its_weights_and_cuts(tmp_path: Path) -> None:
    own = compile_with_weights(load(write_spec(tmp_path / "teacher.yaml", TEACHER)), {}).student.whole.model
    own.save(tmp_path / "student.keras")
    spec = write_pair(tmp_path, method="hybrid", teacher={"class_map": MAP}, task={"num_classes": 3})
    compiled = compile_with_weights(load(spec), {"teacher": tmp_path / "student.keras"})
    p = np.exp(np.asarray(own(IMAGES), np.float64))
    expected = np.log(np.stack([p[:, :2].sum(1), p[:, 2:5].sum(1), p[:, 9]], axis=1))
    np.testing.assert_allclose(_outputs(compiled), expected, rtol=1e-5, atol=1e-6)
    assert compiled.teacher is not None
    assert [point.name for point in compiled.teacher.points if point.number] == ["dense_1", "dense_2", "dense_3"]
    assert compiled.distiller.teacher.trainable_variables == []


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ([0, 1], r"teacher\.class_map: found a list of 2, expected 10, one for each class"),
        ([*range(9), [1, 12]], r"teacher\.class_map: found class 12, expected a number from 0 to 11"),
    ],
)
def test_a_wrong_map_is_refused_at_its_place(tmp_path: Path, class_map: list[Any], message: str) -> None:
    _file(tmp_path / "teacher.keras", 12, None)
    with pytest.raises(SpecError, match=message):
        _compiled(tmp_path, teacher={"class_map": class_map})


def test_a_probe_is_a_plain_head_that_is_not_trained(tmp_path: Path) -> None:
    spec = write_pair(tmp_path, method="hybrid")
    text = spec.read_text().replace("    spec: teacher.yaml", "    mlp: {units: [6, 5, 4]}\n    weights: random")
    spec.write_text(text.replace("  cut:", "  head: probe\n  input: {size: [8, 8], channels: 1}\n  cut:", 1))
    compiled = compile_without_weights(load(spec))
    assert compiled.teacher is not None and not compiled.teacher.whole.own_head
    assert compiled.teacher.whole.model.get_layer("prediction").kernel.shape == (4, 10)
    assert compiled.distiller.teacher.trainable_variables == []
