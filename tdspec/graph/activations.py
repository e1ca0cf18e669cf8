"""How GELU is computed inside an XLA program.

In: nothing. Out: a context in which `tf.nn.gelu`, which Keras's layers call, is x (1 + erf(x / sqrt 2)) / 2.
TensorFlow's erfc takes XLA 1.4 times as long on a CPU (`tests/benchmarks/gelu.py`). For large negative x, where GELU is
nearly 0, erf loses digits that erfc keeps: at most 1e-7 |x| in float32.
Leaves out: the approximation by tanh, and lower precision than float32, which stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import tensorflow as tf

from tdspec.graph.replacing import replaced


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
    return 0.5 * features * (1.0 + tf.math.erf(features * 0.5**0.5))
