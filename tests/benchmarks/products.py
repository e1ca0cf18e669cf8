"""A chain of products of matrices in XLA beside the same in PyTorch: what a step that consists of them can reach.

    python tests/benchmarks/products.py [--python PYTHON_WITH_TORCH] [--rounds 15] [--cases NAME ...]

In: nothing; matrices are random. Out: one line of JSON: by case (`step_cases.py`, transformers), the seconds of the
wide products of a teacher's twelve blocks, each after the one before, in XLA (one program, as in a step) over those in
PyTorch, the median over rounds that take turns, and the GFLOP/s of each; above 1 PyTorch is the faster.
As many threads in both. Leaves out: attention, all that is between products, what is gained by fusing them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from asking import answer, process_of
from pytorch import require_torch
from step_cases import CASES

BLOCKS = 12
Array = Any


def matrices(name: str) -> list[Array]:
    """The tokens of a batch, then the two kernels of each block, which keep their scale."""
    case = CASES[name]
    rows, width = case.batch * ((case.image[0] // case.patch) ** 2 + 1), case.teacher
    draw = np.random.default_rng(0).normal
    kernels = [(width, 4 * width), (4 * width, width)] * BLOCKS
    found = [draw(size=(rows, width)), *(draw(size=shape) / shape[0] ** 0.5 for shape in kernels)]
    return [array.astype("float32") for array in found]


def chain(arrays: list[Array]) -> Array:
    """All products, one after the other."""
    x, *kernels = arrays
    for kernel in kernels:
        x = x @ kernel
    return x


def seconds(run: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def serve() -> None:
    """Of PyTorch's process: reads the names of cases, a line each, and writes seconds."""
    import torch

    known: dict[str, list[Any]] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in known:
            known[name] = [torch.tensor(array) for array in matrices(name)]
            chain(known[name])
        print(seconds(lambda tensors=known[name]: chain(tensors)), flush=True)


def compared(name: str, theirs: Callable[[str], float], rounds: int) -> dict[str, float]:
    """XLA's time over PyTorch's, and what each computes in a second."""
    import environment  # noqa: F401
    import tensorflow as tf

    tensors = [tf.constant(array) for array in matrices(name)]
    program = tf.function(lambda: chain(tensors), jit_compile=True)
    gigaflop = sum(2 * len(tensors[0]) * kernel.shape[0] * kernel.shape[1] for kernel in tensors[1:]) / 1e9
    program(), theirs(name)
    ours, others = zip(*((seconds(program), theirs(name)) for _ in range(rounds)), strict=True)
    return {
        "ratio": round(statistics.median(a / b for a, b in zip(ours, others, strict=True)), 3),
        "XLA, GFLOP/s": round(gigaflop / statistics.median(ours)),
        "PyTorch, GFLOP/s": round(gigaflop / statistics.median(others)),
    }


def main() -> None:
    """Measure and print."""
    transformers = [name for name in CASES if name.startswith("vit") and name.endswith("k0")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", nargs="*", default=transformers, choices=transformers)
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    require_torch(given.python)
    with process_of(given.python, __file__, "--serve") as process:
        theirs = partial(answer, process)
        print(json.dumps({name: compared(name, theirs, given.rounds) for name in given.cases}))


if __name__ == "__main__":
    main()
