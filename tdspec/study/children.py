"""Runs as processes of their own: what breaks in one leaves the others alone, and each can be killed and resumed.

In: specs with their overrides, run folders. Out: `Child`ren, started, watched, ended.
Leaves out: which runs (`runner.py`), what a run does (`run/train.py`).
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tdspec.run.processes import end_all

SECONDS_TO_END = 60.0
TRAIN = (sys.executable, "-m", "tdspec", "train")


@dataclass(frozen=True)
class Child:
    """A training in its own process.

    Attributes:
        process: the process.
        log: the file that has what it printed.
        started: by `time.perf_counter`.
    """

    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """For how long it has been running."""
        return time.perf_counter() - self.started


def start(spec: str, overrides: Sequence[str], *, run: Path, root: Path, log: Path, trial: bool = False) -> Child:
    """Start a training of its own.

    Args:
        spec: path of the spec.
        overrides: "key=value" texts.
        run: the run folder, which exists.
        root: the folder of all runs, where teachers are.
        log: gets what the process prints.
        trial: measure on validation alone.
    """
    settings = [word for override in overrides for word in ("--set", override)]
    command = [*TRAIN, spec, *settings, "--resume", *(["--trial"] if trial else [])]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        # Its own session: Ctrl-C reaches this process alone, which then ends its children one by one.
        process = subprocess.Popen(
            [*command, "--run-dir", str(run), "--runs", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(process, log)


def end(children: Sequence[Child]) -> None:
    """Ask all children to end, as Ctrl-C would, and wait for them; one that does not listen is killed."""
    end_all([child.process for child in children], SECONDS_TO_END)


@contextlib.contextmanager
def ended_at_exit(children: dict[str, Child]) -> Iterator[None]:
    """Whatever happens, no child outlives the block; SIGTERM is taken as Ctrl-C is."""
    with _terminated_as_interrupted():
        try:
            yield
        finally:
            end(list(children.values()))


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def why_failed(child: Child) -> str:
    """What a child that ended in failure said last, in one line."""
    lines = [line.strip() for line in child.log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ") or ": error: " in line]
    said = (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")
    code = child.process.returncode
    return f"killed by signal {-code}" if code < 0 else said
