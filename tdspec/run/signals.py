"""Ends that come from outside: Ctrl-C, and a scheduler's SIGTERM.

In: nothing. Out: context managers that turn SIGTERM into KeyboardInterrupt, and that let neither cut through a step.
Both change nothing outside the main thread, where Python allows no handlers.
Leaves out: SIGKILL, which nothing can catch: checkpoints are complete or absent for its sake (`checkpoints.py`).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt, so that a scheduler ends a run as Ctrl-C does; put the old handler back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextlib.contextmanager
def postponed_signals() -> Iterator[Callable[[], None]]:
    """Hold SIGINT and SIGTERM back until the block calls the function it is given, or ends.

    A handler's exception comes up wherever Python happens to be. In a destructor, of which TensorFlow has many, it is
    ignored and the signal is lost; in a callback it leaves a job half done. A second signal is not held back, for the
    case that the first finds no one who asks. Signals whose handler is the system's are left alone.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    former = {number: signal.getsignal(number) for number in STOPPING if in_main_thread}
    handlers = {number: handler for number, handler in former.items() if callable(handler)}
    pending: list[signal.Signals] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if pending:
            handlers[signal.Signals(number)](number, frame)
        pending.append(signal.Signals(number))

    def deliver() -> None:
        while pending:
            number = pending.pop(0)
            handlers[number](number, None)

    for number in handlers:
        signal.signal(number, hold)
    try:
        yield deliver
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    deliver()
