"""What is written down of each epoch, and which epoch is the best.

In: the metrics that Keras hands to callbacks. Out: a line of `metrics.jsonl` and a checkpoint for each epoch.
Leaves out: TensorBoard's files (`events.py`), the record of the run (`train.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import keras

from tdspec.graph.compiler import Compiled
from tdspec.run import run_dir
from tdspec.run.checkpoints import Checkpoints
from tdspec.run.run_dir import RunFolder


class Recorder(keras.callbacks.Callback):
    """After each epoch: a line of metrics, then a checkpoint, so that a checkpoint never lacks its line.

    Args:
        folder: of the run; the epochs that are in its metrics already count for the best.
        compiled: what is trained.
        checkpoints: of everything that training changes.
    """

    def __init__(self, folder: RunFolder, compiled: Compiled, checkpoints: Checkpoints):
        super().__init__()
        self._folder, self._compiled, self._checkpoints = folder, compiled, checkpoints
        self._best = _best_so_far(folder, compiled)
        self._started = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        optimizer = self._compiled.distiller.optimizer
        seconds = round(time.perf_counter() - self._started, 3)
        row = {"epoch": epoch + 1, "seconds": seconds, "learning_rate": float(optimizer.learning_rate), **(logs or {})}
        run_dir.append_metrics(self._folder, row)
        value = row[judged_by(self._compiled)]
        is_best = is_better(self._compiled, value, self._best)
        self._best = value if is_best else self._best
        self._checkpoints.save(epoch + 1, is_best=is_best)


def judged_by(compiled: Compiled) -> str:
    """The name of the figure that chooses the best epoch."""
    return f"val_{compiled.distiller.task_metric.name}"


def is_better(compiled: Compiled, value: float, best: float | None) -> bool:
    """Whether a figure beats the best so far; of equals the first stays."""
    if best is None:
        return True
    return value > best if compiled.distiller.more_is_better else value < best


def _best_so_far(folder: RunFolder, compiled: Compiled) -> float | None:
    values = [row[judged_by(compiled)] for row in run_dir.read_metrics(folder)]
    return (max if compiled.distiller.more_is_better else min)(values, default=None)
