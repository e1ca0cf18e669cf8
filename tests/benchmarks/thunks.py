"""Where the time of a step goes within its XLA program: python tests/benchmarks/thunks.py [--case NAME] [--by-hand]

In: the name of a case (`step_cases.py`); tdspec's step, or that written by hand. Out: one line of JSON: by kind of
XLA's thunks, milliseconds a step: how often one runs times its least time, so that what else the machine does hardly
counts. Thunks without a kind of their own are told by the name that XLA gave them.
Leaves out: what happens outside the program.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import argparse
import collections
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
from by_hand_tensorflow import Stepper
from step import tdspec_step
from step_cases import CASES, batch_of
from tensorflow.tsl.profiler.protobuf import xplane_pb2

# Of the host's own work around the thunks.
AROUND = ("Execute", "Await", "Block", "run", "Kernel", "end: ", "Process", "TFE_", "Eager", "Thread", "Task", "Start")


def intervals(run: Any, steps: int) -> dict[str, list[tuple[float, float]]]:
    """By the full name of a thunk, when it began and ended each time that it ran in so many steps, in milliseconds."""
    space = xplane_pb2.XSpace()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        run(tf.constant(steps))
        tf.profiler.experimental.stop()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space.ParseFromString(file.read_bytes())
    found: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                start = line.timestamp_ns / 1e6 + event.offset_ps / 1e9
                found[plane.event_metadata[event.metadata_id].name].append((start, start + event.duration_ps / 1e9))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="vit128-17-k1")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--by-hand", action="store_true")
    given = parser.parse_args()
    compiled, run = tdspec_step(given.case)
    if given.by_hand:
        run = Stepper(compiled, CASES[given.case], batch_of(given.case)).run
    run(tf.constant(2))
    found = intervals(run, given.steps)
    kinds: collections.Counter[str] = collections.Counter()
    for name, each in found.items():
        if not any(word in name for word in AROUND):
            least = min(end - start for start, end in each)
            # MatMul_12.3: the number of an operation, and of its copy
            kinds[re.sub(r"(_\d+)?(\..*)?$", "", name)] += len(each) * least / given.steps
    shown = {name: round(total, 2) for name, total in kinds.most_common(16)}
    print(json.dumps({given.case: {"in all": round(sum(kinds.values()), 1), **shown}}))


if __name__ == "__main__":
    main()
