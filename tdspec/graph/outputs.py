"""Which of a backbone's outputs is the one.

In: the model of a backbone, and tensors it is called on. Out: the one tensor that a head stands on.
Leaves out: opening the model (`walk.py`), the head (`models.py`).
"""

from __future__ import annotations

from math import prod
from typing import Any

import keras

from tdspec.errors import GraphError
from tdspec.graph.reasons import first_sentence
from tdspec.graph.walk import nodes_between


def main_output(model: keras.Model, x: Any, *, kind: str) -> Any:
    """Call a backbone, and of what it gives choose what a head stands on and hidden layers lead to.

    That is the deepest of its outputs with positions: BERT's sequence_output, not the pooled_output; the last stage of
    a pyramid of feature maps. Deepest is what depends on the most nodes, then what has the fewest positions.

    Args:
        model: of a backbone, with one output or several.
        x: tensors in the structure of `model.input`.
        kind: what a person calls it.

    Raises:
        GraphError: it cannot take this size, or has several outputs and none of them with positions.
    """
    candidates = [tensor for tensor in model.outputs if len(tensor.shape) > 2]
    if len(model.outputs) > 1 and not candidates:
        raise GraphError(f"{kind} has several outputs, expected one")

    def depth(tensor: keras.KerasTensor) -> tuple[int, int]:
        return len(nodes_between(model.inputs, [tensor])), -prod(axis or 1 for axis in tensor.shape[1:-1])

    chosen = max(candidates or model.outputs, key=depth)
    size = " x ".join(str(axis) for axis in keras.tree.flatten(x)[0].shape[1:3])
    try:
        found = keras.tree.flatten(model(x))
    except ValueError as error:
        raise GraphError(
            f"{kind} cannot take an input of {size}: {first_sentence(error)}", "choose a larger input.size"
        ) from error
    output = next(new for old, new in zip(model.outputs, found, strict=True) if old is chosen)
    if 0 in output.shape:
        raise GraphError(f"{kind} cannot take an input of {size}: nothing is left of it", "choose a larger input.size")
    return output
