"""A term of your own: a distance in Keras, the tensors it compares, a weight.

python examples/7_own_term.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

import tdspec

SPEC = """
version: 1
name: own_term
method: feature
data: {source: npz, path: unused.npz}
task: {num_classes: 3}
teacher:
  backbone: {file: teacher.keras}
  input: {size: [8, 8], channels: 1}
  cut: {low: 1, high: 2}
student:
  backbone: {mlp: {units: [8, 16]}}
  input: {size: [8, 8], channels: 1}
  cut: {low: 1, high: 2}
"""


def log_cosh(target: keras.KerasTensor, prediction: keras.KerasTensor) -> keras.KerasTensor:
    """Mean over features of log cosh (target - prediction)."""
    error = target - prediction
    # log cosh e = e + softplus(-2 e) - log 2
    return ops.mean(error + ops.softplus(-2 * error) - np.log(2), axis=-1)


def main() -> None:
    """Compile a spec with a term more than its method has, and fit."""
    folder = Path(tempfile.mkdtemp())
    dense = [keras.layers.Dense(units, activation="relu") for units in (32, 16)]
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *dense]).save(folder / "teacher.keras")
    (folder / "spec.yaml").write_text(SPEC)

    term = tdspec.Term("closeness", 0.5, "log_cosh", target=("teacher_high",), prediction=("student_high",))
    distiller = tdspec.compile(folder / "spec.yaml", terms=[term], distances={"log_cosh": log_cosh})
    images = np.random.default_rng(0).integers(0, 256, (256, 8, 8, 1)).astype("uint8")
    labels = images.mean(axis=(1, 2, 3)).argsort().argsort() * 3 // 256
    history = distiller.fit({"image": images}, labels, batch_size=32, epochs=3, verbose=2)
    print({name: round(values[-1], 3) for name, values in history.history.items()})

    plan = tdspec.plan(folder / "spec.yaml", terms=[term], distances={"log_cosh": log_cosh})
    print(plan["terms"][-1])


if __name__ == "__main__":
    main()
