"""The trials of a quest, kept on disk by Optuna: proposed, told, taken up again.

In: a `Quest`, how it is searched, where trials are kept. Out: `Trial`s to run; `TrialRecord`s of what came of them.
Leaves out: running them (`searching.py`).
"""

from __future__ import annotations

import datetime
import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages.journal import JournalFileBackend

from tdspec.errors import RunError
from tdspec.spec.figures import MORE_IS_BETTER
from tdspec.study.outcomes import TrialRecord
from tdspec.study.quests import Quest
from tdspec.study.space import Choices, Dimension
from tdspec.study.study_file import Search

JOURNAL = "journal"
JOURNAL_FILE = "search.journal"
WORKER, FIGURES, ERROR = "worker", "figures", "error"
NUM_STARTUP_TRIALS = 5
DIGITS = 4
State = optuna.trial.TrialState
LEAST_SECONDS_LOST = 3600.0
TIMES_LONGEST_LOST = 10.0


@dataclass(frozen=True)
class Trial:
    """A trial to run."""

    number: int
    values: Mapping[str, Any]


def open_storage(storage: str, folder: Path) -> optuna.storages.BaseStorage:
    """Where trials are kept: a file in a folder, or a database.

    Args:
        storage: "journal", or an address.
        folder: of the study.

    Raises:
        RunError: the database cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if storage == JOURNAL:
        path = folder / JOURNAL_FILE
        _drop_half_a_line(path)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    import sqlalchemy  # only databases need it

    try:
        return optuna.storages.RDBStorage(storage)
    except (ImportError, ValueError, OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise RunError(f"the storage '{storage}' cannot be opened: {error}") from None


def _drop_half_a_line(path: Path) -> None:
    """Undo what a process that was killed has written of a line."""
    if path.is_file():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("r+b") as file:
                file.truncate(whole)


class Trials:
    """The trials of a quest.

    Args:
        quest: what is searched.
        search: how.
        storage: where they are kept.
        worker: names who runs trials: the machine and the study's folder.
    """

    def __init__(self, quest: Quest, search: Search, storage: optuna.storages.BaseStorage, worker: str):
        self._quest, self._search, self._worker = quest, search, worker
        direction: Literal["maximize", "minimize"] = "maximize" if MORE_IS_BETTER[quest.figure] else "minimize"
        self._study = optuna.create_study(
            storage=storage, study_name=quest.id, direction=direction, load_if_exists=True, pruner=self._pruner()
        )
        if quest.start and not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(dict(quest.start), skip_if_exists=True)

    def _pruner(self) -> optuna.pruners.BasePruner:
        if self._search.pruner == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=NUM_STARTUP_TRIALS)
        return optuna.pruners.NopPruner()

    def left(self) -> int:
        """How many trials of the budget nobody has begun."""
        begun = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != State.WAITING]
        return max(0, self._search.trials - len(begun))

    def ask(self) -> Trial:
        """A new trial; its proposal depends on its number and on the trials that have ended."""
        number = sum(trial.state != State.WAITING for trial in self._study.get_trials(deepcopy=False))
        self._study.sampler = self._sampler(number)
        return self._taken(self._study.ask())

    def unfinished(self) -> list[Trial]:
        """Trials of this worker that were begun and never told of: its process was killed."""
        running = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state == State.RUNNING]
        ours = [trial for trial in running if self._is_ours(trial)]
        self._study.sampler = self._sampler(0)
        return [self._taken(optuna.trial.Trial(self._study, trial._trial_id)) for trial in ours]

    def wait_for_others(self) -> int:
        """How many trials run on other machines; those that run ten times as long as any other are given up."""
        trials = self._study.get_trials(deepcopy=False)
        others = [trial for trial in trials if trial.state == State.RUNNING and not self._is_ours(trial)]
        longest = max((trial.duration.total_seconds() for trial in trials if trial.duration), default=0.0)
        patience = max(LEAST_SECONDS_LOST, TIMES_LONGEST_LOST * longest)
        waiting = 0
        for trial in others:
            begun = trial.datetime_start or datetime.datetime.now()
            if (datetime.datetime.now() - begun).total_seconds() > patience:
                self._study.tell(trial.number, state=State.FAIL)
            else:
                waiting += 1
        return waiting

    def should_end(self, number: int, epoch: int, value: float) -> bool:
        """Report a figure of an epoch; whether the trial is not worth going on with."""
        trial = self._trial(number)
        trial.report(value, epoch)
        return trial.should_prune()

    def tell(self, number: int, figures: tuple[float, ...]) -> None:
        """A trial is complete, with a figure for each of its runs."""
        self._trial(number).set_user_attr(FIGURES, list(figures))
        self._study.tell(number, sum(figures) / len(figures))

    def tell_pruned(self, number: int) -> None:
        """A trial was ended early."""
        self._study.tell(number, state=State.PRUNED)

    def tell_failed(self, number: int, error: str) -> None:
        """A trial failed."""
        self._trial(number).set_user_attr(ERROR, error)
        self._study.tell(number, state=State.FAIL)

    def records(self) -> tuple[TrialRecord, ...]:
        """All trials that were begun, by number."""
        begun = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != State.WAITING]
        return tuple(_record(trial) for trial in sorted(begun, key=lambda trial: trial.number))

    def _is_ours(self, trial: optuna.trial.FrozenTrial) -> bool:
        return self._search.storage == JOURNAL or trial.user_attrs.get(WORKER) == self._worker

    def _trial(self, number: int) -> optuna.trial.Trial:
        found = self._study.get_trials(deepcopy=False)[number]
        return optuna.trial.Trial(self._study, found._trial_id)

    def _taken(self, trial: optuna.trial.Trial) -> Trial:
        trial.set_user_attr(WORKER, self._worker)
        return Trial(trial.number, {key: _proposed(trial, key, item) for key, item in self._quest.space.items()})

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """A sampler for one trial: one that went on would repeat itself in a study that is resumed."""
        text = f"{self._search.sampler_seed} {self._quest.id} {number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        if self._search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=NUM_STARTUP_TRIALS)


def _proposed(trial: optuna.trial.Trial, key: str, dimension: Dimension) -> Any:
    with warnings.catch_warnings():
        # that a first trial's own value lies within the range was checked
        warnings.simplefilter("ignore", UserWarning)
        if isinstance(dimension, Choices):
            return trial.suggest_categorical(key, dimension.values)
        if dimension.integer:
            return trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log)
        return _short(trial.suggest_float(key, float(dimension.low), float(dimension.high), log=dimension.log))


def _short(value: Any) -> Any:
    """A number of few digits, which a person can read and write again."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


WORDS = {State.COMPLETE: "complete", State.PRUNED: "pruned", State.FAIL: "failed", State.RUNNING: "running"}


def _record(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    return TrialRecord(
        number=trial.number,
        values={key: _short(value) for key, value in trial.params.items()},
        state=WORDS[trial.state],
        value=trial.value if trial.state == State.COMPLETE else None,
        figures=tuple(trial.user_attrs[FIGURES]) if FIGURES in trial.user_attrs else (),
        seconds=None if trial.duration is None else round(trial.duration.total_seconds(), 3),
        error=str(trial.user_attrs[ERROR]) if ERROR in trial.user_attrs else "",
    )
