"""A step in a stack, many in one program of XLA, beside one that is a program of its own.

    python tests/benchmarks/stacks.py [--height 16] [--steps 64] [--rounds 9] [--cases NAME ...]

In: nothing; weights are random, images and labels too. Out: one line of JSON: by case, seconds of a step in a stack
over those of one by one, the median over rounds that take turns; below 1 stacks are faster. Any case is put in stacks
here; `graph/step.py` leaves those alone that lose by it (`--cases vit128-17-k0`).
Leaves out: the input pipeline.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import json
import statistics

import tensorflow as tf
from step import many, parser_of, seconds
from step_cases import CASES, batch_of, compiled_case

from tdspec.run.stacks import HEIGHT


def ratio(name: str, height: int, steps: int, rounds: int) -> float:
    """The median over rounds of the time in stacks over that one by one."""
    distiller, batch = compiled_case(name).distiller, batch_of(name)
    single, in_stacks = many(distiller, batch, 1), many(distiller, batch, height)
    for run in (single, in_stacks):
        run(tf.constant(1))
    return round(statistics.median(seconds(in_stacks, steps) / seconds(single, steps) for _ in range(rounds)), 3)


def main() -> None:
    """Measure and print."""
    parser = parser_of(CASES, __doc__)
    parser.set_defaults(steps=64, cases=["mlp-k0", "mlp-k1", "mlp-k3"])
    parser.add_argument("--height", type=int, default=HEIGHT)
    given = parser.parse_args()
    print(json.dumps({name: ratio(name, given.height, given.steps, given.rounds) for name in given.cases}))


if __name__ == "__main__":
    main()
