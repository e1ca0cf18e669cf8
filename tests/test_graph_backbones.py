"""Backbones: what each way of giving one builds, and what is said when it cannot; all without a network."""

from __future__ import annotations

import json
import socket
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from graph_helpers import ERF, TINY_VIT

from tdspec.errors import GraphError
from tdspec.graph.backbones import hub_class, hub_preset, keras_file, mlp_on_image
from tdspec.graph.presets import preset_folder

SIZE = (8, 8)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever opens a connection fails, and no cache of this machine is read."""

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("something used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))


def _refusal(build: Any, *arguments: Any, size: Any = SIZE, channels: int = 3) -> tuple[str, str]:
    with pytest.raises(GraphError) as caught:
        build(*arguments, size=size, channels=channels)
    assert not caught.value.message.endswith(".")
    return caught.value.message, caught.value.hint


def _save(model: keras.Model, folder: Path) -> str:
    path = folder / "model.keras"
    model.save(path)
    return str(path)


def _chain(*layers: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((*SIZE, 3)), *layers])


def test_a_class_and_its_config() -> None:
    backbone = hub_class("ViTBackbone", TINY_VIT, size=SIZE, channels=1)
    assert backbone.kind == "ViTBackbone" and backbone.size == SIZE
    assert backbone.model.inputs[0].shape == (None, 8, 8, 1)
    assert hub_class("ViTBackbone", {**TINY_VIT, "image_shape": [8, 8, 3]}, size=None, channels=3).size == SIZE


@pytest.mark.parametrize(
    ("name", "changes", "size", "message", "hint"),
    [
        ("ViTBakbone", {}, SIZE, "keras-hub has no class 'ViTBakbone'", "did you mean 'ViTBackbone'?"),
        (
            "ViTBackbone",
            {"num_head": 2},
            SIZE,
            "ViTBackbone has no argument 'num_head'",
            "did you mean 'num_heads'?",
        ),
        (
            "ViTBackbone",
            {"patch_size": 3},
            SIZE,
            "ViTBackbone refuses its config with an input of 8 x 8: Input height 8 should be divisible by patch size 3",
            "",
        ),
        ("ViTBackbone", {}, None, "the size of the image is not known", "write input.size: [height, width]"),
        (
            "ViTBackbone",
            {"image_shape": [16, 16, 3]},
            SIZE,
            "config.image_shape [16, 16, 3] differs from input.size [8, 8]",
            "write one of the two",
        ),
        (
            "ViTBackbone",
            {"image_shape": 8},
            SIZE,
            "config.image_shape is 8, expected [height, width, channels]",
            "",
        ),
        (
            "ViTBackbone",
            {"image_shape": [8, 8, 1]},
            SIZE,
            "input.channels is 3, the model reads 1",
            "write input.channels: 1",
        ),
    ],
)
def test_a_class_that_cannot_be(name: str, changes: Any, size: Any, message: str, hint: str) -> None:
    assert _refusal(hub_class, name, {**TINY_VIT, **changes}, size=size) == (message, hint)


def test_arguments_that_are_missing() -> None:
    message, _ = _refusal(hub_class, "ViTBackbone", {"num_layers": 2, "patch_size": 4})
    assert message == "ViTBackbone needs the arguments num_heads, hidden_dim, mlp_dim"


def test_a_config_of_the_wrong_type() -> None:
    message, _ = _refusal(hub_class, "ViTBackbone", {**TINY_VIT, "num_layers": "two"})
    assert message.startswith("ViTBackbone refuses its config with an input of 8 x 8: ")


def test_a_model_of_text() -> None:
    config = {"vocabulary_size": 9, "num_layers": 1, "num_heads": 1, "hidden_dim": 4, "intermediate_dim": 4}
    found = hub_class("BertBackbone", config, size=None, channels=3)
    assert found.size is None and found.columns == ()


@pytest.mark.parametrize("functional", [True, False])
def test_a_file_gives_its_architecture(tmp_path: Path, functional: bool) -> None:
    model = _chain(keras.layers.Flatten(), keras.layers.Dense(4, name="dense"))
    saved = keras.Model(model.inputs, model.outputs) if functional else model
    backbone = keras_file(_save(saved, tmp_path), size=None, channels=3)
    assert (backbone.kind, backbone.size) == ("model", SIZE)
    backbone.model.set_weights(model.get_weights())
    images = np.ones((2, 8, 8, 3), "float32")
    found = backbone.model(keras.tree.pack_sequence_as(backbone.model.input, [images]))
    assert np.allclose(keras.tree.flatten(found)[0], model(images))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert _refusal(keras_file, str(tmp_path / "none.keras"))[0] == f"no file '{tmp_path / 'none.keras'}'"


def _write(path: Path, entries: dict[str, str]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return str(path)


CUSTOM = {"module": "nowhere", "class_name": "Net", "config": {}, "registered_name": "Net"}
LAYER = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"weights": "1"}, "cannot be read as a .keras file in safe mode: There is no item named 'config.json'"),
        ({"config.json": "{"}, "cannot be read as a .keras file in safe mode"),
        ({"config.json": "[1]"}, "cannot be read as a .keras file in safe mode"),
        ({"config.json": json.dumps(CUSTOM)}, "cannot be read as a .keras file in safe mode: Could not locate class"),
        ({"config.json": json.dumps(LAYER)}, "holds no functional model with one output"),
    ],
)
def test_a_file_that_is_no_model(tmp_path: Path, entries: dict[str, str], expected: str) -> None:
    file = _write(tmp_path / "odd.keras", entries)
    assert _refusal(keras_file, file)[0].startswith(f"'odd.keras' {expected}")


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "text.keras"
    path.write_text("weights")
    assert _refusal(keras_file, str(path))[0].endswith("in safe mode: File is not a zip file")


def test_code_in_a_file_is_refused(tmp_path: Path) -> None:
    file = _save(_chain(keras.layers.Lambda(lambda x: x * 2), keras.layers.Flatten()), tmp_path)
    message, _ = _refusal(keras_file, file)
    assert message.startswith("'model.keras' cannot be read as a .keras file in safe mode: ")
    assert "Lambda" in message and "safe_mode=False" not in message


def test_a_file_with_two_outputs(tmp_path: Path) -> None:
    image = keras.Input((*SIZE, 3))
    flat = keras.layers.Flatten()(image)
    model = keras.Model(image, [flat, keras.layers.Dense(2)(flat)])
    assert _refusal(keras_file, _save(model, tmp_path))[0] == "'model.keras' holds no functional model with one output"


def test_a_file_of_another_size(tmp_path: Path) -> None:
    file = _save(_chain(keras.layers.Flatten()), tmp_path)
    expected = "the model reads images of 8 x 8, input.size is 4 x 4"
    assert _refusal(keras_file, file, size=(4, 4))[0] == expected
    assert _refusal(keras_file, file, channels=1)[0] == "input.channels is 1, the model reads 3"


def test_a_preset_that_was_never_fetched() -> None:
    message, hint = _refusal(hub_preset, "vit_base_patch16_224_imagenet")
    assert message == "preset 'vit_base_patch16_224_imagenet' is not on this machine"
    assert "`tdspec fetch SPEC` gets it" in hint and "class: and config:" in hint


def test_a_misspelt_preset() -> None:
    message, hint = _refusal(hub_preset, "vit_base_patch16_224_imagnet")
    assert message == "no preset folder or name 'vit_base_patch16_224_imagnet'"
    assert hint == "did you mean 'vit_base_patch16_224_imagenet'?"


@pytest.mark.parametrize("content", ["{}", "{", "[]"])
def test_a_folder_that_is_no_preset(tmp_path: Path, content: str) -> None:
    assert _refusal(hub_preset, str(tmp_path))[0] == f"preset folder '{tmp_path}' has no config.json"
    (tmp_path / "config.json").write_text(content)
    assert _refusal(hub_preset, str(tmp_path))[0].startswith(f"preset '{tmp_path}' cannot be read: ")


def test_a_preset_folder(tmp_path: Path) -> None:
    hub_class("ViTBackbone", TINY_VIT, size=SIZE, channels=3).model.save_to_preset(str(tmp_path / "preset"))
    assert preset_folder(str(tmp_path / "preset")) == tmp_path / "preset"
    backbone = hub_preset(str(tmp_path / "preset"), size=None, channels=3)
    assert (backbone.kind, backbone.size) == ("ViTBackbone", SIZE)
    message, _ = _refusal(hub_preset, str(tmp_path / "preset"), size=(16, 16))
    assert message == "the model reads images of 8 x 8, input.size is 16 x 16"


def test_an_mlp_needs_the_size_of_its_image() -> None:
    assert _refusal(mlp_on_image, (3,), "relu", 0.0, size=None)[0] == "the size of the image is not known"
    model = mlp_on_image((5, 4), "relu", 0.25, size=SIZE, channels=3).model
    assert [layer.name for layer in model.layers][1:] == ["flatten", "dense_1", "dropout_1", "dense_2", "dropout_2"]
    assert model.count_params() == 192 * 5 + 5 + 5 * 4 + 4


@pytest.mark.parametrize(
    ("activation", "closed_form"),
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("gelu", lambda x: x * (1 + ERF(x / 2**0.5)) / 2),
        ("silu", lambda x: x / (1 + np.exp(-x))),
        ("tanh", np.tanh),
    ],
)
def test_an_mlp_has_the_activation_that_it_is_given(activation: str, closed_form: Any) -> None:
    model = mlp_on_image((5,), activation, 0.0, size=(2, 2), channels=1).model
    images = np.random.default_rng(0).normal(size=(7, 2, 2, 1)).astype("float32")
    kernel, bias = model.get_layer("dense_1").get_weights()
    expected = closed_form(images.reshape(7, 4) @ kernel + bias)
    np.testing.assert_allclose(np.asarray(model(images)), expected, rtol=1e-5, atol=1e-6)
