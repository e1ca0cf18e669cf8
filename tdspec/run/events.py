"""A run's metrics as TensorBoard events.

In: the metrics that Keras hands to callbacks. Out: `train/` and `validation/` below a folder, a scalar an epoch by each
metric's name, the same name in both so that TensorBoard draws the two curves in one chart.
Leaves out: graphs, histograms and the figures within an epoch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import keras
import tensorflow as tf

from tdspec.spec.figures import VALIDATION


class TensorBoardWriter(keras.callbacks.Callback, contextlib.AbstractContextManager["TensorBoardWriter"]):
    """Writes events below `folder`, flushed after each epoch; leaving it as a context manager closes the files.

    Args:
        folder: made when it is missing; events of an earlier part of the run stay.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self._folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._writers = {
            name: tf.summary.create_file_writer(str(self._folder / name)) for name in ("train", "validation")
        }

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            writer = self._writers["validation" if name.startswith(VALIDATION) else "train"]
            with writer.as_default():
                tf.summary.scalar(name.removeprefix(VALIDATION), value, step=epoch + 1)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
