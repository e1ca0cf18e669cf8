"""A pure function and its gradient as two programs that hand little from the one to the other.

In: a function of tensors. Out: one that XLA runs in two programs, forward and backward, between which the terms of all
replicas are computed. TensorFlow's own gradient of a program hands over whatever any gradient formula reads: an
activation before and after its bias, what the gradients of frozen kernels would need. Here the backward program is
given what it cannot do without, and does cheap steps once more, within the operation that reads them.
Leaves out: functions with loops, whose gradients change the forward pass itself, and micro-batches (`accumulation.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tdspec.graph.programs import for_xla

Tensor = Any
# (trained values, other values, features) -> (tensors by name, others that change)
Function = Callable[..., tuple[Mapping[str, Tensor], list[Tensor]]]

VIEWS = frozenset({"Cast", "Const", "ExpandDims", "Identity", "Neg", "Reshape", "Squeeze", "StopGradient"})
ELEMENTWISE = frozenset({"Add", "AddV2", "BiasAdd", "Mul", "RealDiv", "Sub"})
# What is so much smaller than a result costs nothing to hand over.
SMALL = 8
# Of an axis that is not known.
SOME_SIZE = 64


class Uncuttable(Exception):
    """A function has a loop."""


@dataclass(frozen=True)
class Halves:
    """The two programs of a function of (trained values, other values, features).

    Attributes:
        names: of the tensors that it gives.
        differentiable: the numbers of those that depend on what is trained.
        num_changes: how many other values change.
        reached: the numbers of the trained values that a tensor depends on.
        forward: flat arguments -> tensors, changes, what is kept.
        backward: flat arguments, what is kept, gradients of the differentiable tensors -> gradients of `reached`.
    """

    names: tuple[str, ...]
    differentiable: tuple[int, ...]
    num_changes: int
    reached: tuple[int, ...]
    forward: Any
    backward: Any

    def __call__(
        self, trained: Sequence[Tensor], others: Sequence[Tensor], features: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """As the function; a tape sees its gradients with respect to the trained values."""
        rest = tf.nest.flatten((list(others), dict(features)))
        found: list[list[Tensor]] = []

        @tf.custom_gradient
        def of_trained(*values: Tensor) -> Any:
            # or the tape would ask for TensorFlow's own gradient of the forward program, too
            values = tuple(map(tf.stop_gradient, values))
            results = self.forward(*values, *rest)
            first, second = len(self.names), len(self.names) + self.num_changes
            tensors, kept = results[:first], results[second:]
            found[:] = [tensors, results[first:second]]

            def gradient(*upstream: Tensor) -> list[Tensor | None]:
                by_number = dict(zip(self.reached, self.backward(*values, *rest, *kept, *upstream), strict=True))
                return [by_number.get(number) for number in range(len(values))]

            return [tensors[number] for number in self.differentiable], gradient

        with_gradient = of_trained(*trained)
        tensors, changes = found
        for number, tensor in zip(self.differentiable, with_gradient, strict=True):
            tensors[number] = tensor
        return dict(zip(self.names, tensors, strict=True)), changes


class _Traced:
    """The graph of a function and of its gradient, before it is cut."""

    def __init__(self, function: Function, arguments: Any):
        described = tf.nest.flatten(arguments)
        num_trained = len(arguments[0])

        def whole(*flat: Tensor) -> list[Tensor]:
            with for_xla():
                tensors, self.changes = function(*tf.nest.pack_sequence_as(arguments, flat))
                self.names, self.tensors = tuple(tensors), list(tensors.values())
                self.arguments = list(flat)
                self.forward = frozenset(tf.compat.v1.get_default_graph().get_operations())
                if any("While" in operation.type for operation in self.forward):
                    raise Uncuttable
                self.upstream = [tf.compat.v1.placeholder(tensor.dtype, tensor.shape) for tensor in self.tensors]
                found = tf.gradients(self.tensors, flat[:num_trained], self.upstream)
                self.gradients = [None if each is None else tf.convert_to_tensor(each) for each in found]
            return []

        self.wrapped = tf.compat.v1.wrap_function(whole, described)
        self.captured = {id(tensor) for tensor in self.wrapped.graph.internal_captures}
        self.kept, self.read = self._cut()

    def _cut(self) -> tuple[list[Tensor], frozenset[int]]:
        """(what the backward program is given of the forward one, which arguments and upstream gradients it reads)."""
        given = {id(tensor) for tensor in (*self.arguments, *self.upstream)}
        kept: dict[int, Tensor] = {}
        seen: set[int] = set()
        waiting = [gradient for gradient in self.gradients if gradient is not None]
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if id(tensor) in given or id(tensor) in self.captured:
                continue
            if tensor.op in self.forward and not _is_cheap(tensor.op):
                kept[id(tensor)] = tensor
            else:
                waiting += tensor.op.inputs
        return list(kept.values()), frozenset(seen & given)


def in_halves(function: Function, arguments: Any) -> Halves:
    """Cut a function and its gradient in two.

    Args:
        function: (trained values, other values, features) -> (tensors by name, values that change); no variable is
            touched.
        arguments: three groups of `tf.TensorSpec`s.

    Raises:
        Uncuttable: it has a loop.
    """
    traced = _Traced(function, arguments)
    differentiable = tuple(n for n, tensor in enumerate(traced.upstream) if id(tensor) in traced.read)
    reached = tuple(n for n, gradient in enumerate(traced.gradients) if gradient is not None)
    forward = _compiled(traced, traced.arguments, [*traced.tensors, *traced.changes, *traced.kept])
    upstream = [traced.upstream[number] for number in differentiable]
    gradients = [traced.gradients[number] for number in reached]
    backward = _compiled(traced, [*traced.arguments, *traced.kept, *upstream], gradients)
    return Halves(traced.names, differentiable, len(traced.changes), reached, forward, backward)


def _compiled(traced: _Traced, feeds: Sequence[Tensor], fetches: Sequence[Tensor]) -> Any:
    """The part of a graph that leads from feeds to fetches, as a program of XLA."""
    part = traced.wrapped.prune(list(feeds), list(fetches))
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in feeds]
    return tf.function(lambda *flat: list(part(*flat)), signature, autograph=False, jit_compile=True)


def _is_cheap(operation: tf.Operation) -> bool:
    """Whether to do it again costs no more than to read what it gave: it reads one large tensor, and adds nothing."""
    if operation.type in VIEWS:
        return True
    if operation.type not in ELEMENTWISE:
        return False
    sizes = sorted(_bytes(tensor) for tensor in operation.inputs)
    return all(size * SMALL <= _bytes(operation.outputs[0]) for size in sizes[:-1])


def _bytes(tensor: Tensor) -> int:
    shape = tensor.shape
    return tensor.dtype.size * math.prod(SOME_SIZE if axis is None else axis for axis in shape) if shape.rank else 1
