"""tdspec's training step with a setting that `tdspec train` starts TensorFlow with, beside one without.

    python tests/benchmarks/settings.py [--setting NAME] [--steps 3] [--rounds 5] [--cases NAME ...]

In: nothing; weights, images and labels are random. Out: one line of JSON: by case, seconds of a step with the setting
over those without, medians over rounds in which two processes take turns, and for either how much of its CPU time the
system takes. `onednn`: TensorFlow's own operations are oneDNN's, or Eigen's, as they are without the setting on
processors that have AVX2 and no more. `allocator`: TensorFlow keeps its memory, or gives it back in every step; without
oneDNN, which keeps it anyway.
Leaves out: GPUs; how much memory a process holds (`memory.py`).
"""

from __future__ import annotations

import json
import os
import statistics
import sys

from asking import answer, process_of

KEEPS_MEMORY, USES_ONEDNN = "TF_CPU_ALLOCATOR_USE_BFC", "TF_ENABLE_ONEDNN_OPTS"
AS_IT_STARTS = {KEEPS_MEMORY: "false", USES_ONEDNN: "0"}  # where processors have AVX2 and no more
SETTINGS = {
    "onednn": ({USES_ONEDNN: "1"}, {USES_ONEDNN: "0"}),
    "allocator": ({KEEPS_MEMORY: "true", USES_ONEDNN: "0"}, AS_IT_STARTS),
}


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


def ratio(case: str, setting: str, steps: int, rounds: int) -> dict[str, float]:
    """Of a case, by the name of a setting."""
    command = (sys.executable, __file__, "--serve", case)
    on, off = SETTINGS[setting]
    with process_of(*command, **on) as with_it, process_of(*command, **off) as without:
        pairs = [(answer(with_it, steps), answer(without, steps)) for _ in range(rounds)]
    found = {"ratio": statistics.median(mine[0] / other[0] for mine, other in pairs)}
    for side, name in enumerate(("with", "without")):
        found[f"system, {name}"] = statistics.median(pair[side][1] for pair in pairs)
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Measure and print."""
    from step import parser_of
    from step_cases import CASES

    parser = parser_of(CASES, __doc__)
    parser.add_argument("--setting", default="onednn", choices=SETTINGS)
    given = parser.parse_args()
    found = {name: ratio(name, given.setting, given.steps, given.rounds) for name in given.cases}
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
