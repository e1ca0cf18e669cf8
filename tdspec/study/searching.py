"""Running the trials of a search, a few at a time, each resumable, all judged on validation alone.

In: `Quest`s. Out: an `Outcome` for each, kept as search.json in the folder (`outcomes.py`).
Leaves out: proposing (`trials.py`), the runs that follow (`runner.py`), training (in processes of its own).
"""

from __future__ import annotations

import itertools
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from tdspec.errors import RunError
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.run.teachers import COMPLETE
from tdspec.spec.figures import MORE_IS_BETTER, VALIDATION
from tdspec.spec.load import load
from tdspec.study import children
from tdspec.study.children import Child
from tdspec.study.outcomes import RECORD, Outcome, TrialRecord, values_in_words
from tdspec.study.progress import StudyProgress
from tdspec.study.quests import Quest, Task
from tdspec.study.study_file import Search
from tdspec.study.trials import Trial, Trials, open_storage

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_BETWEEN_LOOKS_AT_OTHERS = 10.0


@dataclass
class _Job:
    """A trial at work: the runs it consists of, the figures of those that are complete, epochs that were reported."""

    quest: Quest
    trial: Trial
    runs: tuple[tuple[int, Task], ...]
    figures: tuple[float, ...] = ()
    reported: int = 0


def run_search(
    quests: Sequence[Quest], search: Search, *, folder: Path, root: Path, jobs: int, stream: TextIO
) -> tuple[Outcome, ...]:
    """Run the trials that the budget still has, and choose.

    Args:
        quests: what is searched, each with the whole budget.
        search: how.
        folder: where trials and their record lie; nobody else writes there.
        root: the folder of all runs, where teachers are.
        jobs: how many trainings run at a time.
        stream: for progress and messages.

    Returns:
        An outcome for each quest.

    Raises:
        RunError: a quest has no complete trial, or trials cannot be kept.
    """
    outcomes = _Searcher(quests, search, folder, root, stream).run(jobs)
    for outcome in outcomes:
        if outcome.best is None:
            errors = [trial.error for trial in outcome.trials if trial.error]
            message = f"no trial of {outcome.name} is complete: {(errors or ['all were ended early'])[-1]}"
            raise RunError(message, f"their logs are in {folder / 'logs'}")
    return outcomes


class _Searcher:
    """The trials of all quests, and the processes they run in."""

    def __init__(self, quests: Sequence[Quest], search: Search, folder: Path, root: Path, stream: TextIO):
        self._search, self._folder, self._root, self._stream = search, folder, root, stream
        storage = open_storage(search.storage, folder)
        worker = f"{socket.gethostname()}:{folder.resolve()}"
        self._trials = {quest.id: Trials(quest, search, storage, worker) for quest in quests}
        self._quests = {quest.id: quest for quest in quests}
        self._jobs: dict[str, _Job] = {}
        self._children: dict[str, Child] = {}
        self._started: dict[str, float] = {}

    def run(self, jobs: int) -> tuple[Outcome, ...]:
        unfinished = [
            (quest, trial) for quest in self._quests.values() for trial in self._trials[quest.id].unfinished()
        ]
        total = self._search.trials * len(self._quests)
        left = sum(trials.left() for trials in self._trials.values()) + len(unfinished)
        progress = StudyProgress(total=total, done=max(0, total - left), jobs=jobs, stream=self._stream, noun="trials")
        with progress, children.ended_at_exit(self._children):
            names = ", ".join(quest.name for quest in self._quests.values())
            progress.say(f"{self._search.trials} trials each for {names}: {total - left} of {total} have ended")
            for quest in self._quests.values():
                if (runs := len(self._search.seeds) * len(quest.tasks)) > 1:
                    progress.say(f"a trial for {quest.name} is the mean of {runs} runs")
            self._wait_for_orphans(unfinished, progress)
            while self._fill(unfinished, jobs, progress) or self._others(progress):
                time.sleep(SECONDS_BETWEEN_LOOKS)
                self._watch()
                for key in [key for key, child in self._children.items() if child.has_ended()]:
                    self._ended(key, progress)
        return self._write()

    def _fill(self, unfinished: list[tuple[Quest, Trial]], jobs: int, progress: StudyProgress) -> bool:
        """Start trials in free places; whether any runs."""
        while len(self._children) < jobs:
            if unfinished:
                quest, trial = unfinished.pop(0)
            else:
                # One trial of a quest at a time where that is enough: it learns from all before it.
                open_quests = [quest for quest in self._quests.values() if self._trials[quest.id].left()]
                if not open_quests:
                    break
                quest = min(open_quests, key=lambda quest: sum(job.quest is quest for job in self._jobs.values()))
                trial = self._trials[quest.id].ask()
            key = f"{quest.id}/{trial.number:04d}"
            self._jobs[key] = _Job(quest, trial, tuple(itertools.product(self._search.seeds, quest.tasks)))
            self._started[key] = time.perf_counter()
            self._advance(key, progress)
        return bool(self._children)

    def _wait_for_orphans(self, unfinished: Sequence[tuple[Quest, Trial]], progress: StudyProgress) -> None:
        """Wait for trainings that outlived a search that was killed."""
        parents = [self._folder / "trials" / quest.id / f"{trial.number:04d}" for quest, trial in unfinished]
        runs = [RunFolder(path) for parent in parents for path in parent.glob("seed-*")]
        if any(run_dir.is_in_use(run) for run in runs):
            progress.say("waiting for trainings that outlived a search that was killed")
        while any(run_dir.is_in_use(run) for run in runs):
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _others(self, progress: StudyProgress) -> bool:
        """Wait for trials on other machines; whether there are any."""
        waiting = sum(trials.wait_for_others() for trials in self._trials.values())
        if waiting:
            progress.say(f"waiting for {waiting} trials on other machines")
            time.sleep(SECONDS_BETWEEN_LOOKS_AT_OTHERS)
        return waiting > 0

    def _run_of(self, key: str) -> RunFolder:
        job = self._jobs[key]
        seed, task = job.runs[len(job.figures)]
        return RunFolder(self._folder / "trials" / key / f"seed-{seed}{task.name and '_'}{task.name}")

    def _advance(self, key: str, progress: StudyProgress) -> None:
        """Go on with a trial: its next run that has no figure yet, or its end."""
        job = self._jobs[key]
        while len(job.figures) < len(job.runs):
            run = self._run_of(key)
            seed, task = job.runs[len(job.figures)]
            overrides = job.quest.overrides_with(job.trial.values, task, seed)
            record = _record_of(run, load(job.quest.spec, overrides).sha256)
            if record["status"] != COMPLETE:
                self._start(key, run, overrides)
                return
            _drop_checkpoints(run)
            job.figures += (float(record["metrics"]["validation"][job.quest.figure]),)
        self._trials[job.quest.id].tell(job.trial.number, job.figures)
        mean = sum(job.figures) / len(job.figures)
        self._finish(key, f"validation {job.quest.figure} {mean:.4f}", progress)

    def _start(self, key: str, run: RunFolder, overrides: Sequence[str]) -> None:
        job = self._jobs[key]
        if not run.record.is_file():
            run_dir.create(self._root, job.quest.documents[0].spec.name, job.trial.number, run.path)
        log = self._folder / "logs" / f"trial_{key.replace('/', '_')}_{run.path.name}.log"
        child = children.start(job.quest.spec, overrides, run=run.path, root=self._root, log=log, options=["--trial"])
        self._children[key] = child

    def _watch(self) -> None:
        """Report epochs of trials, and end those that are not worth going on with."""
        if self._search.pruner == "none":
            return
        for key in list(self._children):
            job = self._jobs[key]
            if job.figures:
                continue
            rows = run_dir.read_metrics(self._run_of(key))[job.reported :]
            for row in rows:
                job.reported += 1
                value = row[VALIDATION + job.quest.figure]
                if self._trials[job.quest.id].should_end(job.trial.number, row["epoch"], value):
                    self._trials[job.quest.id].tell_pruned(job.trial.number)
                    children.end([self._children[key]])
                    break

    def _ended(self, key: str, progress: StudyProgress) -> None:
        job, child = self._jobs[key], self._children.pop(key)
        trials = self._trials[job.quest.id]
        if any(item.number == job.trial.number and item.state == "pruned" for item in trials.records()):
            self._finish(key, "ended early", progress)
        elif run_dir.read_record(self._run_of(key))["status"] == COMPLETE:
            self._advance(key, progress)
        else:
            why = children.why_failed(child)
            trials.tell_failed(job.trial.number, why)
            self._finish(key, f"failed: {why}; its log is {child.log}", progress)

    def _finish(self, key: str, outcome: str, progress: StudyProgress) -> None:
        job = self._jobs.pop(key)
        seconds = time.perf_counter() - self._started.pop(key)
        progress.ended(
            f"{job.quest.name}, trial {job.trial.number}  {outcome}  ({values_in_words(job.trial.values)})", seconds
        )
        self._write()

    def _write(self) -> tuple[Outcome, ...]:
        """Write what is known so far."""
        outcomes = tuple(_outcome(quest, self._trials[quest.id].records()) for quest in self._quests.values())
        about = {key: getattr(self._search, key) for key in ("trials", "seeds", "sampler", "sampler_seed", "pruner")}
        run_dir.write_json(self._folder / RECORD, {**about, "searches": [asdict(outcome) for outcome in outcomes]})
        return outcomes


def _record_of(run: RunFolder, spec_sha256: str) -> Mapping[str, Any]:
    """The record of a trial's run; what lies there of another spec is removed."""
    if not run.record.is_file():
        return {"status": "missing"}
    record = run_dir.read_record(run)
    if record.get("spec_sha256") in (None, spec_sha256):
        return record
    shutil.rmtree(run.path)
    return {"status": "missing"}


def _drop_checkpoints(run: RunFolder) -> None:
    """A trial that has its figure is not gone on with."""
    for folder in (run.checkpoints, run.tensorboard):
        shutil.rmtree(folder, ignore_errors=True)


def _outcome(quest: Quest, trials: tuple[TrialRecord, ...]) -> Outcome:
    known = {trial.number: trial.value for trial in trials if trial.value is not None}
    best = (max if MORE_IS_BETTER[quest.figure] else min)(known.values(), default=None)
    number = next((number for number, value in known.items() if value == best), None)
    space = {key: dimension.in_words() for key, dimension in quest.space.items()}
    return Outcome(quest.name, quest.id, quest.figure, space, trials, number)
