"""Which algorithm draws random numbers inside an XLA program.

In: nothing. Out: a context in which TensorFlow's stateless functions, which Keras's layers call, draw by Philox.
Left to choose, XLA takes for a processor a generator that was measured 40 times slower than its own Philox
(`tests/benchmarks/draws.py`). Outside XLA TensorFlow draws by Philox already.
Leaves out: seeds, which are Keras's.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import tensorflow as tf

from tdspec.graph.replacing import replaced

ALGORITHM = "philox"
# Module, function, the word by which it takes an algorithm.
FUNCTIONS = (
    (tf.random, "stateless_uniform", "alg"),
    (tf.random, "stateless_normal", "alg"),
    (tf.random, "stateless_truncated_normal", "alg"),
    (tf.nn.experimental, "stateless_dropout", "rng_alg"),
)


@contextlib.contextmanager
def by_philox() -> Iterator[None]:
    """While a graph is traced, whoever names no algorithm gets Philox."""
    with contextlib.ExitStack() as stack:
        for module, name, word in FUNCTIONS:
            function = getattr(module, name)
            stack.enter_context(replaced(module, name, functools.partial(function, **{word: ALGORITHM})))
        yield
