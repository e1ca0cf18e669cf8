"""Seconds of computations that take turns, so that whatever else the machine does troubles all of them alike.

In: functions of a number of steps. Out: seconds a step, round by round; the best rate of a matrix product.
Leaves out: what is measured (`bench_parts.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import tensorflow as tf

from tdspec.graph.programs import on_flat
from tdspec.run.bench_parts import Part

# Runs so many steps and returns when all are done.
Run = Callable[[int], None]
SECONDS_PER_CALL = 0.25
MOST_STEPS_PER_CALL = 500
ROUNDS, FEW_ROUNDS = 7, 3
# A step of more seconds is measured in few rounds.
SLOW = 2.0
PRODUCT_SIZES = (512, 1024, 2048, 4096)
PRODUCT_REPEATS = 5
# Larger products are not tried once one takes as long.
SECONDS_PER_PRODUCT = 0.02


@dataclass(frozen=True)
class Timed:
    """Seconds a step of one computation: one number a round, each the mean of `steps` steps."""

    steps: int
    seconds: tuple[float, ...]


def _nothing(steps: int) -> None:
    pass


@dataclass(frozen=True)
class Computation:
    """What is timed.

    Attributes:
        run: runs so many steps.
        before: called with their number before each timed run, and not timed itself.
    """

    run: Run
    before: Run = _nothing


def computation_of(part: Part, *, xla: bool) -> Computation:
    """A part as one graph of many steps, compiled as the training step is."""
    given = (tf.zeros(()), part.arguments)
    flat = tf.nest.flatten(part.arguments)
    if xla:
        program = on_flat(part.run, given)
    else:
        program = tf.function(lambda link, *tensors: part.run(link, _packed(part, tensors)), autograph=False)

    @tf.function
    def run(num_steps: tf.Tensor) -> Any:
        results = program(tf.zeros(()), *flat)
        for _ in tf.range(num_steps - 1):
            results = program(results[0], *flat)
        return results

    def run_and_wait(steps: int) -> None:
        float(run(tf.constant(steps))[0])

    return Computation(run_and_wait)


def _packed(part: Part, tensors: tuple[Any, ...]) -> Any:
    return tf.nest.pack_sequence_as(part.arguments, tensors)


def take_turns(computations: Mapping[str, Computation], steps: int | None, stream: TextIO) -> dict[str, Timed]:
    """Time computations in turns, after each has run twice untimed.

    Args:
        computations: by name.
        steps: of each in a round; None: as many as take about `SECONDS_PER_CALL`.
        stream: for progress.
    """
    counts, slowest = {}, 0.0
    for name, computation in computations.items():
        print(f"bench: trying {name.replace('_', ' ')}", file=stream, flush=True)
        _seconds(computation, 1)
        once = _seconds(computation, 1)
        slowest = max(slowest, once)
        counts[name] = min(MOST_STEPS_PER_CALL, max(1, math.ceil(SECONDS_PER_CALL / once)))
    rounds = FEW_ROUNDS if slowest > SLOW else ROUNDS
    if steps is not None:
        counts = dict.fromkeys(counts, steps)
    found: dict[str, list[float]] = {name: [] for name in computations}
    for number in range(rounds):
        print(f"bench: round {number + 1} of {rounds}", file=stream, flush=True)
        for name, computation in computations.items():
            found[name].append(_seconds(computation, counts[name]))
    return {name: Timed(counts[name], tuple(seconds)) for name, seconds in found.items()}


def _seconds(computation: Computation, steps: int) -> float:
    computation.before(steps)
    start = time.perf_counter()
    computation.run(steps)
    return (time.perf_counter() - start) / steps


def peak_of_product(dtype: str) -> float:
    """The highest rate of a product of two square matrices, FLOP/s: over sizes and repeats, by XLA and without."""
    products = (_square, tf.function(_square, autograph=False, jit_compile=True))
    best = 0.0
    for size in PRODUCT_SIZES:
        matrix = tf.cast(tf.random.stateless_normal((size, size), (0, 0)), dtype)
        seconds = [_fastest(product, matrix) for product in products]
        best = max(best, 2 * size**3 / min(seconds))
        if max(seconds) > SECONDS_PER_PRODUCT:
            break
    return best


def _square(matrix: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matmul(matrix, matrix)


def _fastest(product: Callable[[tf.Tensor], tf.Tensor], matrix: tf.Tensor) -> float:
    """The least seconds of several products, after one that compiles."""
    seconds = []
    for _ in range(1 + PRODUCT_REPEATS):
        start = time.perf_counter()
        # reading one number waits for the product
        float(product(matrix)[0, 0])
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
