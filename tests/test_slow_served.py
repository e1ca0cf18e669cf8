"""The exported student in a process that has TensorFlow and nothing else: no Keras, no tdspec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from run_support import Trained

CLIENT = """
import sys
sys.modules["keras"] = None      # an import of it would fail
import numpy as np
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
serve = served.signatures["serving_default"]
images = np.load(sys.argv[2])
for name, batch in (("all", images), ("one", images[:1])):
    answers = serve(image=tf.constant(batch))
    np.savez(sys.argv[3] + name, **{key: value.numpy() for key, value in answers.items()})
loaded = [module for module in sys.modules if module.split(".")[0] in ("tdspec", "keras_hub")]
assert not loaded, loaded
assert sys.modules["keras"] is None
"""


@pytest.mark.slow
def test_plain_tensorflow_serves_the_student(trained: Trained, tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (13, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    model = trained.run / "export" / "saved_model" / "1"
    call = [sys.executable, "-P", "-c", CLIENT, str(model), str(tmp_path / "images.npy"), f"{tmp_path}/"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    student = keras.models.load_model(trained.run / "student.keras", safe_mode=True)
    logits = student.predict({"image": images}, verbose=0)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for name, count in (("all", 13), ("one", 1)):
        with np.load(tmp_path / f"{name}.npz") as answers:
            assert set(answers) == {"logits", "probabilities"}
            np.testing.assert_allclose(answers["logits"], logits[:count], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(answers["probabilities"], chances[:count], rtol=1e-5, atol=1e-5)
