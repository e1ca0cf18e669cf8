"""What folding BatchNormalization into the layers before it gains in a frozen teacher: tests/benchmarks/folding.py

    python tests/benchmarks/folding.py [--batch 32] [--rounds 9]

In: nothing; weights and images are random. Out: one line of JSON: by model, seconds folded over seconds as it is,
forward, and forward with the gradient of its input, as an iteration takes it; medians over rounds that take turns.
Models read 96 x 96 pixels, without XLA, which such models do not use on a CPU.
Leaves out: whether both are equal (`test_graph_folding.py`).
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tdspec.graph.folding import folded

MODELS = {"EfficientNetB0": keras.applications.EfficientNetB0, "ResNet50": keras.applications.ResNet50}
SIZE = 96


def calls(model: keras.Model) -> dict[str, Callable[[Any], Any]]:
    """Forward, and forward and back to the input."""

    def gradient(image: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            total = tf.reduce_sum(model(image, training=False))
        return tape.gradient(total, image)

    run = {"forward": lambda image: model(image, training=False), "with the gradient": gradient}
    return {name: tf.function(function, autograph=False) for name, function in run.items()}


def ratios(model: keras.Model, batch: int, rounds: int) -> dict[str, float]:
    """Medians of folded over as it is."""
    image = tf.random.stateless_uniform((batch, SIZE, SIZE, 3), (0, 1))
    plain, fast = calls(model), calls(folded(model))
    found = {}
    for name in plain:
        times = []
        for _ in range(rounds + 1):
            pair = []
            for run in (fast[name], plain[name]):
                start = time.perf_counter()
                tf.reduce_sum(run(image)).numpy()
                pair.append(time.perf_counter() - start)
            times.append(pair[0] / pair[1])
        found[name] = round(statistics.median(times[1:]), 3)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    shape = (SIZE, SIZE, 3)
    print(
        json.dumps(
            {
                name: ratios(make(weights=None, include_top=False, input_shape=shape), given.batch, given.rounds)
                for name, make in MODELS.items()
            }
        )
    )


if __name__ == "__main__":
    main()
