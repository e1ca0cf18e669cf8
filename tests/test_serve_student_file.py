"""The student's file loads with plain Keras, predicts the same and holds nothing but the student."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tdspec.errors import ExportError
from tdspec.graph.stored_weights import stored_sizes
from tdspec.serve.student_file import check_alone, probes, save_student


def small_student() -> keras.Model:
    image = keras.Input((8, 8, 1), dtype="uint8", name="image")
    hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 16)(image))
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(keras.layers.Dense(6)(hidden)))
    return keras.Model({"image": image}, keras.layers.Dense(3)(hidden), name="student")


def hub_student(backbone: keras.Model, size: int) -> keras.Model:
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    features = backbone(keras.layers.Rescaling(1 / 127.5, -1)(image))
    pooled = keras.ops.mean(features, axis=tuple(range(1, len(features.shape) - 1)))
    return keras.Model({"image": image}, keras.layers.Dense(3)(pooled), name="student")


@pytest.mark.parametrize("apart", [True, False])
def test_a_student_is_saved_whole_and_alone(tmp_path: Path, apart: bool) -> None:
    student = small_student()
    path = tmp_path / "student.keras"
    path.write_text("an older file")
    assert save_student(student, path, apart=apart) == 0.0
    assert [entry.name for entry in tmp_path.iterdir()] == ["student.keras"]
    loaded = keras.models.load_model(path)
    np.testing.assert_array_equal(
        loaded.predict(probes(student), verbose=0), student.predict(probes(student), verbose=0)
    )
    assert sum(stored_sizes(path).values()) == sum(int(np.prod(item.shape)) for item in student.weights)


def test_a_compiled_students_optimizer_is_not_held_against_it(tmp_path: Path) -> None:
    student = small_student()
    student.compile("adam", "mse")
    student.fit(probes(student), np.zeros((4, 3)), verbose=0)
    assert save_student(student, tmp_path / "student.keras") == 0.0


def test_a_passenger_is_refused(tmp_path: Path) -> None:
    student = small_student()
    student.teacher_codec = keras.layers.Dense(2, name="encode")
    student.teacher_codec.build((None, 4))
    with pytest.raises(ExportError, match="carries 2 variables that it does not use, such as 'encode/"):
        save_student(student, tmp_path / "student.keras")
    assert list(tmp_path.iterdir()) == []


def test_a_student_of_classes_that_only_this_process_knows_is_refused(tmp_path: Path) -> None:
    class Private(keras.layers.Layer):
        def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
            return inputs

    age = keras.Input((2,), name="age")
    student = keras.Model({"age": age}, Private()(age))
    for apart in (True, False):
        with pytest.raises(ExportError, match="keras_file: loading it back failed"):
            save_student(student, tmp_path / "student.keras", apart=apart)
        assert list(tmp_path.iterdir()) == []


def test_probes_fit_every_kind_of_input() -> None:
    inputs = {
        "image": keras.Input((None, None, 3), dtype="uint8", name="image"),
        "ids": keras.Input((None,), dtype="int32", name="ids"),
        "age": keras.Input((), name="age"),
    }
    found = probes(keras.Model(inputs, inputs))
    assert {name: (value.shape, value.dtype.name) for name, value in found.items()} == {
        "image": ((4, 64, 64, 3), "uint8"),
        "ids": ((4, 64), "int32"),
        "age": ((4,), "float32"),
    }
    assert not found["ids"].any()


def test_shared_and_nested_layers_are_the_students_own() -> None:
    check_alone(hub_student(keras.Sequential([keras.layers.Conv2D(2, 3)]), 8))


@pytest.mark.slow
def test_keras_hub_backbones_load_with_plain_keras(tmp_path: Path) -> None:
    models = pytest.importorskip("keras_hub").models
    vit = models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    resnet = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    for backbone in (vit, resnet):
        assert save_student(hub_student(backbone, 32), tmp_path / f"{backbone.name}.keras") < 1e-5
