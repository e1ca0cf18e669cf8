"""How long a training epoch takes with the teacher's states stored, against without: tests/benchmarks/teacher_cache.py

In: nothing. Out: one line of JSON: seconds a step of each, their ratio, that of the plans' FLOPs, and what is stored.
One process; steps with and without in turn, so that what else the machine does meets both; medians, by the clock and in
CPU time, which the load of others disturbs less. ViT teacher 12 x 192, student 4 x 64, 64 px in patches of 16 (17
tokens), batch 64, one iteration; random weights, random pixels.
Leaves out: computing the states, which is said apart, and the judgement.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

NUM_EXAMPLES, BATCH, SIZE = 2048, 64, 64


def vit(num_layers: int, width: int) -> dict[str, Any]:
    """A ViT backbone of a spec."""
    config = {"num_layers": num_layers, "num_heads": width // 32, "hidden_dim": width, "mlp_dim": 4 * width}
    return {"class": "ViTBackbone", "config": {**config, "patch_size": 16}, "weights": "random"}


def write(folder: Path, cache: Any) -> Path:
    """The spec, with or without a cache."""
    image = {"size": [SIZE, SIZE], "channels": 3}
    values = {
        "version": 1,
        "name": "bench",
        "method": "talking",
        "data": {
            "source": "npz",
            "path": "images.npz",
            "batch_size": BATCH,
            "splits": {"train": 0.9, "validation": 0.05, "test": 0.05},
            "teacher_cache": cache,
        },
        "task": {"type": "classification", "num_classes": 10},
        "teacher": {"backbone": vit(12, 192), "input": image, "cut": {"low": 4, "high": 12}},
        "student": {"backbone": vit(4, 64), "input": image, "cut": {"low": 1, "high": 4}},
        "communication": {"message": {"dim": 64}, "iterations": 1},
    }
    path = folder / ("cached.yaml" if cache else "plain.yaml")
    path.write_text(yaml.safe_dump(values))
    return path


def steps_of(path: Path, stats: dict[str, Any]) -> Callable[[int], tuple[float, float]]:
    """A function that trains some steps and gives the seconds of one: by the clock, and of all cores together."""
    import tensorflow as tf

    from tdspec.graph.plan import plan_of
    from tdspec.run.prepare import compile_optimizer, compile_with_weights, open_data
    from tdspec.run.teacher_cache import files_of, with_states
    from tdspec.spec.load import load

    compiled = compile_with_weights(load(path), {})
    compile_optimizer(compiled, schedule="constant", total_steps=None)
    start = time.perf_counter()
    splits = with_states(compiled, open_data(compiled, download=False), io.StringIO())
    files = files_of(splits)
    if files is not None:
        stats["seconds to compute the states"] = round(time.perf_counter() - start, 1)
        stats["bytes of an example"] = files.spec.num_bytes // files.spec.num_rows
    stats[f"FLOPs an example {'without' if files is None else 'with'}"] = plan_of(compiled)["cost"]["total"]

    @tf.function
    def run(iterator: Any, steps: tf.Tensor) -> None:
        for _ in tf.range(steps):
            compiled.distiller.train_step(next(iterator))

    def batches() -> Iterator[Any]:
        epoch = 0
        while True:
            yield splits.train.batches(BATCH, epoch=epoch)
            epoch += 1

    epochs = batches()

    def seconds(steps: int) -> tuple[float, float]:
        # Each measure is a part of an epoch of its own: reading the data is a part of what is measured.
        iterator = iter(next(epochs))
        wall, cpu = time.perf_counter(), time.process_time()
        run(iterator, tf.constant(steps))
        return (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps

    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=15, help="of a measure (default: 15)")
    parser.add_argument("--rounds", type=int, default=5, help="measures of each (default: 5)")
    arguments = parser.parse_args()
    stats: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (NUM_EXAMPLES, SIZE, SIZE, 3), dtype=np.uint8)
        np.savez(folder / "images.npz", image=pixels, label=random.integers(0, 10, NUM_EXAMPLES))
        kinds = {
            "without": steps_of(write(folder, False), stats),
            "with": steps_of(write(folder, {"folder": str(folder / "states")}), stats),
        }
        for run in kinds.values():
            run(2)
        times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for kind, run in kinds.items():
                times[kind].append(run(arguments.steps))
    report: dict[str, Any] = {}
    for number, what in enumerate(("", "CPU ")):
        medians = {kind: statistics.median(value[number] for value in values) for kind, values in times.items()}
        report[f"{what}ratio"] = round(medians["with"] / medians["without"], 3)
        report |= {f"{what}ms a step {kind}": round(1000 * value, 1) for kind, value in medians.items()}
    report["FLOPs ratio"] = round(stats["FLOPs an example with"] / stats["FLOPs an example without"], 3)
    print(json.dumps({**report, **stats}))


if __name__ == "__main__":
    main()
