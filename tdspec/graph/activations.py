"""How GELU is computed inside an XLA program.

In: nothing. Out: a context in which `tf.nn.gelu`, which Keras's layers call, is x (1 + erf(x / sqrt 2)) / 2.
TensorFlow's erfc takes XLA 1.4 times as long on a CPU (`tests/benchmarks/gelu.py`). For large negative x, where GELU is
nearly 0, erf loses digits that erfc keeps: at most 1e-7 |x| in float32.
Leaves out: the approximation by tanh, and lower precision than float32, which stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import tensorflow as tf

from tdspec.graph.replacing import replaced

GELU_GRADIENT = "TdspecGeluByErf"


@contextmanager
def by_erf() -> Iterator[None]:
    """While a graph is traced, GELU in float32 is computed by erf."""
    with replaced(tf.nn, "gelu", partial(_gelu, tf.nn.gelu)):
        yield


def _gelu(plain: Callable[..., Any], features: Any, approximate: bool = False, **options: Any) -> Any:
    """As `tf.nn.gelu`, which this falls back to."""
    features = tf.convert_to_tensor(features)
    if approximate or features.dtype != tf.float32:
        return plain(features, approximate=approximate, **options)
    distribution = _distribution(features)
    with tf.compat.v1.get_default_graph().gradient_override_map({"Mul": GELU_GRADIENT}):
        return features * distribution


def _distribution(x: Any) -> Any:
    """The standard normal's."""
    return 0.5 * (1.0 + tf.math.erf(x * 0.5**0.5))


@tf.RegisterGradient(GELU_GRADIENT)
def _gradient(operation: tf.Operation, upstream: Any) -> tuple[Any, None]:
    """Of x P(x) by x: P(x) + x p(x), where P and p are the standard normal's distribution and density.

    The gradient that TensorFlow derives keeps five tensors of the size of x for the backward pass, this one x alone.
    """
    x = operation.inputs[0]
    density = tf.exp(-0.5 * tf.square(x)) * (2.0 * math.pi) ** -0.5
    return upstream * (_distribution(x) + x * density), None
