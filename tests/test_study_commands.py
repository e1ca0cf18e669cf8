"""The commands study and report: what they print, where they write, and that they load no TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from report_support import complete_run
from study_support import complete_all, planned, write_study

from tdspec.cli import execute, parse

AXES = "axes: {method: [scratch, talking], seed: [0, 1]}\n"
FIGURES = {"scratch": [0.5, 0.6], "talking": [0.6, 0.8]}


def call(*words: str) -> int:
    return execute(parse(["tdspec", *words]))


def test_report_writes_into_the_run_or_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = complete_run(tmp_path)
    assert call("report", str(run.path)) == 0
    assert capsys.readouterr().out == f"{run.report}\n"
    assert call("report", str(run.path), "-o", str(tmp_path / "pages" / "a.html")) == 0
    assert (tmp_path / "pages" / "a.html").read_text("utf-8") == run.report.read_text("utf-8")


def test_report_of_a_study_is_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "study"
    complete_all(folder, planned(folder, write_study(tmp_path, AXES)), FIGURES)
    assert call("report", str(folder)) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert "4 of 4 runs are complete" in (folder / "report.html").read_text("utf-8")


def test_report_of_anything_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", str(tmp_path)) == 1
    assert "holds no run.json, expected a run folder" in capsys.readouterr().err


def test_study_prints_its_table_and_then_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    folder = root / "studies" / "small"
    complete_all(folder, planned(folder, write_study(tmp_path, AXES)), FIGURES)
    assert call("study", str(tmp_path / "small.yaml"), "--resume", "--runs", str(root)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| method ")
    assert lines[-1] == str(folder)
    assert {path.name for path in folder.glob("table.*")} == {"table.json", "table.csv", "table.md", "table.html"}


def test_study_refuses_no_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, AXES)
    assert call("study", str(tmp_path / "small.yaml"), "--jobs", "0") == 2
    assert "found --jobs 0, expected at least 1" in capsys.readouterr().err


def test_neither_loads_tensorflow(tmp_path: Path, repository: Path) -> None:
    folder = tmp_path / "runs" / "studies" / "small"
    complete_all(folder, planned(folder, write_study(tmp_path, AXES)), FIGURES)
    code = (
        "import sys; from tdspec.cli import execute, parse\n"
        "for words in (['study', 'small.yaml', '--resume'], ['report', 'runs/studies/small']):\n"
        "    assert execute(parse(['tdspec', *words])) == 0\n"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
