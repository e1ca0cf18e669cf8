"""What a study's folder says of its runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_support import complete, planned, write_study

from tdspec.errors import RunError
from tdspec.run import run_dir
from tdspec.study.results import is_complete, is_study, read_results, run_folder

AXES = "axes: {communication.iterations: [0, 1], method: [scratch, talking], seed: [0, 1]}\n"


def test_a_study_that_has_not_begun_is_all_missing(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    assert not is_study(folder)
    planned(folder, write_study(tmp_path, AXES))
    assert is_study(folder)
    results = read_results(folder)
    assert (results.name, results.axes, results.figure) == ("small", ("communication.iterations", "method"), None)
    assert {run.status for run in results.runs} == {"missing"}
    assert len(results.runs) == 6


def test_settings_keep_the_order_of_the_axes_and_know_their_baseline(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    planned(folder, write_study(tmp_path, AXES))
    scratch, *_, talking = read_results(folder).runs
    assert list(talking.settings.items()) == [("communication.iterations", 1), ("method", "talking"), ("seed", 1)]
    assert scratch.settings == {"method": "scratch", "seed": 0}
    assert scratch.baseline is None
    assert talking.baseline == scratch.cell


def test_figures_are_those_of_complete_runs(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    runs = planned(folder, write_study(tmp_path, AXES))
    complete(folder, runs[0], 0.7, 0.6)
    assert is_complete(folder, runs[0])
    assert not is_complete(folder, runs[1])
    results = read_results(folder)
    assert results.figure == "accuracy"
    assert results.runs[0].figures == {"validation": 0.7, "test": 0.6}
    assert results.runs[1].figures == {}


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    runs = planned(folder, write_study(tmp_path, AXES))
    where = run_dir.create(folder, "student", 0, run_folder(folder, runs[0].id).path)
    run_dir.update_record(where, status="failed", error="training diverged")
    assert (read_results(folder).runs[0].status, read_results(folder).runs[0].error) == ("failed", "training diverged")


def test_a_run_of_another_spec_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    runs = planned(folder, write_study(tmp_path, AXES))
    run_dir.update_record(complete(folder, runs[0], 0.7, 0.6), spec_sha256="another")
    assert read_results(folder).runs[0].status == "missing"


def test_no_study_and_a_damaged_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no study\.json"):
        read_results(tmp_path)
    (tmp_path / "study.json").write_text("{", "utf-8")
    with pytest.raises(RunError, match="is damaged"):
        read_results(tmp_path)
