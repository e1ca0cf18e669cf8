"""Your own Keras model as the teacher, cut by the names of its layers.

python examples/4_own_teacher.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import keras

SPEC = """
version: 1
name: own_teacher
data: {source: digits, splits: {train: "all[:70%]", validation: "all[70%:80%]", test: "all[80%:]"}, batch_size: 64}
teacher:
  backbone: {file: teacher.keras}
  input: {size: [8, 8], channels: 1}
  cut: {low: first_block, high: second_block}
student:
  backbone: {mlp: {units: [16, 16]}}
  input: {size: [8, 8], channels: 1}
  cut: {low: 1, high: 2}
communication: {message: {dim: 16, positions: vector}}
train: {epochs: 3}
"""


def teacher() -> keras.Model:
    """A small convolutional model with a residual block; in earnest it would be trained."""
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="first_block")(image)
    branch = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="branch")(x)
    x = keras.layers.Add(name="second_block")([x, branch])
    return keras.Model(image, keras.layers.GlobalAveragePooling2D(name="pooled")(x))


def main() -> None:
    """Save a teacher, write a spec, and call tdspec."""
    folder = Path(tempfile.mkdtemp())
    teacher().save(folder / "teacher.keras")
    (folder / "spec.yaml").write_text(SPEC)
    for words in (["layers", "spec.yaml", "--side", "teacher"], ["train", "spec.yaml"]):
        subprocess.run([sys.executable, "-m", "tdspec", *words], cwd=folder, check=True)


if __name__ == "__main__":
    main()
