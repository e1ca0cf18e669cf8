"""GELU inside XLA by erf, as tdspec's step computes it, over TensorFlow's by erfc: python tests/benchmarks/gelu.py

In: nothing. Out: one line of JSON: the ratio of times, forward and with the gradient, on 1,088 x 512 numbers (64
examples of 17 tokens); medians over rounds that take turns.
Leaves out: whether both are equal (`test_graph_activations.py`).
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tdspec.graph.programs import on_flat

SHAPE, REPEATS, ROUNDS = (1088, 512), 20, 15


def forward(x: Any) -> Any:
    """The activation."""
    return tf.nn.gelu(x)


def gradient(x: Any) -> Any:
    """Its gradient."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.nn.gelu(x)
    return tape.gradient(y, x)


def seconds(program: Callable[[Any], Any], x: Any) -> float:
    """Of some runs, each on what the last one gave."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        x = program(x)
    x.numpy()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    x = tf.random.stateless_normal(SHAPE, (0, 1))
    found = {}
    for function in (forward, gradient):
        pair = (on_flat(function, (x,)), tf.function(function, jit_compile=True, autograph=False))
        for program in pair:
            seconds(program, x)
        times = [[seconds(program, x) for program in pair] for _ in range(ROUNDS)]
        found[function.__name__] = round(statistics.median(ours / theirs for ours, theirs in times), 3)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
