"""Floating point operations, counted on the TensorFlow operations that a functional model becomes.

In: a functional model, with or without weights, or a graph. Out: FLOPs an example by node, or of the graph by type of
operation; a multiply-add is two.
Leaves out: element-wise work; counted are matrix products, convolutions and einsums, which is where the time goes.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from functools import partial
from math import prod
from typing import Any

import keras
import tensorflow as tf

from tdspec.graph.repeats import Repeats
from tdspec.graph.walk import nodes_of


def _shape(tensor: Any) -> list[int]:
    return [1 if axis is None else int(axis) for axis in tensor.shape]


def _matmul(op: tf.Operation) -> int:
    a, transposed = _shape(op.inputs[0]), op.get_attr("transpose_a")
    return 2 * prod(_shape(op.outputs[0])) * a[-2 if transposed else -1]


def _batch_matmul(op: tf.Operation) -> int:
    a, transposed = _shape(op.inputs[0]), op.get_attr("adj_x")
    return 2 * prod(_shape(op.outputs[0])) * a[-2 if transposed else -1]


def _convolution(op: tf.Operation) -> int:
    kernel = _shape(op.inputs[1])
    return 2 * prod(_shape(op.outputs[0])) * prod(kernel[:-1])


def _convolution_to_inputs(op: tf.Operation) -> int:
    """A convolution transposed, which is also the gradient of one to its inputs."""
    _, kernel, outputs = map(_shape, op.inputs)
    return 2 * prod(outputs) * prod(kernel[:-1])


def _convolution_to_kernel(op: tf.Operation) -> int:
    """The gradient of a convolution to its kernel."""
    return 2 * prod(_shape(op.inputs[2])) * prod(_shape(op.outputs[0])[:-1])


def _depthwise(op: tf.Operation) -> int:
    height, width, _, _ = _shape(op.inputs[1])
    return 2 * prod(_shape(op.outputs[0])) * height * width


def _einsum(op: tf.Operation) -> int:
    """Each number of the output is a sum over the letters that it does not have."""
    read, _, made = op.get_attr("equation").decode().partition("->")
    summed: dict[str, int] = {}
    for letters, tensor in zip(read.split(","), op.inputs, strict=True):
        # "..." stands for any number of axes
        front, _, back = letters.partition("...")
        shape = _shape(tensor)
        ends = shape[len(shape) - len(back) :]
        summed |= {letter: axis for letter, axis in zip(front + back, shape[: len(front)] + ends, strict=True)}
    return 2 * prod(_shape(op.outputs[0])) * prod(axis for letter, axis in summed.items() if letter not in made)


Counters = dict[str, Callable[[tf.Operation], int]]
CONVOLUTIONS: Counters = {
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "Conv2DBackpropInput": _convolution_to_inputs,
    "Conv2DBackpropFilter": _convolution_to_kernel,
    "Conv3D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
}
PRODUCTS: Counters = {
    "MatMul": _matmul,
    "BatchMatMulV2": _batch_matmul,
    "BatchMatMulV3": _batch_matmul,
    "Einsum": _einsum,
}
COUNTERS = CONVOLUTIONS | PRODUCTS


# What a tf.function leaves in the graph that calls it: Keras runs grouped convolutions in one.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def flops_by_type(operations: Iterable[tf.Operation]) -> collections.Counter[str]:
    """FLOPs of operations and of the functions that they call, by type.

    A size that is not known counts as 1, and an operation on tensors of unknown rank not at all.
    """
    found: collections.Counter[str] = collections.Counter()
    for op in operations:
        if op.type in _CALLS:
            called = op.graph._get_function(op.get_attr("f").name).graph
            found.update(flops_by_type(called.get_operations()))
        elif op.type in COUNTERS and all(tensor.shape.rank is not None for tensor in (*op.inputs, *op.outputs)):
            found[op.type] += COUNTERS[op.type](op)
    return found


def count_flops(model: keras.Model) -> tuple[int, ...]:
    """FLOPs of one example at each node of `nodes_of(model)`.

    No weight needs to exist: placeholders stand for the variables while the model is traced.

    Args:
        model: a functional model; inputs of unknown size count as size 1.

    Returns:
        One count a node, in the order of `nodes_of`.
    """
    nodes = nodes_of(model)
    counts: list[int] = []
    repeats = Repeats()

    def counted(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())

        def count() -> int:
            return flops_by_type(graph.get_operations()[before:]).total()

        result, flops = repeats.run(operation, partial(operation, *args, **kwargs), (args, kwargs), count)
        counts.append(flops)
        return result

    def traced(weights: list[Any], inputs: list[Any]) -> None:
        # TensorFlow may trace a function twice; only the last trace counts.
        counts.clear()
        pairs = list(zip(model.variables, weights, strict=True))
        # Leaving such a scope would otherwise allocate every weight that has none yet.
        with keras.StatelessScope(state_mapping=pairs, initialize_variables=False):
            values = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
            for node in nodes:
                if all(output in values for output in node.outputs):
                    counts.append(0)
                else:
                    values.update(zip(node.outputs, node.call(values, counted), strict=True))

    weights = [tf.TensorSpec(variable.shape, variable.dtype) for variable in model.variables]
    inputs = [tf.TensorSpec((1, *(axis or 1 for axis in tensor.shape[1:])), tensor.dtype) for tensor in model.inputs]
    tf.function(traced, autograph=False).get_concrete_function(weights, inputs)
    return tuple(counts)
