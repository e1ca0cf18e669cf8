"""What a step on the batches of the pipeline takes, against one on a batch in memory: tests/benchmarks/pipeline.py

In: [SPEC] [--set KEY=VALUE ...] [--rounds 15]; its data must be at hand. Out: one line of JSON: median and mean of
the ratio over rounds that take turns, for the pipeline as it is and with the autotuning of tf.data, and the share of
rounds in which CPU time is nearly the wall time, that is in which one core did it all.
One process, on two cores or more. Leaves out: reading a source for the first time.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import argparse
import json
import statistics
import time
from pathlib import Path

import tensorflow as tf

from tdspec.graph.compiler import build
from tdspec.run import bench
from tdspec.run.bench_feed import feed_of
from tdspec.run.bench_timing import Computation
from tdspec.run.prepare import compile_optimizer, describe, load_what_is_here
from tdspec.run.stacks import height_for
from tdspec.spec.load import Document, load

SECONDS_A_ROUND, ALONE = 0.5, 1.15


def computations(document: Document) -> dict[str, Computation]:
    compiled = build(document, describe)
    load_what_is_here(compiled, Path("runs"))
    compile_optimizer(compiled, schedule=document.spec.train.schedule, total_steps=1000)
    feed = feed_of(compiled)
    if feed.batches is None:
        raise SystemExit(f"the data are not at hand: {feed.why_random}")
    described = tf.nest.map_structure(tf.type_spec_from_value, tuple(feed.batch))
    height = height_for(compiled.distiller.prepare(described, tf.distribute.get_strategy()))
    tuned = tf.data.Options()
    tuned.autotune.enabled = True
    return {
        "memory": bench._step(compiled, feed, height),
        "pipeline": bench._fed_step(compiled, feed.batches, height),
        "autotuned": bench._fed_step(compiled, feed.batches.with_options(tuned), height),
    }


def seconds(computation: Computation, steps: int) -> tuple[float, float]:
    """(wall, CPU) of so many steps."""
    computation.before(steps)
    wall, cpu = time.perf_counter(), time.process_time()
    computation.run(steps)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", default="specs/digits.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    timed = computations(load(Path(arguments.spec), arguments.set))
    for computation in timed.values():
        seconds(computation, 2)
    steps = max(2, round(SECONDS_A_ROUND / (seconds(timed["memory"], 4)[0] / 4)))
    rounds = [{name: seconds(found, steps) for name, found in timed.items()} for _ in range(arguments.rounds)]
    result = {}
    for name in ("pipeline", "autotuned"):
        ratios = [found[name][0] / found["memory"][0] for found in rounds]
        alone = [found[name][1] < ALONE * found[name][0] for found in rounds]
        result[name] = {
            "median ratio": round(statistics.median(ratios), 3),
            "mean ratio": round(statistics.mean(ratios), 3),
            "rounds on one core": round(statistics.mean(alone), 2),
        }
    print(json.dumps({"steps a round": steps, **result}))


if __name__ == "__main__":
    main()
