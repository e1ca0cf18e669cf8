"""tdspec's training step beside the best step written by hand for the same spec, in TensorFlow with XLA.

    python tests/benchmarks/step.py [--steps 5] [--rounds 9] [--programs 1] [--cases NAME ...]

In: nothing; weights are random, images and labels too. Out: one line of JSON: by case, seconds of tdspec's step over
those of the step by hand, the median over rounds that take turns; below 1 tdspec is the faster. Two compilations of the
very same short step may differ by a tenth for as long as the process lives: `--programs` compiles both so many times.
The step by hand is what one would write for this one spec: one XLA program of everything (forward, losses, gradients,
AdamW, the running means) on the variables themselves, plain functions of kernels in place of layers, gradients only
where they are needed; of MLPs one program runs as many steps as tdspec's. Both compute the same loss to 1e-3, which is
asserted.
Leaves out: the input pipeline (one batch, in memory) and several devices.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import argparse
import json
import statistics
import time
from collections.abc import Callable, Collection
from typing import Any

import tensorflow as tf
from by_hand_tensorflow import Stepper
from step_cases import CASES, batch_of, compiled_case

from tdspec.run.bench_feed import random_batch
from tdspec.run.stacks import height_for, on_one_batch

Run = Callable[[Any], Any]


def many(distiller: Any, batch: Any, height: int | None = None) -> Run:
    """A call that runs so many steps on a batch as `run/loop.py` runs them, or in stacks of that height."""
    if height is None:
        described = tf.nest.map_structure(tf.type_spec_from_value, batch)
        height = height_for(distiller.prepare(described, tf.distribute.get_strategy()))
    return on_one_batch(distiller.train_step, batch, height)


def tdspec_step(name: str, *, cache: bool = False) -> tuple[Any, Run]:
    """(compiled case, a call that runs so many steps); with a cache, the teacher's states come in as from its files."""
    if not cache:
        compiled = compiled_case(name)
        return compiled, many(compiled.distiller, batch_of(name))
    data = {"source": "digits", "batch_size": CASES[name].batch, "teacher_cache": {"dtype": "float32"}}
    compiled = compiled_case(name, data=data)
    return compiled, many(compiled.distiller, random_batch(compiled))


def seconds(run: Run, steps: int) -> float:
    """Of one step."""
    start = time.perf_counter()
    run(tf.constant(steps))
    return (time.perf_counter() - start) / steps


def ratio(name: str, steps: int, rounds: int, programs: int) -> float:
    """The median over programs and rounds of tdspec's time over that by hand, which take turns."""
    return round(statistics.median(one for _ in range(programs) for one in ratios(name, steps, rounds)), 3)


def ratios(name: str, steps: int, rounds: int) -> list[float]:
    """Of two programs, newly compiled, round by round."""
    compiled, ours = tdspec_step(name)
    stepper = Stepper(compiled, CASES[name], batch_of(name))
    by_hand = float(stepper.loss())
    for run in (ours, stepper.run):
        run(tf.constant(1))
    metric = compiled.distiller.metrics[0]
    assert metric.name == "loss" and abs(float(metric.result()) - by_hand) < 1e-3 * by_hand, (metric.result(), by_hand)
    return [seconds(ours, steps) / seconds(stepper.run, steps) for _ in range(rounds)]


def parser_of(cases: Collection[str], about: str | None) -> argparse.ArgumentParser:
    """Which cases a call measures, and with how many steps and rounds."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cases", nargs="*", default=list(cases), choices=list(cases))
    return parser


def main() -> None:
    """Measure the cases that the call names, and print one line of JSON."""
    parser = parser_of(CASES, __doc__)
    parser.add_argument("--programs", type=int, default=1)
    given = parser.parse_args()
    print(json.dumps({name: ratio(name, given.steps, given.rounds, given.programs) for name in given.cases}))


if __name__ == "__main__":
    main()
