"""Whole studies: teachers first, runs beside each other, stopped, resumed, and one that fails among others."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study_support import complete_all, planned, write_study

from tdspec.errors import RunError
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.study.runner import run_study

AXES = "axes: {method: [scratch, talking], seed: [0, 1]}\n"
FIGURES = {"scratch": [0.5, 0.6], "talking": [0.6, 0.8]}


@pytest.fixture(autouse=True)
def importable(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of a checkout that is not installed find it."""
    monkeypatch.setenv("PYTHONPATH", str(repository))


def wait_for(what: Path, pattern: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not list(what.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} in {what} after {seconds} s"
        time.sleep(0.05)


def lines_of(runs: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text("utf-8").splitlines()) for path in runs.glob("*/metrics.jsonl")}


def test_a_study_is_not_started_twice_by_mistake(tmp_path: Path) -> None:
    study = write_study(tmp_path, AXES)
    planned(tmp_path / "runs" / "studies" / "small", study)
    with pytest.raises(RunError, match="holds a study already"):
        run_study(study, root=tmp_path / "runs", jobs=1, resume=False, stream=io.StringIO())


def test_two_processes_do_not_run_one_study(tmp_path: Path) -> None:
    study = write_study(tmp_path, AXES)
    folder = tmp_path / "runs" / "studies" / "small"
    folder.mkdir(parents=True)
    with run_dir.lock(RunFolder(folder)), pytest.raises(RunError, match="is in use by process"):
        run_study(study, root=tmp_path / "runs", jobs=1, resume=True, stream=io.StringIO())


def test_what_is_complete_is_not_trained_again(tmp_path: Path) -> None:
    study = write_study(tmp_path, AXES)
    folder = tmp_path / "runs" / "studies" / "small"
    complete_all(folder, planned(folder, study), FIGURES)
    stream = io.StringIO()
    result = run_study(study, root=tmp_path / "runs", jobs=2, resume=True, stream=stream)
    assert "4 runs, 4 complete" in stream.getvalue()
    assert result.failures == ()
    assert not (tmp_path / "runs" / "teacher").exists()
    assert result.table.rows[1].estimates["test"].value == pytest.approx(0.7)
    assert json.loads((folder / "table.json").read_text("utf-8"))["study"] == "small"
    assert (folder / "table.csv").is_file()
    assert (folder / "table.md").read_text("utf-8").startswith("# small\n")


@pytest.mark.slow
def test_a_stopped_study_leaves_no_child_and_goes_on_where_it_was(tmp_path: Path) -> None:
    write_study(tmp_path, "axes: {method: [scratch, talking]}\nset: {train.epochs: 40}\n")
    words = [sys.executable, "-m", "tdspec", "study", "small.yaml", "--jobs", "2"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    runs = tmp_path / "runs" / "studies" / "small" / "runs"
    wait_for(runs, "*/checkpoints/epoch-*")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "to go on: tdspec study small.yaml --resume --runs runs" in said
    assert "Traceback" not in said
    records = [json.loads(path.read_text("utf-8")) for path in runs.glob("*/run.json")]
    assert {record["status"] for record in records} <= {"interrupted", "created", "complete"}
    assert not any(_is_alive(record["process"]) for record in records if "process" in record)

    done = lines_of(runs)
    again = subprocess.run([*words, "--resume"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "| talking | 1     |" in again.stdout
    assert again.stdout.splitlines()[-1] == "runs/studies/small"
    assert any(0 < count < 40 for count in done.values())
    assert set(lines_of(runs).values()) == {40}
    assert len(list((tmp_path / "runs" / "teacher").iterdir())) == 1
    assert "<!doctype html>" in (runs.parent / "table.html").read_text("utf-8")


@pytest.mark.slow
def test_a_run_that_fails_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    study = write_study(tmp_path, "axes: {data.where: [{label: 77}, {}]}\nset: {method: scratch}\n")
    stream = io.StringIO()
    result = run_study(study, root=tmp_path / "runs", jobs=1, resume=False, stream=stream)
    (failure,) = result.failures
    assert failure.startswith('where {"label": 77}: failed: data.where.label: no example has 77; its log is ')
    assert [run.status for run in result.results.runs] == ["failed", "complete"]
    assert "(data.where.label: no example has 77)." in "".join(result.table.notes)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
