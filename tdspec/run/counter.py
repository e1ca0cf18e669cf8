"""What a person sees of one long pass over examples.

In: how many are done. Out: on a terminal one line that is written anew; elsewhere a plain line now and then.
Leaves out: training (`progress.py`).
"""

from __future__ import annotations

import time
from typing import TextIO

from tdspec.run.progress import format_time

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_REDRAWS = 0.2


class Counter:
    """Counts examples on `stream`, with the rate and the time left.

    Args:
        title: what is counted.
        total: of all examples.
        stream: where to write, usually stderr.
    """

    def __init__(self, title: str, total: int, stream: TextIO):
        self._title, self._total, self._stream = title, total, stream
        self._live = stream.isatty()
        self._first: tuple[float, int] | None = None
        self._shown = self._began = time.perf_counter()

    def show(self, done: int) -> None:
        """Say how many are done, now and then."""
        now = time.perf_counter()
        if self._first is None:
            # The first batch builds the graph.
            self._first = now, done
        if now - self._shown > (SECONDS_BETWEEN_REDRAWS if self._live else SECONDS_BETWEEN_LINES):
            self._shown = now
            text = f"{self._title}: {done:,}/{self._total:,} examples  {self._pace(now, done)}"
            print(f"\r{text}\x1b[K" if self._live else text, end="" if self._live else "\n", file=self._stream)
            self._stream.flush()

    def close(self, text: str) -> None:
        """The last line."""
        seconds = time.perf_counter() - self._began
        start = "\r\x1b[K" if self._live else ""
        print(f"{start}{self._title}: {text}  {seconds:.1f} s", file=self._stream, flush=True)

    def _pace(self, now: float, done: int) -> str:
        start, before = self._first or (now, done)
        if done == before:
            return "-- examples/s"
        rate = (done - before) / (now - start)
        return f"{rate:,.0f} examples/s  {format_time((self._total - done) / rate)} left"
