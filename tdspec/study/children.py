"""Runs as processes of their own: what breaks in one leaves the others alone, and each can be killed and resumed.

In: specs with their overrides, run folders. Out: `Child`ren, started, watched, ended. Each is forked from one process
that has everything imported (`preloaded.py`), and from there on does what `python -m tdspec train` does.
Leaves out: which runs (`runner.py`), what a run does (`run/train.py`).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from tdspec.run.signals import postponed_signals, stop_on_signals

SECONDS_TO_END = 60.0
PROGRAM = "tdspec"
PRELOADED = "tdspec.study.preloaded"


@dataclass(frozen=True)
class Child:
    """A training in its own process.

    Attributes:
        process: the process.
        log: the file that has what it printed.
        started: by `time.perf_counter`.
    """

    process: BaseProcess
    log: Path
    started: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """For how long it has been running."""
        return time.perf_counter() - self.started

    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.exitcode is not None

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code, negative for a signal; None where it still runs after so many seconds."""
        self.process.join(seconds)
        return self.process.exitcode


def start(
    spec: str,
    overrides: Sequence[str],
    *,
    run: Path,
    root: Path,
    log: Path,
    options: Sequence[str] = (),
) -> Child:
    """Start a training of its own.

    Args:
        spec: path of the spec.
        overrides: "key=value" texts.
        run: the run folder, which exists.
        root: the folder of all runs, where teachers are.
        log: gets what the process prints.
        options: of `tdspec train`: "--trial" measures on validation alone, "--bare" makes no files to look at or serve.
    """
    settings = [word for override in overrides for word in ("--set", override)]
    words = ["train", spec, *settings, "--resume", *options, "--run-dir", str(run), "--runs", str(root)]
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    context = _server()
    child = Child(context.Process(target=_be, args=(PROGRAM, words, str(log))), log)
    with postponed_signals() as deliver:
        child.process.start()
        try:
            deliver()
        except BaseException:
            # Nobody else knows of it yet.
            end([child])
            raise
    return child


@cache
def _server() -> multiprocessing.context.ForkServerContext:
    """The one process that all trainings of this one are forked from, once it has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    if threading.current_thread() is threading.main_thread():
        # Ctrl-C is for this process alone, and must not cut the imports short with a traceback.
        former = signal.signal(signal.SIGINT, signal.SIG_IGN)
        forkserver.ensure_running()
        signal.signal(signal.SIGINT, former)
    # One that does nothing: waiting for it can be interrupted, and leaves nothing behind.
    ready = context.Process(target=_server_is_ready)
    ready.start()
    ready.join()
    return context


def _server_is_ready() -> None:
    """What the first process does."""


def _be(program: str, words: Sequence[str], log: str) -> None:
    """Be `python -m PROGRAM WORDS` from here on, in a session of its own: Ctrl-C reaches the study alone."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, "ab") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    sys.argv = [program, *words]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


def end(children: Sequence[Child]) -> None:
    """Ask all children to end, as Ctrl-C would, and wait for them; one that does not listen is killed."""
    for child in children:
        if not child.has_ended():
            child.process.terminate()
    deadline = time.monotonic() + SECONDS_TO_END
    for child in children:
        if child.wait(max(0.0, deadline - time.monotonic())) is None:
            child.process.kill()
            child.wait()


@contextlib.contextmanager
def ended_at_exit(children: dict[str, Child]) -> Iterator[None]:
    """Whatever happens, no child outlives the block; SIGTERM is taken as Ctrl-C is."""
    with stop_on_signals():
        try:
            yield
        finally:
            end(list(children.values()))


def why_failed(child: Child) -> str:
    """What a child that ended in failure said last, in one line."""
    lines = [line.strip() for line in child.log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ") or ": error: " in line]
    said = (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")
    code = child.wait()
    return f"killed by signal {-code}" if code is not None and code < 0 else said
