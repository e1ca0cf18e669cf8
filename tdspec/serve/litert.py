"""Converts a SavedModel to LiteRT in a process of its own, since the converter may abort.

In: a SavedModel with the signature `serving_default`. Out: a .tflite file that needs no TensorFlow to run.
Leaves out: quantisation. Run by path:

    python -P litert.py SAVED_MODEL OUTPUT.tflite
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf


def main(arguments: list[str]) -> None:
    """Convert."""
    saved_model, output = arguments
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"])
    Path(output).write_bytes(converter.convert())


if __name__ == "__main__":
    main(sys.argv[1:])
