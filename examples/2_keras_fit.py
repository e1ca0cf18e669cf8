"""The distillation graph under Keras's own `fit`, on arrays of your own.

python examples/2_keras_fit.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np

import tdspec

SPEC = """
version: 1
name: keras_fit
data: {source: npz, path: unused.npz}
task: {num_classes: 3}
teacher:
  backbone: {file: teacher.keras}
  input: {size: [8, 8], channels: 1}
  cut: {low: 1, high: 2}
student:
  backbone: {mlp: {units: [8, 8]}}
  input: {size: [8, 8], channels: 1}
  cut: {low: 1, high: 2}
"""


def main() -> None:
    """Compile a spec, load nothing from disk but the teacher, and fit."""
    folder = Path(tempfile.mkdtemp())
    dense = [keras.layers.Dense(32, activation="relu") for _ in range(2)]
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *dense]).save(folder / "teacher.keras")
    (folder / "spec.yaml").write_text(SPEC)

    distiller = tdspec.compile(folder / "spec.yaml")
    images = np.random.default_rng(0).integers(0, 256, (256, 8, 8, 1)).astype("uint8")
    labels = images.mean(axis=(1, 2, 3)).argsort().argsort() * 3 // 256
    history = distiller.fit({"image": images}, labels, batch_size=32, epochs=3, verbose=2)
    print({name: round(values[-1], 3) for name, values in history.history.items()})
    print("student alone:", distiller.predict({"image": images[:4]}, verbose=0).shape)


if __name__ == "__main__":
    main()
