"""ONNX needs packages of its own: told where they are absent, checked where they are there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

from tdspec.errors import ExportError
from tdspec.serve.export import ONNX_PACKAGES, export_student

INSTALLED = all(importlib.util.find_spec(package) for package in ONNX_PACKAGES)
ROWS = {"age": np.random.default_rng(0).normal(size=(5, 2)).astype("float32")}


def gelu_student() -> keras.Model:
    """Exact GELU becomes Erfc, which tf2onnx does not know of itself."""
    age = keras.Input((2,), name="age")
    hidden = keras.layers.Dense(4, activation="gelu")(age)
    return keras.Model({"age": age}, keras.layers.Dense(1)(hidden))


@pytest.mark.skipif(not INSTALLED, reason="needs tf2onnx and onnxruntime")
def test_an_onnx_file(tmp_path: Path) -> None:
    (artefact,) = export_student(gelu_student(), tmp_path, formats=["onnx"], task_type="regression", examples=ROWS)
    assert artefact.path == tmp_path / "onnx" / "student.onnx"
    assert artefact.max_difference < 1e-5


@pytest.mark.skipif(INSTALLED, reason="tf2onnx and onnxruntime are installed")
def test_missing_packages_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"onnx: the packages? .*(tf2onnx|onnxruntime).* not installed") as caught:
        export_student(gelu_student(), tmp_path, formats=["onnx"], task_type="regression", examples=ROWS)
    assert caught.value.hint == "pip install tf2onnx onnxruntime"
    assert list(tmp_path.iterdir()) == []
