"""Artefacts answer as the student does, under the names promised, and only then take their place."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tdspec.errors import ExportError
from tdspec.serve.export import compare, export_student

GENERATOR = np.random.default_rng(0)
IMAGES = {"image": GENERATOR.integers(0, 17, (6, 8, 8, 1)).astype("uint8")}
PHOTOS = {"image": GENERATOR.integers(0, 256, (3, 20, 24, 3)).astype("uint8")}
ROWS = {
    "user_id": GENERATOR.integers(0, 50, 7).astype("int32"),
    "movie_genres": GENERATOR.integers(-1, 19, (7, 4)).astype("int32"),
    "age": GENERATOR.normal(size=7).astype("float32"),
}


@keras.saving.register_keras_serializable(package="tests")
class Fickle(keras.layers.Layer):
    """Adds another number each time it is traced, as no honest layer does."""

    calls = 0

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        Fickle.calls += 1
        return inputs + float(Fickle.calls)


def digits_student(*extra: keras.layers.Layer) -> keras.Model:
    """Rescaled pixels, one Dense layer of ten logits, then whatever is added."""
    image = keras.Input((8, 8, 1), dtype="uint8", name="image")
    outputs = keras.layers.Flatten()(keras.layers.Rescaling(1 / 16)(image))
    for layer in (keras.layers.Dense(10, name="head"), *extra):
        outputs = layer(outputs)
    return keras.Model({"image": image}, outputs)


def table_student() -> keras.Model:
    """A user's embedding, the mean of the genres' (padding left out) and a number: one logit."""
    user = keras.Input((), dtype="int32", name="user_id")
    genres = keras.Input((None,), dtype="int32", name="movie_genres")
    age = keras.Input((), dtype="float32", name="age")
    mask = keras.ops.cast(keras.ops.expand_dims(keras.ops.not_equal(genres, -1), -1), "float32")
    embedded = keras.layers.Embedding(20, 4)(genres + 1) * mask
    mean = keras.ops.sum(embedded, axis=1) / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)
    joined = keras.layers.Concatenate()([keras.layers.Embedding(50, 4)(user), mean, keras.ops.expand_dims(age, -1)])
    return keras.Model({"user_id": user, "movie_genres": genres, "age": age}, keras.layers.Dense(1)(joined))


def photo_student() -> keras.Model:
    """Images of any size."""
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    outputs = keras.layers.Resizing(16, 16)(keras.layers.Rescaling(1 / 127.5, -1)(image))
    outputs = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(outputs))
    return keras.Model({"image": image}, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(outputs)))


def digits_logits(student: keras.Model) -> np.ndarray:
    """The digits student in numpy."""
    kernel, bias = student.get_layer("head").get_weights()
    return IMAGES["image"].reshape(6, 64) / 16 @ kernel + bias


def test_saved_model_of_a_classifier(tmp_path: Path) -> None:
    student = digits_student()
    (artefact,) = export_student(
        student,
        tmp_path,
        formats=["saved_model"],
        task_type="classification",
        examples=IMAGES,
        class_names=list("0123456789"),
    )
    assert (artefact.format, artefact.path) == ("saved_model", tmp_path / "saved_model" / "1")
    assert artefact.num_bytes == sum(file.stat().st_size for file in artefact.path.rglob("*") if file.is_file())
    loaded = tf.saved_model.load(str(artefact.path))
    assert list(loaded.signatures) == ["serving_default"]
    logits = digits_logits(student)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for count in (1, 6):
        answer = loaded.signatures["serving_default"](image=tf.constant(IMAGES["image"][:count]))
        assert set(answer) == {"logits", "probabilities"}
        np.testing.assert_allclose(answer["logits"], logits[:count], atol=1e-5)
        np.testing.assert_allclose(answer["probabilities"], probabilities[:count], atol=1e-5)
    assert json.loads((artefact.path / "assets.extra" / "class_names.json").read_text()) == list("0123456789")
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved_model"]


def test_saved_model_of_a_table_with_a_padded_list(tmp_path: Path) -> None:
    student = table_student()
    (artefact,) = export_student(student, tmp_path, formats=["saved_model"], task_type="binary", examples=ROWS)
    loaded = tf.saved_model.load(str(artefact.path))
    signature = loaded.signatures["serving_default"]
    wider = ROWS | {"movie_genres": np.pad(ROWS["movie_genres"], ((0, 0), (0, 2)), constant_values=-1)}
    answer = signature(**{name: tf.constant(value) for name, value in wider.items()})
    expected = student.predict(ROWS, verbose=0)
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-6)
    np.testing.assert_allclose(answer["probabilities"], 1 / (1 + np.exp(-expected)), atol=1e-6)


def test_a_regression_serves_its_prediction(tmp_path: Path) -> None:
    (artefact,) = export_student(
        table_student(), tmp_path, formats=["saved_model"], task_type="regression", examples=ROWS
    )
    loaded = tf.saved_model.load(str(artefact.path))
    assert list(loaded.signatures["serving_default"].structured_outputs) == ["prediction"]


def test_images_of_any_size(tmp_path: Path) -> None:
    student = photo_student()
    (artefact,) = export_student(student, tmp_path, formats=["saved_model"], task_type="multilabel", examples=PHOTOS)
    loaded = tf.saved_model.load(str(artefact.path))
    larger = np.repeat(PHOTOS["image"][:1], 3, axis=1)
    answer = loaded.signatures["serving_default"](image=tf.constant(larger))
    expected = student.predict({"image": larger}, verbose=0)
    np.testing.assert_allclose(answer["probabilities"], 1 / (1 + np.exp(-expected)), atol=1e-6)


def test_exporting_again_replaces_the_older_artefact(tmp_path: Path) -> None:
    export = partial(export_student, formats=["saved_model"], task_type="classification", examples=IMAGES)
    (first,) = export(digits_student(), tmp_path)
    (first.path / "stale").write_text("left by hand")
    student = digits_student()
    (second,) = export(student, tmp_path)
    assert first.path == second.path
    assert not (second.path / "stale").exists()
    answer = tf.saved_model.load(str(second.path)).signatures["serving_default"](image=tf.constant(IMAGES["image"]))
    np.testing.assert_allclose(answer["logits"], digits_logits(student), atol=1e-5)
    assert [entry.name for entry in (tmp_path / "saved_model").iterdir()] == ["1"]


def test_an_artefact_that_disagrees_is_not_kept(tmp_path: Path) -> None:
    kept = tmp_path / "saved_model" / "1" / "kept"
    kept.parent.mkdir(parents=True)
    kept.write_text("the older artefact")
    student = digits_student(Fickle())
    with pytest.raises(ExportError, match=r"saved_model: output '.*' differs from the student's by \d"):
        export_student(student, tmp_path, formats=["saved_model"], task_type="regression", examples=IMAGES)
    assert kept.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved_model"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ["tfjs"]}, "unknown format 'tfjs', expected one of saved_model, litert, onnx"),
        ({"task_type": "ranking"}, "unknown task 'ranking'"),
        ({"examples": {"picture": IMAGES["image"]}}, "no examples for the student's input 'image'"),
        ({"examples": {"image": IMAGES["image"][:0]}}, "examples of different or no length"),
        ({"class_names": ["zero", "one"]}, "2 class names for 10 classes"),
    ],
)
def test_a_wrong_call_is_refused_before_work_begins(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    options: dict[str, Any] = {"formats": ["saved_model"], "task_type": "classification", "examples": IMAGES}
    with pytest.raises(ExportError, match=message):
        export_student(digits_student(), tmp_path, **(options | changes))
    assert list(tmp_path.iterdir()) == []


def test_compare_is_relative_to_the_outputs_scale() -> None:
    expected = {"all.logits": np.array([[100.0, -1.0]])}
    assert compare("litert", expected, {"all.logits": np.array([[100.005, -1.0]])}, 1e-4) == pytest.approx(0.005)
    with pytest.raises(ExportError, match=r"differs from the student's by 0.02, allowed 0.01"):
        compare("litert", expected, {"all.logits": np.array([[100.0, -1.02]])}, 1e-4)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"all.logits": np.array([[np.nan, 1.0]])}, "differs from the student's by nan"),
        ({"all.logits": np.array([1.0, 1.0])}, "has shape"),
        ({"all.output_0": np.array([[1.0, 1.0]])}, "outputs"),
    ],
)
def test_compare_refuses(answers: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        compare("onnx", {"all.logits": np.array([[1.0, 1.0]])}, answers, 1e-4)


def test_the_saved_model_needs_neither_keras_nor_tdspec(tmp_path: Path) -> None:
    (artefact,) = export_student(
        digits_student(), tmp_path, formats=["saved_model"], task_type="classification", examples=IMAGES
    )
    script = (
        "import sys; sys.modules.update(keras=None, keras_hub=None, tdspec=None)\n"
        "import tensorflow as tf; model = tf.saved_model.load(sys.argv[1])\n"
        "print(model.signatures['serving_default'](image=tf.zeros((2, 8, 8, 1), tf.uint8))['logits'].shape)"
    )
    command = [sys.executable, "-P", "-c", script, str(artefact.path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "(2, 10)"
