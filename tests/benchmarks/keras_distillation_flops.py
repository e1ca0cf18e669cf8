"""How many FLOPs the products of the two programs of `keras_distillation.py` have, counted in what XLA made of them.

    python tests/benchmarks/keras_distillation_flops.py

In: nothing. Out: one line of JSON: products and their GFLOP a step, of tdspec's fitnet and of keras.distillation with
`jit_compile`; each program is compiled in a process of its own, which writes it down.
Leaves out: time (`keras_distillation.py`), and what is not a product of matrices.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path

TOKENS, STEPS = 16, 2
SHAPE = re.compile(r"%?([\w.\-]+) = \(?\w+\[([\d,]*)\]")
PRODUCT = re.compile(r"%?([\w.\-]+) = [^=\n]*? dot\(%?([\w.\-]+), [^\n]*?lhs_contracting_dims=\{([\d,]*)\}")


def run(side: str) -> None:
    """Compile and run a few steps; XLA writes its programs where XLA_FLAGS says."""
    import tensorflow as tf
    from keras_distillation import by_keras, by_tdspec

    with tempfile.TemporaryDirectory() as folder:
        steps = by_tdspec(Path(folder), TOKENS, cache=False) if side == "tdspec" else by_keras(TOKENS, STEPS, jit=True)
        steps(tf.constant(STEPS))


def counted(program: str) -> dict[str, float]:
    """Of a program as XLA prints it: its products, and what they add and multiply."""
    shapes = {name: [int(axis) for axis in axes.split(",") if axis] for name, axes in SHAPE.findall(program)}
    flops = [
        2 * prod(shapes[name]) * prod(shapes[left][int(axis)] for axis in axes.split(","))
        for name, left, axes in PRODUCT.findall(program)
    ]
    return {"products": len(flops), "GFLOP": round(sum(flops) / 1e9, 2)}


def main() -> None:
    """Count and print."""
    if len(sys.argv) > 1:
        run(sys.argv[1])
        return
    found = {}
    for side in ("tdspec", "Keras"):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "XLA_FLAGS": f"--xla_dump_to={folder} --xla_dump_hlo_as_text"}
            subprocess.run([sys.executable, __file__, side], env=environment, check=True)
            programs = [path.read_text() for path in Path(folder).glob("*after_optimizations.txt")]
        found[side] = counted(max(programs, key=len))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
