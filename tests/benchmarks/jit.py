"""What XLA saves in a step and what it costs to compile, by which `train.jit: auto` decides.

    python tests/benchmarks/jit.py [--seconds 2] [--specs FILE ...] [--set KEY=VALUE] [--cases NAME ...]

In: nothing; weights are random, images and labels too. Out: a line of JSON for each spec and case: GFLOPs of a step by
the plan, and seconds to count them; milliseconds of a step without XLA and with it, the median over rounds that take
turns; processor seconds that the first step takes longer with XLA; after how many steps that has paid.
Leaves out: the input pipeline, and checking the teacher.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split
import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from step import many, seconds
from step_cases import CASES, batch_of, compiled_case

SPECS = Path(__file__).resolve().parents[2] / "specs"
ROUNDS = 5


def compiled_spec(path: str, overrides: Sequence[str], jit: str) -> tuple[Any, Any]:
    """(compiled spec with fresh weights, a made-up batch)."""
    from tdspec.graph.compiler import build
    from tdspec.run.precision import made_up
    from tdspec.run.prepare import compile_optimizer, describe
    from tdspec.spec.load import load

    compiled = build(load(path, [*overrides, f"train.jit={jit}"]), describe)
    compile_optimizer(compiled, schedule="constant", total_steps=10**6)
    return compiled, made_up(compiled, compiled.document.spec.data.batch_size)


def measured(name: str, overrides: Sequence[str], enough: float) -> dict[str, float]:
    """What is said of a spec or a case, of steps that run so many seconds a round."""
    from tdspec.graph.plan import plan_of

    runs, first = {}, {}
    for jit in ("off", "on"):
        if name in CASES:
            compiled, batch = compiled_case(name, jit=jit), batch_of(name)
        else:
            compiled, batch = compiled_spec(name, overrides, jit)
        runs[jit] = many(compiled.distiller, batch)
        start = time.process_time()
        runs[jit](tf.constant(1))
        first[jit] = time.process_time() - start
    steps = {jit: max(2, int(enough / seconds(run, 2))) for jit, run in runs.items()}
    times: dict[str, list[float]] = {jit: [] for jit in runs}
    for _ in range(ROUNDS):
        for jit, run in runs.items():
            times[jit].append(seconds(run, steps[jit]))
    off, on = (statistics.median(times[jit]) for jit in ("off", "on"))
    start = time.perf_counter()
    flops = plan_of(compiled)["cost"]["total"] * compiled.document.spec.data.batch_size
    return {
        "gflops": round(flops / 1e9, 4),
        "plan_s": round(time.perf_counter() - start, 2),
        "off_ms": round(1000 * off, 2),
        "on_ms": round(1000 * on, 2),
        "compile_s": round(first["on"] - first["off"], 2),
        "saved_ms": round(1000 * (off - on), 2),
        "paid_after_steps": round((first["on"] - first["off"]) / (off - on)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    shipped = [SPECS / f"{name}.yaml" for name in ("digits_teacher", "digits", "movielens_teacher", "movielens_drama")]
    parser.add_argument("--specs", nargs="*", default=[str(path) for path in shipped])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cases", nargs="*", default=["mlp-k1", "vit128-17-k1", "vit192-65-k1"], choices=list(CASES))
    given = parser.parse_args()
    for name in (*given.specs, *given.cases):
        print(json.dumps({Path(name).stem: measured(name, given.set, given.seconds)}), flush=True)


if __name__ == "__main__":
    main()
