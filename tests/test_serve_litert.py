"""A LiteRT file answers as the student does, for batches of any size."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tdspec.serve.export import export_student
from tdspec.serve.parity import load_litert


def test_a_litert_file(tmp_path: Path) -> None:
    age = keras.Input((2,), name="age")
    student = keras.Model({"age": age}, keras.layers.Dense(1, name="head")(age))
    rows = {"age": np.random.default_rng(0).normal(size=(5, 2)).astype("float32")}
    formats = ["saved_model", "litert"]
    first, artefact = export_student(student, tmp_path, formats=formats, task_type="binary", examples=rows)
    assert (first.path / "saved_model.pb").exists()
    assert artefact.path == tmp_path / "litert" / "student.tflite"
    kernel, bias = student.get_layer("head").get_weights()
    run = load_litert(str(artefact.path))
    for count in (5, 1, 3):
        answer = run({"age": rows["age"][:count]})
        logits = rows["age"][:count] @ kernel + bias
        np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)
        np.testing.assert_allclose(answer["probabilities"], 1 / (1 + np.exp(-logits)), atol=1e-5)
