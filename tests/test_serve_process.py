"""A process that fails, aborts or hangs becomes an error a person can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tdspec.errors import ExportError
from tdspec.serve.process import answers, run


def test_the_last_line_of_a_traceback_is_told() -> None:
    with pytest.raises(ExportError, match="the work: ValueError: too small") as caught:
        run(["-c", "raise ValueError('too small')"], "the work", "make it larger")
    assert caught.value.hint == "make it larger"


def test_an_abort_is_told_by_its_signal() -> None:
    with pytest.raises(ExportError, match="the work: killed by SIGABRT: Check failed"):
        run(["-c", "import os, sys; print('Check failed', file=sys.stderr, flush=True); os.abort()"], "the work")


def test_a_process_without_end_is_killed() -> None:
    with pytest.raises(ExportError, match="no end after 1 seconds"):
        run(["-c", "import time; time.sleep(60)"], "the work", seconds=1)


def test_success_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    run(["-c", "print('noise')"], "the work")
    assert capfd.readouterr().out == ""


def test_an_artefact_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="saved_model: loading it back failed: OSError"):
        answers("saved_model", tmp_path / "absent", {"image": np.zeros((1, 2))})
