"""Children of a study: what they say, why they failed, and that none outlives it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from study_support import write_specs

from tdspec.study import children
from tdspec.study.children import Child


@pytest.fixture(autouse=True)
def importable(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of a checkout that is not installed find it."""
    monkeypatch.setenv("PYTHONPATH", str(repository))


def started(folder: Path, *overrides: str) -> Child:
    spec = write_specs(folder)
    log = folder / "logs" / "run.log"
    return children.start(str(spec), overrides, run=folder / "run", root=folder / "runs", log=log)


def test_a_child_that_fails_is_told_by_its_last_error(tmp_path: Path) -> None:
    child = started(tmp_path, "train.epochs=0")
    assert child.process.wait() == 1
    assert "train.epochs: found 0, expected a whole number" in children.why_failed(child)


def test_a_child_that_was_killed_is_told_by_the_signal(tmp_path: Path) -> None:
    child = started(tmp_path)
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()
    assert children.why_failed(child) == "killed by signal 9"


def test_no_child_outlives_the_block(tmp_path: Path) -> None:
    child = started(tmp_path)
    with pytest.raises(ZeroDivisionError), children.ended_at_exit({"run": child}):
        raise ZeroDivisionError
    assert child.process.returncode is not None


def test_sigterm_is_taken_as_ctrl_c_and_the_former_handler_comes_back(tmp_path: Path) -> None:
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), children.ended_at_exit({}):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) is former
