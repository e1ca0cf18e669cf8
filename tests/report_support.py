"""What the tests of reports share: a run's folder in any state, its plan drawn from a real graph."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from study_support import write_specs

from tdspec.graph.plan import as_text, plan_of
from tdspec.run import run_dir
from tdspec.run.prepare import compile_without_weights
from tdspec.run.run_dir import RunFolder
from tdspec.spec.load import load
from tdspec.spec.render import render

COMPLETE: dict[str, Any] = {
    "method": "talking",
    "status": "complete",
    "best_epoch": 2,
    "metrics": {"validation": {"accuracy": 0.8, "task": 0.6}, "test": {"accuracy": 0.75, "task": 0.7}},
    "data": {"fingerprint": "f1", "examples": {"train": 900, "validation": 360, "test": 400}},
    "versions": {"keras": "3.15.1", "tensorflow": "2.21.0"},
    "seconds": 12.3,
    "peak_memory_bytes": 2**30,
    "spec_sha256": "5ec",
    "teacher_sha256": "7ea",
    "student": {"path": "student.keras", "parameters": 100, "max_difference": 0.0, "inputs": {}},
    "exports": [
        {"format": "saved_model", "path": "export/saved_model/1", "num_bytes": 54321, "max_difference": 1.5e-7}
    ],
}
CONTROL: dict[str, Any] = {
    "method": "scratch",
    "path": "control",
    "best_epoch": 1,
    "seconds": 3.0,
    "metrics": {"validation": {"accuracy": 0.7, "task": 0.8}, "test": {"accuracy": 0.6, "task": 0.9}},
}


@cache
def spec_and_plan() -> tuple[str, str]:
    """The text of spec.yaml and plan.json of the small student."""
    with TemporaryDirectory() as name:
        document = load(write_specs(Path(name)))
        return render(document, Path(name)), as_text(plan_of(compile_without_weights(document)))


def begun(folder: Path, **record: Any) -> RunFolder:
    """A run's folder with its spec and plan, no epoch yet, and fields of the record."""
    run = run_dir.create(folder, "small", 0, folder / "run")
    spec, plan = spec_and_plan()
    run_dir.write_text(run.spec, spec)
    run_dir.write_text(run.plan, plan)
    run_dir.update_record(run, **record)
    return run


def add_epochs(run: RunFolder, count: int, best: int = 2) -> None:
    """Write epochs of which `best` has the best figure."""
    for epoch in range(1, count + 1):
        figures = {"val_accuracy": 0.8 - 0.05 * abs(epoch - best), "val_task": 1 / epoch, "accuracy": 0.1 * epoch}
        terms = dict.fromkeys(("interaction", "message_consistency", "state_consistency", "task"), 2.0 / epoch)
        run_dir.append_metrics(run, {"epoch": epoch, "seconds": 1.0, "loss": 5.0 / epoch, **terms, **figures})


def complete_run(folder: Path, **record: Any) -> RunFolder:
    """A complete run of three epochs."""
    run = begun(folder, **{**COMPLETE, **record})
    add_epochs(run, 3)
    return run
