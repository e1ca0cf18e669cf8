"""What the tests of studies and reports share: a small study of the digits, and results written as runs write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tdspec.report.study_page import study_page
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.study.matrix import StudyRun, plan_runs
from tdspec.study.results import read_results, run_folder, write_plan
from tdspec.study.study_file import Study, load_study
from tdspec.study.table import tabulate

DATA = '{source: digits, splits: {train: "all[:50%]", validation: "all[50%:70%]", test: "all[70%:]"}, batch_size: 64}'
TEACHER = f"""\
version: 1
name: teacher
method: scratch
data: {DATA}
student: {{backbone: {{mlp: {{units: [24, 16, 12]}}}}, input: {{size: [8, 8], channels: 1}}}}
train: {{epochs: 2}}
"""
STUDENT = f"""\
version: 1
name: student
data: {DATA}
teacher: {{backbone: {{spec: teacher.yaml}}, cut: {{low: 1, high: 3}}}}
student: {{backbone: {{mlp: {{units: [10, 8]}}}}, input: {{size: [8, 8], channels: 1}}, cut: {{low: 1, high: 2}}}}
communication: {{message: {{dim: 6}}, encoder: {{type: linear}}}}
train: {{epochs: 2}}
"""


def write_specs(folder: Path) -> Path:
    """Write a teacher and its student; the path of the student's spec."""
    (folder / "teacher.yaml").write_text(TEACHER, "utf-8")
    (folder / "student.yaml").write_text(STUDENT, "utf-8")
    return folder / "student.yaml"


def write_study(folder: Path, rest: str, name: str = "small") -> Study:
    """Write specs and a study of them, and read it."""
    write_specs(folder)
    path = folder / f"{name}.yaml"
    path.write_text(f"version: 1\nname: {name}\nspec: student.yaml\n{rest}", "utf-8")
    return load_study(path)


def planned(folder: Path, study: Study) -> tuple[StudyRun, ...]:
    """Plan a study whose folder is `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = plan_runs(study)
    write_plan(folder, study, runs)
    return runs


def complete(folder: Path, run: StudyRun, validation: float, test: float, figure: str = "accuracy") -> RunFolder:
    """Write the record of a complete run of a study."""
    where = run_dir.create(folder, run.document.spec.name, run.document.spec.seed, run_folder(folder, run.id).path)
    metrics = {"validation": {figure: validation, "task": 1.0}, "test": {figure: test, "task": 1.0}}
    run_dir.update_record(where, status="complete", spec_sha256=run.document.sha256, metrics=metrics)
    return where


def complete_all(
    folder: Path, runs: Sequence[StudyRun], tests: Mapping[str, Sequence[float]], figure: str = "accuracy"
) -> None:
    """Complete every run: by method, a test figure for each seed; that of validation is 0.01 higher."""
    for run in runs:
        test = tests[run.document.spec.method][run.document.spec.seed]
        complete(folder, run, test + 0.01, test, figure)


def page_of(folder: Path) -> str:
    """The page of a study."""
    results = read_results(folder)
    return study_page(folder, results, tabulate(results))
