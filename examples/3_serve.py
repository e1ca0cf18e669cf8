"""A student served by plain TensorFlow: neither Keras nor tdspec is imported.

python examples/3_serve.py runs/digits/20260101-120000-0
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf


def main(run: str) -> None:
    """Load the SavedModel of a run and call it with batches of two sizes."""
    served = tf.saved_model.load(str(Path(run) / "export" / "saved_model" / "1"))
    serve = served.signatures["serving_default"]
    _, inputs = serve.structured_input_signature
    for batch in (1, 5):
        features = {
            name: tf.zeros([batch, *(axis or 1 for axis in spec.shape[1:])], spec.dtype)
            for name, spec in inputs.items()
        }
        print({name: tuple(value.shape) for name, value in sorted(serve(**features).items())})


if __name__ == "__main__":
    main(sys.argv[1])
