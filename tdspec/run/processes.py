"""Processes that this one has started, and that must not outlive it.

In: processes. Out: none that runs.
Leaves out: starting them (`local_workers.py`); those of a study (`study/children.py`).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence


def end_all(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Ask those that still run to end, as Ctrl-C would, and wait for them; one that does not listen is killed.

    Args:
        processes: running or not.
        seconds: in which all of them together must have ended.
    """
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
