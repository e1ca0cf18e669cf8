"""What a person sees of a study while it runs.

In: runs that end. Out: a line for each, and on a terminal a bar with the runs that are left and the time they take.
Leaves out: the progress within a run, which is in its log.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text


class StudyProgress(contextlib.AbstractContextManager["StudyProgress"]):
    """Shows a study on `stream`; leaving it as a context manager frees the terminal.

    Args:
        total: the number of runs.
        done: how many are complete already.
        jobs: how many run at a time.
        stream: where to write; a terminal gets the bar.
        noun: what is counted.
    """

    def __init__(self, *, total: int, done: int, jobs: int, stream: TextIO, noun: str = "runs"):
        self._total, self._done, self._jobs, self._stream = total, done, jobs, stream
        self._seconds: list[float] = []
        self._bar: Progress | None = None
        if stream.isatty():
            columns = (TextColumn(noun), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("{task.description}"), console=Console(file=stream))
            self._task = self._bar.add_task("", total=total, completed=done)

    def __enter__(self) -> StudyProgress:
        if self._bar is not None:
            self._bar.start()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        if self._bar is None:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.console.print(Text(line))

    def ended(self, what: str, seconds: float) -> None:
        """Count a run that ended, however it did.

        Args:
            what: the run and its outcome, for people.
            seconds: how long it took.
        """
        self._done += 1
        self._seconds.append(seconds)
        left = f"{self._time_left()} left" if self._done < self._total else ""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=left)
        self.say(f"{self._done}/{self._total}  {what}  {seconds:.0f} s  {left}".rstrip())

    def _time_left(self) -> datetime.timedelta:
        rounds = -(-(self._total - self._done) // self._jobs)
        return datetime.timedelta(seconds=round(rounds * sum(self._seconds) / len(self._seconds)))
