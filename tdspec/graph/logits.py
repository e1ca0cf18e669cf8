"""What stands behind a teacher's own output: probabilities become logits, its classes become the student's.

In: a `WholeModel` whose prediction is the backbone's own output. Out: the same with a small layer without weights
behind it. Leaves out: heads with weights (`models.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from tdspec.errors import GraphError
from tdspec.graph.models import WholeModel
from tdspec.graph.walk import functional, nodes_of

# Below it a probability counts as this: the least that float32 holds with full precision is 1.2e-38.
LEAST_PROBABILITY = 1e-30


class LogitsOfProbabilities(keras.layers.Layer):
    """log p of softmax's output, logit p = log p - log (1 - p) of sigmoid's.

    Args:
        activation: "softmax" or "sigmoid".
    """

    def __init__(self, activation: str, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.activation = activation

    def call(self, inputs: Any) -> Any:
        logits = ops.log(ops.maximum(inputs, LEAST_PROBABILITY))
        if self.activation == "softmax":
            return logits
        # 1 - p is exact only down to float32's epsilon
        return logits - ops.log(ops.maximum(1.0 - inputs, keras.config.epsilon()))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape stays."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return {**super().get_config(), "activation": self.activation}


class ClassMap(keras.layers.Layer):
    """Logits of other classes: each is the log of the summed exp of a group, so that probabilities add up.

    Args:
        groups: for each new class the old classes it is made of.
    """

    def __init__(self, groups: Sequence[Sequence[int]], **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.groups = [list(group) for group in groups]

    def call(self, inputs: Any) -> Any:
        # (batch, old classes) -> (batch, new classes): z'_i = log sum over j in group i of exp z_j
        merged = [ops.logsumexp(ops.take(inputs, group, axis=-1), axis=-1) for group in self.groups]
        return ops.stack(merged, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One logit a group."""
        return (*input_shape[:-1], len(self.groups))

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return {**super().get_config(), "groups": self.groups}


def _behind(whole: WholeModel, layer: keras.layers.Layer) -> WholeModel:
    """The model with one more layer at its end, in both views."""
    model, graph = (functional(view.input, layer(view.output), name=view.name) for view in (whole.model, whole.graph))
    return replace(whole, model=model, graph=graph)


def with_logits(whole: WholeModel) -> WholeModel:
    """A model that predicts logits, where its last layer would say probabilities (softmax, sigmoid)."""
    last = nodes_of(whole.graph)[-1].operation
    own = getattr(last, "activation", None)
    names = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
    kind = "softmax" if isinstance(last, keras.layers.Softmax) else names.get(own)
    return whole if kind is None else _behind(whole, LogitsOfProbabilities(kind, name="logits"))


def with_classes(whole: WholeModel, class_map: Sequence[int | Sequence[int]], num_classes: int) -> WholeModel:
    """A model that predicts the student's classes instead of its own.

    Args:
        whole: predicts logits (batch, its classes).
        class_map: for each class of the student a class of `whole`, or several.
        num_classes: of the student.

    Raises:
        GraphError: an entry for each class is missing, or there is no such class.
    """
    groups = [(item,) if isinstance(item, int) else tuple(item) for item in class_map]
    theirs = int(whole.model.output.shape[-1])
    if len(groups) != num_classes:
        hint = "an entry is a class of the teacher, or a list of several"
        raise GraphError(f"found a list of {len(groups)}, expected {num_classes}, one for each class", hint)
    largest = max(max(group) for group in groups)
    if largest >= theirs:
        raise GraphError(f"found class {largest}, expected a number from 0 to {theirs - 1}: the teacher's classes")
    return _behind(whole, ClassMap(groups, name="class_map"))
