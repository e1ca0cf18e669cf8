"""A model that runs in inference mode only, without its BatchNormalizations: each becomes part of the layer before it.

So does a ZeroPadding2D that a convolution would do itself.

In: a functional model. Out: the same function of the same weights with fewer passes over its activations.
The kernels are folded when the model runs, not once and for all: they are small beside activations, and nothing is
stale when weights are loaded or trained. Measured by `tests/benchmarks/folding.py`.
Leaves out: dropout, which inference mode leaves out already; query, key and value as one product (`attention.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tdspec.graph.walk import Node, is_functional, nodes_of, replayed

Tensor = Any


def _dense(layer: keras.layers.Dense, x: Tensor, kernel: Tensor, pads: bool) -> Tensor:
    return ops.matmul(x, kernel)


def _convolution(layer: keras.layers.Conv2D, x: Tensor, kernel: Tensor, pads: bool) -> Tensor:
    return ops.conv(x, kernel, **_over_images(layer, pads))


def _depthwise(layer: keras.layers.DepthwiseConv2D, x: Tensor, kernel: Tensor, pads: bool) -> Tensor:
    return ops.depthwise_conv(x, kernel, **_over_images(layer, pads))


def _over_images(layer: Any, pads: bool) -> dict[str, Any]:
    padding = "same" if pads else layer.padding
    return {"strides": layer.strides, "padding": padding, "dilation_rate": layer.dilation_rate}


# Of exactly these classes: how the product with another kernel is computed.
PRODUCTS = {
    keras.layers.Dense: _dense,
    keras.layers.Conv2D: _convolution,
    keras.layers.DepthwiseConv2D: _depthwise,
}


class Folded(keras.layers.Layer):
    """A linear layer and the BatchNormalization behind it, in inference mode, as one linear layer.

    gamma (W x + b - mean) / sqrt(variance + epsilon) + beta = (scale W) x + scale (b - mean) + beta
    with scale = gamma / sqrt(variance + epsilon).

    Args:
        linear: of a class in PRODUCTS, without an activation.
        norm: over the last axis.
        pads: whether a convolution is to pad its inputs, so that their size stays; else as it does.
    """

    def __init__(self, linear: keras.layers.Layer, norm: keras.layers.BatchNormalization, *, pads: bool):
        # float32 until the kernel is folded; the inputs come as the layer before gives them
        super().__init__(autocast=False, dtype="float32", name=f"{linear.name}_with_{norm.name}")
        self.linear, self.norm, self.pads = linear, norm, pads

    def call(self, inputs: Tensor) -> Tensor:
        linear, norm, dtype = self.linear, self.norm, self.linear.compute_dtype
        scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
        if norm.scale:
            scale = scale * norm.gamma
        shift = -norm.moving_mean * scale
        if linear.use_bias:
            shift = shift + linear.bias * scale
        if norm.center:
            shift = shift + norm.beta
        kernel = linear.kernel
        # a depthwise kernel ends with (channels, multiplier), which make the last axis of the output
        factors = ops.reshape(scale, kernel.shape[2:]) if type(linear) is keras.layers.DepthwiseConv2D else scale
        kernel = ops.cast(kernel * factors, dtype)
        return PRODUCTS[type(linear)](linear, ops.cast(inputs, dtype), kernel, self.pads) + ops.cast(shift, dtype)

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        if self.pads:
            shape = (*inputs.shape[:-1], *self.norm.moving_mean.shape)
        else:
            shape = self.linear.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, dtype=self.linear.compute_dtype)


def folded(model: keras.Model) -> keras.Model:
    """The same model in inference mode, weights shared; itself where there is nothing to fold.

    Args:
        model: a functional model; models inside it are folded too.
    """
    followed = list(_followed(model))
    norms = _norms(followed)
    pads = _pads(followed, norms)
    left_out = {id(layer) for layer in (*norms.values(), *pads.values())}
    # models inside stay models, since their layers may have the names of others; each once, wherever it is called
    nested = {id(node.operation): node.operation for node in nodes_of(model) if is_functional(node.operation)}
    inside = {key: folded(operation) for key, operation in nested.items()}
    if not norms and all(inside[key] is operation for key, operation in nested.items()):
        return model

    def invoke(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        if id(operation) in norms:
            return Folded(operation, norms[id(operation)], pads=id(operation) in pads)(*args)
        if id(operation) in left_out:
            return args[0]
        return inside.get(id(operation), operation)(*args, **kwargs)

    entries = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name) for tensor in model.inputs]
    inputs = keras.tree.pack_sequence_as(model.input, entries)
    return keras.Model(inputs, replayed(model, inputs, invoke), name=model.name)


def _followed(model: keras.Model) -> Iterator[tuple[Node, Node]]:
    """Calls of two operations such that the second alone reads what the first gives; neither is called again."""
    nodes = nodes_of(model)
    calls = Counter(id(node.operation) for node in nodes)
    reads = Counter(tensor for node in nodes for tensor in node.inputs)
    reads.update(id(tensor) for tensor in model.outputs)
    maker = {output: node for node in nodes for output in node.outputs}
    for node in nodes:
        if calls[id(node.operation)] == 1 and len(node.inputs) == 1:
            before = maker[node.inputs[0]]
            if calls[id(before.operation)] == 1 and reads[node.inputs[0]] == 1:
                yield before, node


def _norms(followed: Sequence[tuple[Node, Node]]) -> Mapping[int, keras.layers.BatchNormalization]:
    """By the id of a linear layer, the BatchNormalization that alone reads what it gives."""
    return {id(before.operation): node.operation for before, node in followed if _fit(before, node)}


def _pads(followed: Sequence[tuple[Node, Node]], linear: Collection[int]) -> Mapping[int, keras.layers.ZeroPadding2D]:
    """By the id of a convolution among `linear`, the ZeroPadding2D before it that it can do itself."""
    return {
        id(node.operation): before.operation
        for before, node in followed
        if id(node.operation) in linear
        and type(before.operation) is keras.layers.ZeroPadding2D
        and before.operation.data_format == "channels_last"
        and type(node.operation) is not keras.layers.Dense
        and _is_same(node.operation, before.operation.padding)
    }


def _is_same(layer: Any, padding: Any) -> bool:
    """Whether a convolution of images so padded is one with padding "same": half an odd kernel, and every pixel."""
    half = tuple((size // 2, size // 2) for size in layer.kernel_size)
    odd = all(size % 2 for size in layer.kernel_size)
    steps = {*layer.strides, *layer.dilation_rate}
    return layer.padding == "valid" and odd and steps == {1} and tuple(map(tuple, padding)) == half


def _fit(before: Node, node: Node) -> bool:
    layer, norm = before.operation, node.operation
    if type(norm) is not keras.layers.BatchNormalization or type(layer) not in PRODUCTS:
        return False
    channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    last = norm.axis in (-1, len(node.tensors[0].shape) - 1)
    return layer.activation is keras.activations.linear and channels_last and last
