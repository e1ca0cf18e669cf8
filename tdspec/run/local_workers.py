"""Several workers on this machine, to try out what is meant for several machines.

In: the words of a `tdspec train`, and how many are to do it. Out: its chief's output, and one exit code.
Leaves out: what the workers do (`train.py`), machines other than this one (`examples/cluster/`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tdspec.run.cluster import CHIEF_ENDED, VARIABLE, Cluster, config
from tdspec.run.processes import end_all

HOST = "127.0.0.1"
TRAIN = (sys.executable, "-m", "tdspec", "train")
# Where one has ended the others notice it themselves, at the latest when it has missed its heartbeats.
SECONDS_TO_NOTICE, SECONDS_TO_END = 40.0, 15.0
SECONDS_BETWEEN_LOOKS = 0.1
FORWARDED = (signal.SIGINT, signal.SIGTERM)
# What a shell adds to the number of the signal that ended a process.
BY_SIGNAL = 128


@dataclass(frozen=True)
class Worker:
    """A process of the cluster.

    Attributes:
        index: its place; the chief's is 0.
        process: the process.
        log: what it wrote to stderr; None for the chief, whose output is everybody's to see.
    """

    index: int
    process: subprocess.Popen[bytes]
    log: Path | None


def train_locally(words: Sequence[str], num_workers: int) -> int:
    """Train with several processes on this machine; none outlives the call, and Ctrl-C reaches each of them.

    Args:
        words: what follows `tdspec train`.
        num_workers: how many processes.

    Returns:
        The exit code of the first that failed, or 0.
    """
    with tempfile.TemporaryDirectory(prefix="tdspec-workers-") as logs:
        workers: list[Worker] = []
        try:
            with _forwarded(workers) as signals:
                addresses = tuple(f"{HOST}:{port}" for port in free_ports(num_workers))
                for index in range(num_workers):
                    log = Path(logs) / f"{index}.txt" if index else None
                    workers.append(_start(words, Cluster(addresses, index), log))
                first = _first_that_failed(workers)
        finally:
            end_all([worker.process for worker in workers], SECONDS_TO_END)
        if first is None:
            return 0
        if first.log is not None and not signals:
            _show(first, first.log)
        code = first.process.returncode
        return code if code >= 0 else BY_SIGNAL - code


def free_ports(count: int) -> list[int]:
    """Ports of the loopback device that nobody listens on just now, each another one."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _start(words: Sequence[str], cluster: Cluster, log: Path | None) -> Worker:
    environment: Mapping[str, str] = {**os.environ, VARIABLE: config(cluster)}
    with contextlib.ExitStack() as stack:
        stderr = None if log is None else stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            [*TRAIN, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=None if log is None else subprocess.DEVNULL,
            stderr=stderr,
            # Its own session: Ctrl-C reaches this process alone, which passes it on, to each once.
            start_new_session=True,
        )
    return Worker(cluster.index, process, log)


@contextlib.contextmanager
def _forwarded(workers: Sequence[Worker]) -> Iterator[list[int]]:
    """Pass Ctrl-C and SIGTERM on to every worker, which then ends as a single one does; gives a list of them."""
    signals: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        for worker in workers:
            worker.process.send_signal(number)

    former = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield signals
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _first_that_failed(workers: Sequence[Worker]) -> Worker | None:
    """Wait until one has failed, or one has ended and the others had time to end too."""
    deadline: float | None = None
    failed: Worker | None = None
    while True:
        running = [worker for worker in workers if worker.process.poll() is None]
        if failed is None:
            failed = next((worker for worker in workers if worker.process.returncode not in (None, 0)), None)
        if deadline is None and len(running) < len(workers):
            deadline = time.monotonic() + SECONDS_TO_NOTICE
        if not running or (deadline is not None and time.monotonic() > deadline):
            return failed or next(iter(running), None)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _show(worker: Worker, log: Path) -> None:
    """What the worker that failed first has said, since only the chief's words have been seen."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    if any(CHIEF_ENDED in line for line in lines):
        return
    code = worker.process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    print(f"worker {worker.index} {how}; its output:", file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)
