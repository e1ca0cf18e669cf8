"""What one more iteration costs in time, against what it costs in FLOPs: tests/benchmarks/iteration.py

    python tests/benchmarks/iteration.py [--steps 5] [--rounds 9] [--cases vit128-17 ...]

In: nothing; weights and images are random. Out: one line of JSON: by case, how much longer a step with K = 3 takes than
one with K = 1, over how many more FLOPs the plan counts for it; both relative to K = 1, and for one iteration of the
two. At 1 the time of an iteration is that of its products.
Leaves out: memory (`memory.py`).
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import json
import statistics

import tensorflow as tf
from step import parser_of, seconds, tdspec_step

from tdspec.graph.plan import plan_of

CASES = ("vit128-17", "vit192-17", "vit128-65", "mlp")
FEW, MANY = 1, 3


def ratio(case: str, steps: int, rounds: int) -> dict[str, float]:
    """Time and FLOPs of an iteration, each over a step with K = 1, and one over the other."""
    few, many = (tdspec_step(f"{case}-k{iterations}") for iterations in (FEW, MANY))
    flops = [plan_of(compiled)["cost"]["total"] for compiled, _ in (few, many)]
    for _, run in (few, many):
        run(tf.constant(1))
    times = [seconds(many[1], steps) / seconds(few[1], steps) for _ in range(rounds)]
    added = MANY - FEW
    time, work = (statistics.median(times) - 1) / added, (flops[1] / flops[0] - 1) / added
    return {"time": round(time, 3), "flops": round(work, 3), "ratio": round(time / work, 3)}


if __name__ == "__main__":
    given = parser_of(CASES, __doc__).parse_args()
    print(json.dumps({case: ratio(case, given.steps, given.rounds) for case in given.cases}))
