"""A teacher that is another spec: trained when it is missing or stale, taken when it is fresh."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from run_support import STUDENT, TEACHER, write_pair, write_spec

from tdspec.run.run_dir import RunFolder, read_record, update_record
from tdspec.run.teachers import is_of, named_specs, trained_run
from tdspec.run.train import Options, Run, train
from tdspec.spec.load import load


def keep(run: Run) -> Mapping[str, Any]:
    run.compiled.distiller.student.save(run.folder.student)
    return {}


def test_the_specs_that_a_spec_names(tmp_path: Path) -> None:
    small = write_pair(tmp_path)
    assert {side: other.spec.name for side, other in named_specs(load(small)).items()} == {"teacher": "teacher"}
    assert named_specs(load(small, ["method=scratch"])) == {}  # nobody asks the teacher
    assert named_specs(load(tmp_path / "teacher.yaml")) == {}
    student = {"backbone": {"spec": "teacher.yaml"}, "cut": {"low": 1, "high": 2}}
    write_spec(tmp_path / "tuned.yaml", {**STUDENT, "student": student})
    assert set(named_specs(load(tmp_path / "tuned.yaml"))) == {"student", "teacher"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Runs with one complete run of teacher.yaml."""
    write_pair(tmp_path, method="logit", train={"epochs": 1})
    write_spec(tmp_path / "teacher.yaml", TEACHER, train={"epochs": 1})
    train(load(tmp_path / "teacher.yaml"), Options(tmp_path / "runs", keep, io.StringIO()))
    return tmp_path / "runs"


def test_only_a_complete_run_of_exactly_this_spec_is_fresh(root: Path) -> None:
    spec = root.parent / "teacher.yaml"
    (folder,) = (root / "teacher").iterdir()
    run = RunFolder(folder)
    assert trained_run(load(spec), root) == run
    assert trained_run(load(spec), root.parent / "none") is None
    spec.write_text("# a comment, and the order of keys, change nothing\n" + spec.read_text())
    assert trained_run(load(spec), root) == run
    moved = shutil.copytree(root.parent, root.parent.parent / f"{root.parent.name}-moved")
    assert trained_run(load(moved / "teacher.yaml"), moved / "runs") == RunFolder(moved / "runs/teacher" / folder.name)
    assert trained_run(load(spec, ["seed=1"]), root) is None
    assert not is_of(run, load(spec, ["train.epochs=3"]))

    newer = RunFolder(shutil.copytree(folder, folder.with_name("99990101-000000-0")))
    update_record(newer, created="9999-01-01T00:00:00.000000+00:00")
    assert trained_run(load(spec), root) == newer
    update_record(newer, status="interrupted")
    assert trained_run(load(spec), root) == run
    run.student.unlink()
    assert trained_run(load(spec), root) is None


@pytest.mark.slow
def test_a_teacher_is_trained_again_only_when_its_content_changes(root: Path) -> None:
    folder, said = root.parent, io.StringIO()
    hashes = []
    for change in ({}, {"train": {"epochs": 1}}, {"seed": 3}):
        write_spec(folder / "teacher.yaml", {**TEACHER, "train": {"epochs": 1}}, **change)
        run = train(load(folder / "small.yaml"), Options(root, keep, said))
        hashes.append(read_record(run)["teacher_sha256"])
        assert len(list((root / "teacher").iterdir())) == (2 if "seed" in change else 1)
    assert hashes[0] == hashes[1] != hashes[2]
    assert said.getvalue().count("teacher 'teacher' has no run of this spec yet: training it first") == 1
    assert said.getvalue().count("teacher 'teacher' is ready: ") == 1
