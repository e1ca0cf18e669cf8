"""Running a study: its teachers first, then its runs, a few at a time, each resumable.

In: a `Study`. Out: the study's folder with a folder for each run, and what came of them.
Leaves out: the table (`table.py`), training (`run/train.py`, in processes of their own).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tdspec.errors import RunError
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.run.teachers import named_specs, trained_run
from tdspec.spec.load import Document
from tdspec.study import children
from tdspec.study.children import Child
from tdspec.study.matrix import StudyRun, in_words, plan_runs
from tdspec.study.progress import StudyProgress
from tdspec.study.results import Results, is_complete, is_study, read_results, run_folder, study_folder, write_plan
from tdspec.study.study_file import Study
from tdspec.study.table import Table, tabulate
from tdspec.study.table_text import as_csv, as_data, as_markdown

SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class StudyResult:
    """What a study came to.

    Attributes:
        folder: the study's folder, with table.json, table.csv and table.md.
        results: run by run.
        table: the comparison.
        failures: a line for each run that failed.
    """

    folder: Path
    results: Results
    table: Table
    failures: tuple[str, ...]


def run_study(study: Study, *, root: Path, jobs: int, resume: bool, stream: TextIO) -> StudyResult:
    """Train every run of a study that is not complete yet, and compare them.

    Args:
        study: the study.
        root: the folder of all runs.
        jobs: how many trainings run at a time.
        resume: go on with what is there: complete runs stay, unfinished ones are resumed.
        stream: for progress and messages.

    Raises:
        SpecError: a combination is no valid spec.
        RunError: the study was started before and `resume` is false, or a teacher could not be trained.
        KeyboardInterrupt: the study was stopped; no child is left, and all of it can be resumed.
    """
    runs = plan_runs(study)
    folder = study_folder(root, study)
    if is_study(folder) and not resume:
        hint = "add --resume to go on with it, or name another folder of runs by --runs"
        raise RunError(f"{folder} holds a study already", hint)
    folder.mkdir(parents=True, exist_ok=True)
    with run_dir.lock(RunFolder(folder)):
        write_plan(folder, study, runs)
        for warning in read_results(folder).warnings:
            print(f"warning: {warning}", file=stream)
        try:
            _train_teachers(folder, [run for run in runs if not is_complete(folder, run)], root, stream)
            failures = _train_runs(folder, study, runs, root=root, jobs=jobs, stream=stream)
        except KeyboardInterrupt:
            print(f"to go on: tdspec study {study.source.file} --resume --runs {root}", file=stream)
            raise
        results = read_results(folder)
        table = tabulate(results)
        write_table(folder, table)
    return StudyResult(folder, results, table, failures)


def write_table(folder: Path, table: Table) -> None:
    """Write the table as JSON, CSV and Markdown."""
    run_dir.write_json(folder / "table.json", as_data(table))
    run_dir.write_text(folder / "table.csv", as_csv(table))
    run_dir.write_text(folder / "table.md", f"# {table.study}\n\n{as_markdown(table)}")


def _train_teachers(folder: Path, runs: Sequence[StudyRun], root: Path, stream: TextIO) -> None:
    """Train the specs that teach here, once each, before anything needs them at the same time."""
    needed = {other.sha256: other for run in runs for other in named_specs(run.document).values()}
    for teacher in needed.values():
        if trained_run(teacher, root) is not None:
            continue
        name = teacher.spec.name
        print(f"'{name}' has no run of this spec yet: training it first", file=stream, flush=True)
        log = folder / "logs" / f"{name}.log"
        run = _begun(teacher, root)
        child = children.start(teacher.source.file, (), run=run.path, root=root, log=log)
        with children.ended_at_exit({name: child}):
            child.process.wait()
        if trained_run(teacher, root) is None:
            raise RunError(f"'{name}' could not be trained: {children.why_failed(child)}", f"its log is {log}")


def _begun(teacher: Document, root: Path) -> RunFolder:
    """The newest unfinished run of exactly this spec, or a new one."""
    found = run_dir.find_resumable(root, teacher.spec.name)
    if found is not None and run_dir.read_record(found).get("spec_sha256") == teacher.sha256:
        return found
    return run_dir.create(root, teacher.spec.name, teacher.spec.seed, None)


def _train_runs(
    folder: Path, study: Study, runs: Sequence[StudyRun], *, root: Path, jobs: int, stream: TextIO
) -> tuple[str, ...]:
    """Train what is not complete; a line for each run that failed."""
    waiting = [run for run in runs if not is_complete(folder, run)]
    by_id = {run.id: run for run in runs}
    running: dict[str, Child] = {}
    failures: list[str] = []
    progress = StudyProgress(total=len(runs), done=len(runs) - len(waiting), jobs=jobs, stream=stream)
    with progress, children.ended_at_exit(running):
        progress.say(f"{len(runs)} runs, {len(runs) - len(waiting)} complete; {folder}")
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                running[run.id] = _start(folder, study, run, root)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for run_id in [key for key, child in running.items() if child.process.poll() is not None]:
                child, run = running.pop(run_id), by_id[run_id]
                outcome = _outcome(folder, run, child)
                if outcome.startswith("failed"):
                    failures.append(f"{in_words(run.settings)}: {outcome}; its log is {child.log}")
                progress.ended(f"{in_words(run.settings)}  {outcome}", child.seconds())
    return tuple(failures)


def _start(folder: Path, study: Study, run: StudyRun, root: Path) -> Child:
    where = run_folder(folder, run.id)
    if not where.record.is_file():
        run_dir.create(root, run.document.spec.name, run.document.spec.seed, where.path)
    log = folder / "logs" / f"{run.id}.log"
    return children.start(study.spec, run.overrides, run=where.path, root=root, log=log)


def _outcome(folder: Path, run: StudyRun, child: Child) -> str:
    where = run_folder(folder, run.id)
    if not is_complete(folder, run):
        why = children.why_failed(child)
        if run_dir.read_record(where)["status"] in {"created", "running"}:
            # It ended before it could write down why, or was killed.
            run_dir.update_record(where, status="failed", error=why)
        return f"failed: {why}"
    validation = run_dir.read_record(where)["metrics"]["validation"]
    return "  ".join(f"validation {name} {value:.4f}" for name, value in validation.items() if name != "task")
