"""Products of matrices in XLA beside the same in PyTorch: what a step that consists of them can reach.

    python tests/benchmarks/products.py [--python PYTHON_WITH_TORCH] [--rounds 9] [--cases NAME ...]

In: nothing; matrices are random. Out: one line of JSON: by case (`step_cases.py`, transformers), the seconds of one
product of each dense layer of a teacher's block in XLA, together, over those in PyTorch; medians over rounds that take
turns; above 1 PyTorch is the faster. As many threads in both.
Leaves out: attention, everything between products, what a library gains by fusing them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from step_cases import CASES

REPEATS = 10
Shape = tuple[int, int, int]


def shapes(name: str) -> list[Shape]:
    """(rows, inner width, columns) of query, key and value at once, of their output and of the two dense layers."""
    case = CASES[name]
    rows = case.batch * ((case.image[0] // case.patch) ** 2 + 1)
    width = case.teacher
    return [(rows, width, 3 * width), (rows, width, width), (rows, width, 4 * width), (rows, 4 * width, width)]


def seconds(run: Callable[[], Any]) -> float:
    """Of one call, the mean of several."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        run()
    return (time.perf_counter() - start) / REPEATS


def serve() -> None:
    """Of PyTorch's process: reads shapes, a line each, and writes seconds."""
    import torch

    found: dict[Shape, Callable[[], Any]] = {}
    for line in sys.stdin:
        rows, inner, columns = shape = tuple(map(int, line.split()))
        if shape not in found:
            a, b = torch.randn(rows, inner), torch.randn(inner, columns)
            found[shape] = lambda a=a, b=b: a @ b
            found[shape]()
        print(seconds(found[shape]), flush=True)


def in_xla(shape: Shape) -> Callable[[], Any]:
    """One product as a program of its own, compiled."""
    import tensorflow as tf

    rows, inner, columns = shape
    product = tf.function(tf.matmul, jit_compile=True)
    a, b = tf.random.normal((rows, inner)), tf.random.normal((inner, columns))
    product(a, b)
    return lambda: product(a, b)


def ratio(name: str, theirs: Callable[[Shape], float], rounds: int) -> float:
    """The median over rounds of XLA's time over PyTorch's."""
    ours = {shape: in_xla(shape) for shape in shapes(name)}
    for shape in ours:
        theirs(shape)
    found = [sum(map(seconds, ours.values())) / sum(map(theirs, ours)) for _ in range(rounds)]
    return round(statistics.median(found), 3)


def main() -> None:
    """Measure and print."""
    transformers = [name for name in CASES if name.startswith("vit") and name.endswith("k0")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cases", nargs="*", default=transformers, choices=transformers)
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    if subprocess.run([given.python, "-c", "import torch"], capture_output=True, check=False).returncode:
        sys.exit(f"{given.python} has no torch: name a Python that has, by --python")
    call = [given.python, __file__, "--serve"]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def theirs(shape: Shape) -> float:
            print(*shape, file=process.stdin, flush=True)
            return float(process.stdout.readline())  # type: ignore[union-attr]

        print(json.dumps({name: ratio(name, theirs, given.rounds) for name in given.cases}))
        process.stdin.close()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
