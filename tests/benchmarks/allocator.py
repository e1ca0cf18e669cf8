"""tdspec's training step where TensorFlow keeps its memory, beside one where it gives memory back in every step.

    python tests/benchmarks/allocator.py [--steps 3] [--rounds 5] [--cases NAME ...]

In: nothing; weights, images and labels are random. Out: one line of JSON: by case, seconds of a step with the settings
that `tdspec train` makes over those with TensorFlow's own, medians over rounds in which two processes take turns, and
for either how much of its CPU time the system takes.
Leaves out: GPUs, whose memory TensorFlow keeps anyway; how much memory a process holds (`memory.py`).
"""

from __future__ import annotations

import json
import os
import statistics
import sys

from asking import answer, process_of

SWITCH = "TF_CPU_ALLOCATOR_USE_BFC"
CASES = ("mlp-k1", "vit128-17-k1", "vit128-65-k1", "vit192-65-k3", "efficientnet-k1")


def serve(case: str) -> None:
    """Answer each line on standard input with the seconds a step of so many steps, in all, and of the system's work."""
    import tensorflow as tf
    from step import seconds, tdspec_step

    _, run = tdspec_step(case)
    run(tf.constant(1))
    for line in sys.stdin:
        before = os.times()
        elapsed = seconds(run, int(line))
        after = os.times()
        system = after.system - before.system
        print(json.dumps([elapsed, system / (system + after.user - before.user)]), flush=True)


def ratio(case: str, steps: int, rounds: int) -> dict[str, float]:
    """Of a case."""
    command = (sys.executable, __file__, "--serve", case)
    with process_of(*command, **{SWITCH: "true"}) as kept, process_of(*command, **{SWITCH: "false"}) as returned:
        pairs = [(answer(kept, steps), answer(returned, steps)) for _ in range(rounds)]
    found = {"ratio": statistics.median(mine[0] / other[0] for mine, other in pairs)}
    for side, name in enumerate(("kept", "returned")):
        found[f"system, {name}"] = statistics.median(pair[side][1] for pair in pairs)
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Measure and print."""
    from step import parser_of

    given = parser_of(CASES, __doc__).parse_args()
    print(json.dumps({name: ratio(name, given.steps, given.rounds) for name in given.cases}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
