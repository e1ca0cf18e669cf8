"""Random numbers inside an XLA program on this processor: TensorFlow's choice of an algorithm beside Philox.

    python tests/benchmarks/draws.py

In: nothing. Out: one line of JSON: processor time of the choice over that of Philox, for the masks of one step of
specs/movielens_teacher.yaml. Why `tdspec/graph/draws.py` exists.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import json
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

SHAPE = (256, 480)
ROUNDS = 20


def seconds(program: Callable[[tf.Tensor], tf.Tensor]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    program(tf.constant([1, 2]))
    return time.process_time() - start


def compiled(algorithm: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Masks drawn by an algorithm, compiled by XLA."""

    @tf.function(jit_compile=True)
    def program(seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(SHAPE, seed, alg=algorithm)

    program(tf.constant([1, 2]))
    return program


def main() -> None:
    """Measure and print."""
    chosen, philox = compiled("auto_select"), compiled("philox")
    ratio = statistics.median(seconds(chosen) / seconds(philox) for _ in range(ROUNDS))
    print(json.dumps({"chosen over philox": round(ratio, 1)}))


if __name__ == "__main__":
    main()
