"""Functions as programs of XLA.

In: a function of tensors and what describes them. Out: a program, or why XLA is not for it.
Leaves out: which part of a step is a program (`step.py`).
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tdspec.graph.activations import by_erf
from tdspec.graph.attention import by_one_product
from tdspec.graph.draws import by_philox
from tdspec.graph.flops import CONVOLUTIONS, flops_by_type
from tdspec.graph.reasons import first_sentence
from tdspec.graph.resizing import by_products

Tensor = Any
Program = Callable[..., Any]
# A size that is not known when a model is tried: any will do.
SOME_SIZE = 2
# Operations that XLA's code for a CPU takes 25 to 40 times as long for as TensorFlow's own, measured at the sizes of an
# EfficientNet; a step of specs/cifar10_efficientnet.yaml took 10 s instead of 0.8 s.
SLOW_ON_CPU = frozenset({"DepthwiseConv2dNative"})
# Of the FLOPs of a program; an image transformer's patches take 1 to 3 %. With a ResNet XLA is no faster, and 3.5 times
# slower where states become smaller than a kernel (tests/benchmarks/jit.py of cifar10_efficientnet, method scratch).
MOST_CONVOLUTIONS = 0.1

# How XLA names the operation that it does not know.
UNKNOWN_OPERATION = re.compile(r"unsupported operations[^:]*: (\w+) \(")


class Unfit(Exception):
    """XLA is not for a function: it cannot compile it, or is slow."""


@dataclass(frozen=True)
class Lowered:
    """A program that XLA has translated.

    Attributes:
        run: takes its arguments as a flat list.
        operations: the types of TensorFlow's operations in it.
        flops: by type; those within a loop are not counted.
    """

    run: Program
    operations: frozenset[str]
    flops: Counter[str]

    def __call__(self, *values: Any) -> Any:
        return self.run(*tf.nest.flatten(values))


@contextlib.contextmanager
def for_xla() -> Iterator[None]:
    """While a graph is traced, what XLA is to compute otherwise than TensorFlow."""
    with by_philox(), by_products(), by_erf(), by_one_product():
        yield


def _with_known_shape(spec: tf.TensorSpec, size: int) -> tf.TensorSpec:
    return tf.TensorSpec([size if axis is None else axis for axis in spec.shape], spec.dtype)


def lowered(
    function: Callable[..., Any], arguments: Any, size: int = SOME_SIZE, *, where_faster: bool = False
) -> Lowered:
    """A function of arguments as described, to be compiled by XLA when it first runs; here XLA only translates it.

    Args:
        function: of tensors.
        arguments: its tensors, or `tf.TensorSpec`s.
        size: of an axis that is not known.
        where_faster: without a GPU, XLA is not for what it is slow with.

    Raises:
        Unfit: XLA cannot, or is not to; the message says why.
    """
    described = tf.nest.flatten(arguments)
    compiled = on_flat(function, arguments)
    known = [_with_known_shape(spec, size) for spec in described]
    translate = compiled.experimental_get_compiler_ir(*known)
    try:
        translate(stage="hlo")
    except (tf.errors.OpError, ValueError) as error:
        unknown = UNKNOWN_OPERATION.search(str(error))
        reason = f"it does not know {unknown[1]}" if unknown else first_sentence(error)
        raise Unfit(f"XLA cannot compile the model: {reason}") from error
    graph = compiled.get_concrete_function(*known).graph
    program = Lowered(
        compiled.get_concrete_function(*described), _operations(graph), flops_by_type(graph.get_operations())
    )
    if where_faster and not on_gpu():
        _check_faster(program)
    return program


def on_gpu() -> bool:
    """Whether programs run on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def _check_faster(program: Lowered) -> None:
    """Raise an `Unfit` where XLA's code for a CPU is known to be slow."""
    slow = sorted(SLOW_ON_CPU & program.operations)
    if slow:
        raise Unfit(f"on a CPU XLA is many times slower with {', '.join(slow)} (jit: on uses it all the same)")
    share = sum(program.flops[name] for name in CONVOLUTIONS) / max(program.flops.total(), 1)
    if share > MOST_CONVOLUTIONS:
        told = f"{share:.0%} of its FLOPs are convolutions"
        raise Unfit(f"{told}, with which XLA is no faster on a CPU, or slower (jit: on uses it all the same)")


def _operations(graph: tf.Graph) -> frozenset[str]:
    """The types of all operations of a graph and of the functions that it calls."""
    definition = graph.as_graph_def()
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return frozenset(node.op for body in bodies for node in body)


def on_flat(function: Callable[..., Any], arguments: Any) -> Any:
    """A function compiled by XLA that takes its arguments as a flat list."""

    def flat(*tensors: Tensor) -> Any:
        with for_xla():
            return function(*tf.nest.pack_sequence_as(arguments, tensors))

    return tf.function(flat, autograph=False, jit_compile=True)
