"""The memory that a step needs besides weights, by the number of iterations, with and without `train.remat`.

    python tests/benchmarks/memory.py [--iterations 1 8] [--remat none iterations] [--accumulate 1 4] [--jit on]

In: nothing; weights and the batch are random (a ViT of 6 x 128 teaches one of 2 x 64, 64 images of 65 tokens).
Out: one line of JSON: by setting, megabytes and the ratio to the first setting. Each has a process of its own. With
XLA, what the compiled step sets aside for intermediate results, by XLA's own account. Without, how far the resident
memory rises while steps run that have run before, where TensorFlow gives it back after each, as `tdspec` does not.
Leaves out: time (`step.py`), and the memory that compiling needs.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from settings import AS_IT_STARTS

CASE = "vit128-65-k3"
LAYERS = {"teacher": (6, 2), "student": (2, 1)}  # blocks, and after which is the low cut
STEPS = 3


def status(name: str) -> int:
    """Bytes that Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def set_aside(folder: Path) -> int:
    """Bytes for intermediate results of the largest program that XLA has described in a folder."""
    accounts = "".join(path.read_text() for path in folder.glob("*buffer-assignment.txt"))
    return max(map(int, re.findall(r"size (\d+), preallocated-temp", accounts)))


def measured(iterations: int, remat: str, accumulate_steps: int, jit: str) -> dict[str, float]:
    """Megabytes of a step."""
    import environment  # noqa: F401
    import tensorflow as tf
    from step_cases import CASES, batch_of, compiled_case, spec_of

    case = CASES["measured"] = dataclasses.replace(CASES[CASE], iterations=iterations)
    sides = {side: spec_of(case)[side] for side in LAYERS}
    for side, (layers, low) in LAYERS.items():
        sides[side]["backbone"]["config"]["num_layers"] = layers
        sides[side]["cut"] = {"low": low, "high": layers}
    train = {
        "epochs": 1,
        "optimizer": {"type": "adamw", "learning_rate": 0.001},
        "schedule": "constant",
        "remat": remat,
        "accumulate_steps": accumulate_steps,
    }
    distiller = compiled_case("measured", jit=jit, train=train, **sides).distiller
    batch: Any = batch_of("measured")
    step = tf.function(lambda: distiller.train_step(batch) and None, autograph=False)
    step()
    if jit == "on":
        return {"megabytes": round(set_aside(Path(os.environ["XLA_FLAGS"].partition("=")[2])) / 2**20, 1)}
    # what is free already, but not given back, would count for nothing
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = status("VmRSS")
    # from here on, the highest mark is that of the steps
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(STEPS):
        step()
    return {"megabytes": round((status("VmHWM") - before) / 2**20, 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--remat", nargs="*", default=["none", "iterations"])
    parser.add_argument("--accumulate", type=int, nargs="*", default=[1])
    parser.add_argument("--jit", default="on")
    parser.add_argument("--one", action="store_true", help="measure the first setting in this process")
    given = parser.parse_args()
    settings = list(itertools.product(given.iterations, given.remat, given.accumulate))
    if given.one:
        print(json.dumps(measured(*settings[0], given.jit)))
        return
    found: dict[str, Any] = {}
    for iterations, remat, accumulate in settings:
        words = ["--iterations", iterations, "--remat", remat, "--accumulate", accumulate, "--jit", given.jit, "--one"]
        call = [sys.executable, __file__, *map(str, words)]
        with tempfile.TemporaryDirectory() as folder:
            described = {"XLA_FLAGS": f"--xla_dump_to={folder}"} if given.jit == "on" else {}
            # so that memory is given back, and what a step takes can be seen
            returned = {"MALLOC_MMAP_THRESHOLD_": "65536", **AS_IT_STARTS}
            environment = {**os.environ, **returned, **described}
            done = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
        result = json.loads(done.stdout.splitlines()[-1])
        first = next(iter(found.values()), result)
        ratio = round(result["megabytes"] / first["megabytes"], 2)
        found[f"k{iterations} remat {remat} accumulate {accumulate}"] = {**result, "ratio": ratio}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
