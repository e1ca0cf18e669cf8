"""Running a study: its teachers first, then its search, then its runs, a few at a time, each resumable.

In: a `Study`. Out: the study's folder with a folder for each run, and what came of them.
Leaves out: the search (`searching.py`), the table (`table.py`), training (`run/train.py`, in processes of their own).
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tdspec.errors import RunError
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.study import children
from tdspec.study.children import Child
from tdspec.study.matrix import StudyRun, in_words, plan_runs
from tdspec.study.progress import StudyProgress
from tdspec.study.quests import plan_quests, quest_key, search_leaks
from tdspec.study.results import Results, is_complete, is_study, read_results, run_folder, study_folder, write_plan
from tdspec.study.searching import run_search
from tdspec.study.study_file import Search, Study
from tdspec.study.table import Table, tabulate
from tdspec.study.table_text import as_csv, as_data, as_markdown
from tdspec.study.teachers_first import train_teachers

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
        more = () if study.search is None else search_leaks(runs[0].document)
        write_plan(folder, study, runs, more)
        for warning in read_results(folder).warnings:
            print(f"warning: {warning}", file=stream)
        try:
            if study.search is not None:
                runs = _searched(folder, study, study.search, root=root, jobs=jobs, stream=stream)
                write_plan(folder, study, runs, more)
            waiting = [run.document for run in runs if not is_complete(folder, run)]
            train_teachers(folder, waiting, root, stream)
            failures = _train_runs(folder, study, runs, root=root, jobs=jobs, stream=stream)
        except KeyboardInterrupt:
            words = [study.source.file, "--resume", "--runs", str(root)]
            words += [word for text in study.overrides for word in ("--set", text)]
            print(f"to go on: tdspec study {shlex.join(words)}", file=stream)
            raise
        results = read_results(folder)
        table = tabulate(results)
        write_table(folder, table)
    return StudyResult(folder, results, table, failures)


def _searched(
    folder: Path, study: Study, search: Search, *, root: Path, jobs: int, stream: TextIO
) -> tuple[StudyRun, ...]:
    """The runs of a study with what its search has chosen, which goes on where it was."""
    quests = plan_quests(study, search)
    train_teachers(folder, [document for quest in quests.values() for document in quest.documents], root, stream)
    outcomes = run_search(tuple(quests.values()), search, folder=folder, root=root, jobs=jobs, stream=stream)
    best = {key: outcome.best_trial() for key, outcome in zip(quests, outcomes, strict=True)}
    values = {key: trial.values for key, trial in best.items() if trial is not None}

    def chosen(settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return values.get(quest_key(study, search, settings), {})

    return plan_runs(study, chosen)


def write_table(folder: Path, table: Table) -> None:
    """Write the table as JSON, CSV and Markdown; the CSV of averaged values by themselves is a file of its own."""
    run_dir.write_json(folder / "table.json", as_data(table))
    run_dir.write_text(folder / "table.csv", as_csv(table))
    if table.by_value is not None:
        run_dir.write_text(folder / "table_by_value.csv", as_csv(table.by_value))
    run_dir.write_text(folder / "table.md", f"# {table.study}\n\n{as_markdown(table)}")


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
            while len(running) < jobs and (free := _free(folder, waiting)):
                run = free[0]
                waiting.remove(run)
                if is_complete(folder, run):
                    progress.ended(f"{in_words(run.settings)}  complete", 0.0)
                else:
                    running[run.id] = _start(folder, study, run, root)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for run_id in [key for key, child in running.items() if child.has_ended()]:
                child, run = running.pop(run_id), by_id[run_id]
                outcome = _outcome(folder, run, child)
                if outcome.startswith("failed"):
                    failures.append(f"{in_words(run.settings)}: {outcome}; its log is {child.log}")
                progress.ended(f"{in_words(run.settings)}  {outcome}", child.seconds())
    return tuple(failures)


def _free(folder: Path, waiting: Sequence[StudyRun]) -> list[StudyRun]:
    """The runs that no process is at: one may have outlived a study that was killed."""
    return [run for run in waiting if not run_dir.is_in_use(run_folder(folder, run.id))]


def _start(folder: Path, study: Study, run: StudyRun, root: Path) -> Child:
    where = run_folder(folder, run.id)
    if not where.record.is_file():
        run_dir.create(root, run.document.spec.name, run.document.spec.seed, where.path)
    log = folder / "logs" / f"{run.id}.log"
    return children.start(study.spec, run.overrides, run=where.path, root=root, log=log, options=["--bare"])


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
