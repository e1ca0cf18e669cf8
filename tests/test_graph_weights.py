"""Weights that cannot be loaded: files cut short or missing, of another config; each with a reason in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest
from graph_helpers import TINY_VIT

from tdspec.errors import WeightsError
from tdspec.graph.backbones import hub_class, hub_preset
from tdspec.graph.reasons import first_sentence
from tdspec.graph.weights import from_file, load_weights, weights_sha256
from tdspec.spec.model import ClassBackbone, PresetWeights

WEIGHTS = "model.weights.h5"
HUGGING_FACE = {
    "model_type": "vit", "architectures": ["ViTModel"], "hidden_size": 8, "num_attention_heads": 2, "num_channels": 3,
    "num_hidden_layers": 2, "intermediate_size": 12, "image_size": 8, "patch_size": 4, "layer_norm_eps": 1e-6,
    "qkv_bias": True, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def _model(**changes: Any) -> keras.Model:
    return hub_class("ViTBackbone", {**TINY_VIT, **changes}, size=(8, 8), channels=3).model


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    _model().save_to_preset(str(tmp_path / "preset"))
    return tmp_path / "preset"


def _refusal(model: keras.Model, folder: Path) -> str:
    backbone = ClassBackbone("ViTBackbone", {}, PresetWeights(str(folder)), None)
    with pytest.raises(WeightsError) as caught:
        load_weights(model, backbone)
    assert "\n" not in caught.value.message and "safe_mode" not in caught.value.message
    return caught.value.message.replace(str(folder), "FOLDER")


def test_a_preset_gives_its_weights(preset: Path) -> None:
    one, two = _model(), _model()
    for model in (one, two):
        load_weights(model, ClassBackbone("ViTBackbone", {}, PresetWeights(str(preset)), None))
    assert weights_sha256(one) == weights_sha256(two)


@pytest.mark.parametrize("kept", [0, 1000, -200])
def test_weights_that_are_cut_short(preset: Path, kept: int) -> None:
    content = (preset / WEIGHTS).read_bytes()
    (preset / WEIGHTS).write_bytes(content[:kept])
    assert _refusal(_model(), preset).startswith("the weights of preset 'FOLDER' cannot be read: Unable to")


def test_weights_that_are_not_there(preset: Path) -> None:
    (preset / WEIGHTS).unlink()
    assert "doesn't exist in preset directory" in _refusal(_model(), preset)


@pytest.mark.parametrize("content", [None, b"\0" * 100, (500).to_bytes(8, "little") + b'{"a":'])
def test_safetensors_that_are_cut_short(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(HUGGING_FACE))
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    model = hub_preset(str(tmp_path), size=None, channels=3).model
    assert _refusal(model, tmp_path).startswith("the weights of preset 'FOLDER' cannot be read: ")


def test_weights_of_another_config(preset: Path, tmp_path: Path) -> None:
    wider = "preset 'FOLDER' has vit_patching_and_embedding/class_token of shape (1, 1, 8), the model wants (1, 1, 4)"
    assert _refusal(_model(hidden_dim=4), preset) == wider
    assert _refusal(_model(num_layers=3), preset) == "preset 'FOLDER' has 38 variables, the model 54"
    _model().save_weights(tmp_path / "own.weights.h5")
    for changes in ({"hidden_dim": 4}, {"num_layers": 3}, {"num_layers": 1}):
        with pytest.raises(WeightsError, match=r"own\.weights\.h5"):
            from_file(_model(**changes), str(tmp_path / "own.weights.h5"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It failed. Set safe_mode=False to go on.", "It failed"),
        ("A total of 2 objects could not be loaded. Example error:\nLayer x is odd. More", "Layer x is odd"),
        ("Layer x:\nthe shapes differ, value=[[1.0]]", "the shapes differ"),
        (
            "Exception encountered when calling Add.call().\n\n\x1b[1mShapes differ.\x1b[0m\n\nArguments",
            "Shapes differ",
        ),
        ("", "ValueError"),
    ],
)
def test_a_reason_is_one_sentence(text: str, expected: str) -> None:
    assert first_sentence(ValueError(text)) == expected
