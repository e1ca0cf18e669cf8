"""Work that must not share this process: reading artefacts back, and converters that may abort.

In: a command. Out: nothing, or an ExportError that says how the process ended.
Leaves out: what the commands are (`export.py`, `student_file.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tdspec.errors import ExportError

PARITY = Path(__file__).with_name("parity.py")
TIME_LIMIT = 1800.0

# On the CPU alone: this process may hold all of an accelerator's memory. Offline: an artefact needs no network.
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "HF_HUB_OFFLINE": "1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def run(arguments: list[str], what: str, hint: str = "", *, seconds: float = TIME_LIMIT) -> None:
    """Run Python with these arguments and wait for it.

    Args:
        arguments: what follows `python -P`.
        what: what the process does, for the error's text.
        hint: how to mend a failure, or "".
        seconds: after this time the process is killed.

    Raises:
        ExportError: the process failed, was killed or took too long.
    """
    command = [sys.executable, "-P", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | ENVIRONMENT
    try:
        finished = subprocess.run(command, env=environment, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{what}: no end after {seconds:.0f} seconds", hint) from error
    if finished.returncode != 0:
        raise ExportError(f"{what}: {ending(finished.returncode, finished.stderr.decode(errors='replace'))}", hint)


def ending(code: int, log: str) -> str:
    """How a process ended, in words: the signal that killed it, and the last line it wrote."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = lines[-1][:400].rstrip(".") if lines else "it wrote nothing"
    return f"killed by {signal.Signals(-code).name}: {last}" if code < 0 else last


def answers(format_name: str, artefact: Path, examples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What an artefact answers, computed in a fresh process.

    Args:
        format_name: a key of `parity.LOADERS`.
        artefact: the file or folder.
        examples: one array (examples, ...) for each input.

    Returns:
        "one.NAME" (1, ...) and "all.NAME" (examples, ...) for each output NAME.

    Raises:
        ExportError: the artefact cannot be loaded or called.
    """
    with tempfile.TemporaryDirectory(prefix="tdspec-parity-") as folder:
        questions, replies = Path(folder, "examples.npz"), Path(folder, "answers.npz")
        np.savez(questions, **examples)  # type: ignore[arg-type]
        arguments = [str(PARITY), format_name, str(artefact.resolve()), str(questions), str(replies)]
        run(arguments, f"{format_name}: loading it back failed")
        with np.load(replies) as archive:
            return {name: archive[name] for name in archive.files}
