"""What a person sees of a run while it runs.

In: the metrics that Keras hands to callbacks. Out: on a terminal a live bar with epoch, step, examples per second,
time left and each term by name; elsewhere one plain line an epoch, and one now and then within a long epoch.
Leaves out: files (`run_dir.py`, `events.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

import keras
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Progress(keras.callbacks.Callback, contextlib.AbstractContextManager["Progress"]):
    """Shows a run on `stream`; leaving it as a context manager frees the terminal, also after an error.

    Args:
        epochs: of the whole run.
        steps_per_epoch: batches of an epoch.
        batch_size: examples of a batch, over all replicas.
        stream: where to write, usually stderr; a terminal gets the live bar.
        seconds_between_lines: without a terminal, the least time between two lines within an epoch.
    """

    def __init__(
        self,
        *,
        epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        stream: TextIO,
        seconds_between_lines: float = 30.0,
    ):
        super().__init__()
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._stream = stream
        self._seconds_between_lines = seconds_between_lines
        self._live: Live | None = None
        self._rate = _Rate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._rate = _Rate()
        if self._stream.isatty():
            # Line wrapping stays with the terminal; rich only redraws the live part.
            self._live = Live(console=Console(file=self._stream), transient=True, auto_refresh=False)
            self._live.start()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch, self._step, self._metrics = epoch, 0, ""
        self._epoch_start = self._last_line = time.perf_counter()
        self._rate.begin_epoch()
        self._show_bar()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._rate.add(batch + 1 - self._step)
        self._step, self._metrics = batch + 1, format_metrics(logs or {})
        self._show_bar()
        now = time.perf_counter()
        if self._live is None and now - self._last_line >= self._seconds_between_lines:
            self._last_line = now
            self._print(f"{self._position()}  {self._pace()}  {self._metrics}")

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._show_bar("validation")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._step = self._steps_per_epoch
        seconds = time.perf_counter() - self._epoch_start
        self._print(f"epoch {epoch + 1}/{self._epochs}  {seconds:.1f} s  {self._pace()}  {format_metrics(logs or {})}")

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._close()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._print(line)

    def _position(self) -> str:
        return f"epoch {self._epoch + 1}/{self._epochs}  step {self._step}/{self._steps_per_epoch}"

    def _pace(self) -> str:
        if not self._rate.known():
            return "-- examples/s"
        steps_left = (self._epochs - self._epoch) * self._steps_per_epoch - self._step
        examples_per_second = self._rate.steps_per_second() * self._batch_size
        return f"{examples_per_second:,.0f} examples/s  {format_time(steps_left * self._rate.seconds_per_step())} left"

    def _show_bar(self, phase: str = "") -> None:
        if self._live is None:
            return
        bar = ProgressBar(total=self._steps_per_epoch, completed=self._step, width=24)
        line = Table.grid(padding=(0, 2))
        line.add_row(self._position(), bar, self._pace(), phase)
        self._live.update(Group(line, Text(self._metrics)), refresh=True)

    def _print(self, line: str) -> None:
        if self._live is None:
            print(line.rstrip(), file=self._stream, flush=True)
        else:
            self._live.console.print(Text(line.rstrip()))

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Rate:
    """Measures steps from the first report on, since the graph is built before it."""

    def __init__(self) -> None:
        self._steps = 0
        self._train_seconds = 0.0
        self._start: float | None = None
        self._last = 0.0

    def begin_epoch(self) -> None:
        self._last = time.perf_counter()

    def add(self, num_steps: int) -> None:
        now = time.perf_counter()
        if self._start is None:
            self._start = now
        else:
            self._steps += num_steps
            self._train_seconds += now - self._last
        self._last = now

    def known(self) -> bool:
        return self._steps > 0

    def steps_per_second(self) -> float:
        """While training."""
        return self._steps / self._train_seconds

    def seconds_per_step(self) -> float:
        """All in all: with validation, and what callbacks do after an epoch."""
        return (time.perf_counter() - (self._start or 0.0)) / self._steps


def format_metrics(logs: Mapping[str, float]) -> str:
    """ "loss 0.6931  task 0.5012": four digits each, in the order given."""
    return "  ".join(f"{name} {value:.4g}" for name, value in logs.items())


def format_time(seconds: float) -> str:
    """ "7 s", "2:05 min", "1:02:05 h"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d} h"
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
