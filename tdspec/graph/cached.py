"""What of the teacher does not change over a training run, and so can be computed once and kept.

In: a cut teacher. Out: inputs that stand in for its states and prediction on the data; the model that computes them.
Leaves out: computing, keeping and reading them (`run/teacher_cache.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tdspec.graph.methods import Conversation, Side
from tdspec.graph.walk import nodes_between

# The teacher's tensors on the data; those of an iteration depend on the student.
KEPT = ("teacher_low", "teacher_high", "teacher_prediction")


def stand_ins(teacher: Any, dtype: str) -> dict[str, keras.KerasTensor]:
    """Inputs for all that could be kept of a teacher, by name.

    Args:
        teacher: a `Side`, or the whole model where it is not cut.
        dtype: in which values are kept.
    """
    if isinstance(teacher, Side):
        parts = (teacher.segments.lower, teacher.segments.middle, teacher.segments.upper)
        outputs = dict(zip(KEPT, (part.output for part in parts), strict=True))
    else:
        outputs = {KEPT[-1]: teacher.output}
    return {name: keras.Input(output.shape[1:], dtype=dtype, name=name) for name, output in outputs.items()}


def read_inputs(
    inputs: Mapping[str, keras.KerasTensor], tensors: Mapping[str, keras.KerasTensor], always: Sequence[str]
) -> dict[str, keras.KerasTensor]:
    """Those of the inputs on which some of the tensors depend, and those that are read always."""
    nodes = nodes_between(list(inputs.values()), list(tensors.values()))
    reached = {tensor for node in nodes for tensor in node.outputs}
    return {name: tensor for name, tensor in inputs.items() if name in always or id(tensor) in reached}


def states_model(teacher: Any, inputs: Mapping[str, keras.KerasTensor], names: Sequence[str]) -> keras.Model:
    """The model from the data to what is kept, float32, exactly as a training step would compute it.

    Args:
        teacher: a `Side`, or the whole model where it is not cut.
        inputs: what the teacher reads, by name.
        names: of KEPT.
    """
    fresh = {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in inputs.items()}
    talk = Conversation(fresh, None, teacher, teacher_asks_itself=False)
    return keras.Model(fresh, {name: ops.cast(talk[name], "float32") for name in names}, name="teacher_states")
