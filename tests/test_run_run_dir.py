"""Run folders: names, whole files, and one process at a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tdspec.errors import RunError
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return run_dir.create(tmp_path, "digits", 7, None)


def test_folders_are_named_by_time_and_seed_and_never_shared(tmp_path: Path) -> None:
    runs = [run_dir.create(tmp_path, "digits", 7, None) for _ in range(2)]
    assert runs[0].path != runs[1].path
    for run in runs:
        assert run.path.parent == tmp_path / "digits"
        assert re.fullmatch(r"\d{8}-\d{6}-7", run.path.name)
        assert run_dir.open_run(run.path) == run
        record = run_dir.read_record(run)
        assert (record["status"], record["name"], record["seed"]) == ("created", "digits", 7)


def test_paths_inside(run: RunFolder) -> None:
    inside = [run.spec, run.plan, run.record, run.metrics, run.tensorboard, run.checkpoints, run.student, run.report]
    assert [path.relative_to(run.path).as_posix() for path in [*inside, run.saved_model]] == [
        "spec.yaml",
        "plan.json",
        "run.json",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "student.keras",
        "report.html",
        "export/saved_model/1",
    ]


def test_a_given_folder_may_exist_if_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run_dir.create(tmp_path, "digits", 0, tmp_path / "empty").path == tmp_path / "empty"
    assert run_dir.create(tmp_path, "digits", 0, tmp_path / "deep" / "new").record.is_file()


def test_a_folder_in_use_is_refused(tmp_path: Path, run: RunFolder) -> None:
    with pytest.raises(RunError, match="is not empty") as caught:
        run_dir.create(tmp_path, "digits", 0, run.path)
    assert "--resume" in caught.value.hint
    with pytest.raises(RunError, match="is a file"):
        run_dir.create(tmp_path, "digits", 0, run.record)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run\.json") as caught:
        run_dir.open_run(tmp_path)
    assert caught.value.hint
    with pytest.raises(RunError, match="is no folder"):
        run_dir.open_run(tmp_path / "missing")


def test_the_newest_unfinished_run_is_resumed(tmp_path: Path) -> None:
    assert run_dir.find_resumable(tmp_path, "digits") is None
    # Larger seeds come first, so that the order of the names within a second is not that of time.
    runs = [run_dir.create(tmp_path, "digits", seed, None) for seed in (9, 5, 1)]
    run_dir.create(tmp_path, "other", 0, None)
    assert run_dir.find_resumable(tmp_path, "digits") == runs[2]
    run_dir.update_record(runs[2], status="complete")
    assert run_dir.find_resumable(tmp_path, "digits") == runs[1]
    for run in runs:
        run_dir.update_record(run, status="complete")
    assert run_dir.find_resumable(tmp_path, "digits") is None


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    run_dir.write_text(path, "first\n")
    with pytest.raises(UnicodeEncodeError):
        run_dir.write_text(path, "second \ud800")
    assert path.read_bytes() == b"first\n"
    run_dir.write_text(path, "zweite Zeile ä\n")
    assert path.read_text(encoding="utf-8") == "zweite Zeile ä\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_json_is_sorted_and_strict(tmp_path: Path) -> None:
    run_dir.write_json(tmp_path / "a.json", {"b": 1, "a": {"d": 2, "c": 3}})
    text = (tmp_path / "a.json").read_text()
    assert text.split() == ["{", '"a":', "{", '"c":', "3,", '"d":', "2", "},", '"b":', "1", "}"]
    with pytest.raises(ValueError, match="JSON compliant"):
        run_dir.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text())["b"] == 1


def test_fields_of_the_record_stay(run: RunFolder) -> None:
    run_dir.update_record(run, status="running", versions={"keras": "3"})
    run_dir.update_record(run, status="complete")
    record = run_dir.read_record(run)
    assert (record["status"], record["versions"], record["seed"]) == ("complete", {"keras": "3"}, 7)


def test_a_damaged_record_is_an_error(run: RunFolder) -> None:
    run.record.write_text('{"status": ')
    with pytest.raises(RunError, match="is damaged"):
        run_dir.read_record(run)
    run.record.unlink()
    with pytest.raises(RunError, match="is missing"):
        run_dir.read_record(run)


def test_a_line_an_epoch(run: RunFolder) -> None:
    assert run_dir.read_metrics(run) == []
    for epoch in (1, 2, 3):
        run_dir.append_metrics(run, {"epoch": epoch, "loss": 1 / epoch})
    assert run.metrics.read_text().count("\n") == 3
    run_dir.truncate_metrics(run, 3)
    assert run_dir.read_metrics(run) == [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]
    run_dir.truncate_metrics(run, 3)
    assert len(run_dir.read_metrics(run)) == 2


def test_a_half_written_line_is_removed(run: RunFolder) -> None:
    run_dir.append_metrics(run, {"epoch": 1, "loss": 1.0})
    whole = run.metrics.read_bytes()
    for half in (b'{"epoch": 2, "lo', "{ä".encode()[:-1], b"{}"):
        run.metrics.write_bytes(whole + half)
        assert run_dir.read_metrics(run) == [{"epoch": 1, "loss": 1.0}]
    run_dir.append_metrics(run, {"epoch": 2, "loss": 0.5})
    assert [row["epoch"] for row in run_dir.read_metrics(run)] == [1, 2]
    run.metrics.write_bytes(whole + b'{"epoch"')
    run_dir.truncate_metrics(run, 2)
    assert run.metrics.read_bytes() == whole


def test_a_row_without_a_number_is_refused(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        run_dir.append_metrics(run, {"epoch": 1, "loss": float("inf")})
    assert not run.metrics.exists()


def test_a_damaged_line_is_an_error(run: RunFolder) -> None:
    run.metrics.write_text('{"epoch": 1}\nnonsense\n')
    with pytest.raises(RunError, match="is damaged"):
        run_dir.read_metrics(run)


LOCKER = """
import sys
from pathlib import Path
from tdspec.run import run_dir
with run_dir.lock(run_dir.open_run(Path(sys.argv[1]))):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_train_in_one_folder(run: RunFolder, repository: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=rf"in use by process {child.pid}\b"), run_dir.lock(run):
            pass
    finally:
        # Killed, not ended: the system must let go of the lock.
        child.kill()
        child.communicate()
    with run_dir.lock(run), pytest.raises(RunError, match=rf"process {os.getpid()}\b"), run_dir.lock(run):
        pass
    with run_dir.lock(run):
        pass
