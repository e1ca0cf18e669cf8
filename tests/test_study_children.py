"""Children of a study: what they say, why they failed, and that none outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from study_support import write_specs, write_study

from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.study import children
from tdspec.study.children import Child


@pytest.fixture(autouse=True)
def importable(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of a checkout that is not installed find it."""
    monkeypatch.setenv("PYTHONPATH", str(repository))


def started(folder: Path, *overrides: str, options: Sequence[str] = ()) -> Child:
    spec = write_specs(folder)
    log = folder / "logs" / "run.log"
    run = run_dir.create(folder, "student", 0, folder / "run")
    return children.start(str(spec), overrides, run=run.path, root=folder / "runs", log=log, options=options)


def test_a_child_that_fails_is_told_by_its_last_error(tmp_path: Path) -> None:
    child = started(tmp_path, "train.epochs=0")
    assert child.wait() == 1
    assert "train.epochs: found 0, expected a whole number" in children.why_failed(child)


def test_a_child_that_was_killed_is_told_by_the_signal(tmp_path: Path) -> None:
    child = started(tmp_path)
    assert child.process.pid is not None
    os.kill(child.process.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert children.why_failed(child) == "killed by signal 9"


def test_no_child_outlives_the_block(tmp_path: Path) -> None:
    child = started(tmp_path)
    with pytest.raises(ZeroDivisionError), children.ended_at_exit({"run": child}):
        raise ZeroDivisionError
    assert child.has_ended()


def test_sigterm_is_taken_as_ctrl_c_and_the_former_handler_comes_back(tmp_path: Path) -> None:
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), children.ended_at_exit({}):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) is former


def test_a_bare_run_is_complete_without_what_can_be_made_later(tmp_path: Path) -> None:
    child = started(tmp_path, "method=scratch", "train.epochs=1", options=["--bare"])
    assert child.wait() == 0, child.log.read_text("utf-8")
    assert {path.name for path in (tmp_path / "run").iterdir()} - {".lock"} == {
        "checkpoints",
        "metrics.jsonl",
        "plan.json",
        "run.json",
        "spec.teacher.yaml",
        "spec.yaml",
        "student.keras",
    }
    record = run_dir.read_record(RunFolder(tmp_path / "run"))
    assert (record["status"], record["exports"], record["student"]["max_difference"]) == ("complete", [], 0.0)
    assert set(record["metrics"]) == {"validation", "test"}


def test_what_is_forked_has_started_no_thread_but_those_of_blas() -> None:
    code = (
        "import os, tdspec.study.preloaded; from tensorflow.python.eager import context; "
        "print(len(os.listdir('/proc/self/task')), context.context()._context_handle)"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "None"]


@pytest.mark.slow
def test_a_forked_run_is_the_same_to_the_last_bit_as_one_in_a_new_process(tmp_path: Path) -> None:
    child = started(tmp_path)
    assert child.wait() == 0, child.log.read_text("utf-8")
    words = ["train", "student.yaml", "--runs", "runs", "--run-dir", "new"]
    subprocess.run([sys.executable, "-m", "tdspec", *words], check=True, capture_output=True, cwd=tmp_path)
    forked, new = (RunFolder(tmp_path / name) for name in ("run", "new"))
    rows = [[{**row, "seconds": 0} for row in run_dir.read_metrics(run)] for run in (forked, new)]
    assert rows[0] == rows[1]
    records = [run_dir.read_record(run) for run in (forked, new)]
    assert all(records[0][key] == records[1][key] for key in ("metrics", "preflight", "teacher", "best_epoch", "data"))
    models = [keras.models.load_model(run.student) for run in (forked, new)]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 3.0, 12.0])
def test_ctrl_c_of_a_terminal_ends_all_whatever_is_at_work(tmp_path: Path, seconds: float) -> None:
    study = write_study(tmp_path, "axes: {method: [scratch], seed: [0, 1]}\nset: {train.epochs: 100000}\n")
    words = [sys.executable, "-m", "tdspec", "study", study.source.file, "--jobs", "2"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs" / "studies" / "small" / "study.json").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # While it imports, and while it trains.
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "Traceback" not in said
    for path in (tmp_path / "runs" / "studies" / "small" / "runs").glob("*/.lock"):
        assert not run_dir.is_in_use(RunFolder(path.parent))
    deadline = time.monotonic() + 20
    while _alive_in_session(process.pid):
        assert time.monotonic() < deadline, _alive_in_session(process.pid)
        time.sleep(0.1)


def _alive_in_session(session: int) -> list[str]:
    """What runs in a session, as /proc says: `pid (name) state parent group session`, zombies left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text("utf-8")
            state, _, _, own = text.rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append(text[:60])
    return found
