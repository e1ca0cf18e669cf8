"""Features are held against the signature before any kernel sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tdspec.serve.parity import FORBIDDEN, LOADERS, check_features, load_saved_model

EXPECTED = {"image": ([None, 8, 8, 1], "uint8")}


def test_features_that_fit() -> None:
    check_features({"image": np.zeros((3, 8, 8, 1), np.uint8)}, EXPECTED)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"image": np.zeros((1, 2), np.uint8)}, r"takes uint8 \[None, 8, 8, 1\], examples are uint8 \(1, 2\)"),
        ({"image": np.zeros((1, 8, 9, 1), np.uint8)}, r"examples are uint8 \(1, 8, 9, 1\)"),
        ({"image": np.zeros((1, 8, 8, 1), np.float32)}, "examples are float32"),
        ({"picture": np.zeros((1, 8, 8, 1), np.uint8)}, r"takes \['image'\], the student \['picture'\]"),
    ],
)
def test_features_that_do_not(features: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_features(features, EXPECTED)


def test_a_saved_model_is_called_by_names(tmp_path: Path) -> None:
    class Doubler(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="age")])
        def serve(self, age: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"twice": 2 * age}

    module = Doubler()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    run = load_saved_model(str(tmp_path))
    np.testing.assert_array_equal(run({"age": np.array([[1, 2]], np.float32)})["twice"], [[2, 4]])
    with pytest.raises(ValueError, match=r"takes float32 \[None, 2\]"):
        run({"age": np.array([1, 2], np.float32)})


def test_each_format_says_what_its_process_must_do_without() -> None:
    assert set(FORBIDDEN) == set(LOADERS)
    assert all("tdspec" in names for names in FORBIDDEN.values())
