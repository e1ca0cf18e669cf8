"""Reading run folders: what is missing is None, damage is an error, and who holds the folder decides the status."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_support import CONTROL, add_epochs, begun, complete_run

from tdspec.errors import RunError
from tdspec.report.reading import is_in_use, read_facts
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder


def test_a_folder_that_was_only_created(tmp_path: Path) -> None:
    facts = read_facts(run_dir.create(tmp_path, "small", 0, None))
    assert (facts.status, facts.method, facts.plan, facts.spec, facts.epochs, facts.figure) == ("created", *[None] * 5)
    assert list(facts.rows) == []


def test_a_run_of_two_epochs(tmp_path: Path) -> None:
    run = begun(tmp_path, status="interrupted", method="talking")
    add_epochs(run, 2)
    facts = read_facts(run)
    assert (facts.epochs, facts.figure, len(facts.rows)) == (2, "accuracy", 2)
    assert facts.plan is not None
    assert facts.plan["method"] == "talking"


def test_running_is_believed_while_the_folder_is_held(tmp_path: Path) -> None:
    run = begun(tmp_path, status="running", method="talking")
    with run_dir.lock(run):
        assert is_in_use(run)
        assert read_facts(run).status == "running"
    assert not is_in_use(run)
    assert read_facts(run).status == "cut off"


def test_the_rows_of_the_control_are_read_where_they_are(tmp_path: Path) -> None:
    run = complete_run(tmp_path, control=CONTROL)
    assert list(read_facts(run).control_rows) == []
    (run.path / "control").mkdir()
    add_epochs(RunFolder(run.path / "control"), 3)
    assert len(read_facts(run).control_rows) == 3


def test_a_spec_without_epochs_does_not_stop_the_page(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run_dir.write_text(run.spec, "train: [")
    assert read_facts(run).epochs is None


@pytest.mark.parametrize("name", ["run.json", "plan.json", "metrics.jsonl"])
def test_damage_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    run = complete_run(tmp_path)
    (run.path / name).write_text("{ no\n", "utf-8")
    with pytest.raises(RunError, match=f"{name} is damaged"):
        read_facts(run)
