"""Converts a SavedModel to ONNX with tf2onnx in a process of its own.

In: a SavedModel with the signature `serving_default`. Out: an .onnx file with the same names of inputs and outputs.
Leaves out: quantisation, external data. Run by path:

    python -P onnx_conversion.py SAVED_MODEL OUTPUT.onnx
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from tf2onnx import convert
from tf2onnx.handler import tf_op

OPSET = 18


@tf_op("Erfc")
class Erfc:
    """erfc(x) = 1 - erf(x), which tf2onnx lacks: TensorFlow's exact GELU, so every ViT, is made of it."""

    @classmethod
    def version_9(cls, ctx: Any, node: Any, **options: Any) -> None:
        """Replace the node by two that ONNX has."""
        dtype = ctx.get_dtype(node.output[0])
        shape = ctx.get_shape(node.output[0])
        one = ctx.make_const(f"{node.name}_one", np.ones((), np.float32))
        ctx.remove_node(node.name)
        erf = ctx.make_node("Erf", [node.input[0]], name=f"{node.name}_erf")
        ctx.make_node(
            "Sub", [one.output[0], erf.output[0]], name=node.name, outputs=node.output, shapes=[shape], dtypes=[dtype]
        )


def main(arguments: list[str]) -> None:
    """Convert."""
    saved_model, output = arguments
    options = ["--opset", str(OPSET), "--tag", "serve", "--signature_def", "serving_default"]
    sys.argv = ["tf2onnx", "--saved-model", saved_model, "--output", output, *options]
    convert.main()


if __name__ == "__main__":
    main(sys.argv[1:])
