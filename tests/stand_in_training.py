"""A training in no time, for tests of what stands around it: its figure is known from the spec.

Takes the words of `tdspec`. The figure falls with the distance of the interaction's weight from 1, so the best
weight is known; the first epochs of a weight of 99 last for ever, a weight of 77 fails.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.spec.load import load


def figure_of(weight: float, seed: int) -> float:
    """The validation figure of a weight with a seed."""
    return round(0.9 - 0.1 * abs(math.log10(weight)) + 0.001 * (seed % 2), 6)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["train"])
    parser.add_argument("spec")
    parser.add_argument("--set", action="append", default=[])
    for word in ("--run-dir", "--runs"):
        parser.add_argument(word)
    for word in ("--resume", "--trial", "--bare"):
        parser.add_argument(word, action="store_true")
    words = parser.parse_args()
    run = RunFolder(Path(words.run_dir))
    document = load(words.spec, words.set)
    spec = document.spec
    weight = spec.losses.interaction.weight
    with run_dir.lock(run):
        run_dir.update_record(run, status="running", spec_sha256=document.sha256)
        value = figure_of(weight, spec.seed)
        for epoch in (1, 2):
            run_dir.append_metrics(run, {"epoch": epoch, "val_accuracy": value})
        if weight == 77:
            raise SystemExit("error: training diverged")
        time.sleep(1000 if weight == 99 else 0)
        metrics = {"validation": {"accuracy": value, "task": 1.0}}
        if not words.trial:
            metrics["test"] = metrics["validation"]
        run_dir.update_record(run, status="complete", metrics=metrics)


if __name__ == "__main__":
    main()
