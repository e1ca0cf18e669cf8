"""Where the time of tdspec's step goes, and that of the same step in PyTorch, in the same groups.

    python tests/benchmarks/profiles.py [--python PYTHON_WITH_TORCH] [--case NAME] [--steps 3] [--rounds 3]

In: nothing; weights, images and labels are random. Out: one line of JSON: by group, milliseconds a step of tdspec, of
PyTorch (eager), and the first over the second, medians over rounds that take turns. The groups: products of matrices
and convolutions that layers make; attention (its two products, softmax, and their gradients); everything else.
EfficientNet runs without XLA on CPUs: its operations are TensorFlow's own.
Leaves out: `torch.compile`, whose operations have no names.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from pytorch import Process, require_torch
from step import tdspec_step
from step_cases import CASES, ConvCase

PRODUCTS, ATTENTION, REST = "products", "attention", "rest"
TENSORFLOW_PRODUCTS = re.compile(r"/[^:]*:_?(Mkl|Native|PadWith|Fused)*(Conv2D|DepthwiseConv2d|MatMul|BatchMatMul)")
TORCH_PRODUCTS = re.compile(r"aten::(addmm$|mm$|.*conv)")
TORCH_ATTENTION = re.compile(r"scaled_dot_product|aten::bmm|softmax")
INSTRUCTION = re.compile(r"%([\w.-]+) = [^=]*? ([\w-]+)\((.*)$", re.MULTILINE)


def groups_of_instructions(programs: Path) -> dict[str, str]:
    """Of each instruction of the programs that XLA wrote into a folder, by its name, the group."""
    found = {}
    for file in programs.glob("*after_optimizations.txt"):
        for name, operation, rest in INSTRUCTION.findall(file.read_text("utf-8")):
            wide = operation == "dot" and "lhs_batch_dims" not in rest
            found[name] = PRODUCTS if wide else ATTENTION if "/mha" in rest or operation == "dot" else REST
    return found


def group_of_operation(name: str) -> str:
    """Of an operation that TensorFlow ran by itself, "place/in/the/graph:Kind"; "" of whatever else it tells."""
    return PRODUCTS if TENSORFLOW_PRODUCTS.search(name) else REST if re.search(r"/[^:]*:\w+$", name) else ""


def ours(run: Any, steps: int, groups: dict[str, str]) -> collections.Counter[str]:
    """Milliseconds of tdspec's step by group; where several operations run at once, each has its part of the time.

    Without groups of XLA's instructions, by TensorFlow's operations.
    """
    from thunks import intervals

    found = intervals(run, steps)
    groups = groups or {name: group for name in found if (group := group_of_operation(name))}
    edges = sorted(
        (moment, change, groups[name])
        for name in found.keys() & groups.keys()
        for interval in found[name]
        for moment, change in zip(interval, (1, -1), strict=True)
    )
    total: collections.Counter[str] = collections.Counter()
    running: collections.Counter[str] = collections.Counter()
    for (moment, change, group), (until, _, _) in itertools.pairwise(edges):
        running[group] += change
        for each, count in running.items():
            total[each] += (until - moment) * count / max(running.total(), 1) / steps
    return total


def theirs(operations: dict[str, float]) -> collections.Counter[str]:
    """Milliseconds of PyTorch's step by group."""
    found: collections.Counter[str] = collections.Counter()
    for name, milliseconds in operations.items():
        attention = TORCH_ATTENTION.search(name)
        found[PRODUCTS if TORCH_PRODUCTS.match(name) else ATTENTION if attention else REST] += milliseconds
    return found


def profiles(name: str, programs: Path, python: str, steps: int, rounds: int) -> dict[str, list[float]]:
    """By group: tdspec's milliseconds, PyTorch's, and what the one is of the other."""
    import tensorflow as tf

    compiled, run = tdspec_step(name)
    torch = Process(python, compiled, name)
    run(tf.constant(1))
    groups = {} if isinstance(CASES[name], ConvCase) else groups_of_instructions(programs)
    torch.operations(2)
    pairs = [(ours(run, steps, groups), theirs(torch.operations(steps))) for _ in range(rounds)]
    torch.close()
    found = {}
    for group in (PRODUCTS, ATTENTION, REST) if groups else (PRODUCTS, REST):
        mine, other = (statistics.median(pair[side][group] for pair in pairs) for side in (0, 1))
        ratio = statistics.median(mine[group] / other[group] for mine, other in pairs)
        found[group] = [round(mine, 1), round(other, 1), round(ratio, 2)]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--case", default="vit192-65-k3", choices=[name for name in CASES if "mlp" not in name])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    require_torch(given.python)
    with tempfile.TemporaryDirectory() as folder:
        # which XLA reads when it first compiles something
        os.environ["XLA_FLAGS"] = f"--xla_dump_to={folder} --xla_dump_hlo_as_text"
        found = profiles(given.case, Path(folder), given.python, given.steps, given.rounds)
    print(json.dumps({given.case: found}))


if __name__ == "__main__":
    main()
