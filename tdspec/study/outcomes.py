"""What a search came to: every trial, and the chosen one.

In: search.json of a folder. Out: `Outcome`s, also in words.
Leaves out: searching (`searching.py`), the page (`report/search_section.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdspec.errors import RunError

RECORD = "search.json"


@dataclass(frozen=True)
class TrialRecord:
    """What came of a trial.

    Attributes:
        number: from 0.
        values: by key path.
        state: "complete", "pruned", "failed" or "running".
        value: the mean figure on validation, None where it is not complete.
        figures: that of each of its runs.
        seconds: how long it took, None while it is running.
        error: what made it fail, or "".
    """

    number: int
    values: Mapping[str, Any]
    state: str
    value: float | None
    figures: tuple[float, ...]
    seconds: float | None
    error: str


@dataclass(frozen=True)
class Outcome:
    """What a quest came to.

    Attributes:
        name, id, figure: of the quest.
        space: by key, in words.
        trials: all that were begun.
        best: the number of the best trial, or None before one is complete.
    """

    name: str
    id: str
    figure: str
    space: Mapping[str, str]
    trials: tuple[TrialRecord, ...]
    best: int | None

    def best_trial(self) -> TrialRecord | None:
        """The best trial, or None before one is complete."""
        return next((trial for trial in self.trials if trial.number == self.best), None)


def values_in_words(values: Mapping[str, Any]) -> str:
    """Values by key for people, numbers to four digits."""
    return ", ".join(f"{key} {f'{value:.4g}' if isinstance(value, float) else value}" for key, value in values.items())


def in_one_sentence(outcome: Outcome) -> str:
    """What was chosen, from how many trials."""
    best = outcome.best_trial()
    if best is None:
        return f"The search for {outcome.name} has no complete trial yet."
    ended = sum(trial.state != "running" for trial in outcome.trials)
    return (
        f"Chosen for {outcome.name} on validation, from {ended} trials: {values_in_words(best.values)} "
        f"(trial {best.number}, mean {outcome.figure} {best.value:.4f})."
    )


def read_outcomes(folder: Path) -> tuple[Outcome, ...]:
    """What a search came to so far; none where there was no search.

    Raises:
        RunError: its record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return ()
    try:
        searches = json.loads(path.read_text("utf-8"))["searches"]
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}", "start again with --resume: it is written anew") from None
    return tuple(_read(item) for item in searches)


def _read(item: Mapping[str, Any]) -> Outcome:
    trials = tuple(TrialRecord(**{**trial, "figures": tuple(trial["figures"])}) for trial in item["trials"])
    return Outcome(**{**item, "trials": trials})
