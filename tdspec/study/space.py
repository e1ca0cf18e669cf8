"""What a search may choose from.

In: dimensions as plain data that the schema has checked. Out: `Space`s, their rules, the space a spec has by itself.
Leaves out: proposing values (`trials.py`), whether keys and values make valid specs (`quests.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tdspec.spec.checks import TERMS
from tdspec.spec.facts import ABSENT, dig
from tdspec.spec.problems import Problem
from tdspec.spec.schema import nodes_at, type_names
from tdspec.spec.source import KeyPath, parse_dotted
from tdspec.spec.words import quoted
from tdspec.study.keys import WITHOUT_EFFECT, full_key, no_paths

WEIGHT_SPREAD = 30.0
RATE_SPREAD = 10.0
NOT_SEARCHED = ("method", "seed", *WITHOUT_EFFECT)
LEARNING_RATE = "train.optimizer.learning_rate"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool
    integer: bool

    def holds(self, value: Any) -> bool:
        """Whether it can propose a value."""
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and not (self.integer and value != int(value))

    def middle(self) -> float:
        """A value that is neither the least nor the largest, where there are others."""
        middle = (self.low * self.high) ** 0.5 if self.log else (self.low + self.high) / 2
        return int(middle) if self.integer else middle

    def examples(self) -> tuple[Any, ...]:
        """Values that stand for all of it."""
        ends = (int(self.low), int(self.high)) if self.integer else (self.low, self.high)
        return tuple(dict.fromkeys((*ends, self.middle())))

    def in_words(self) -> str:
        """For people: "0.01 to 10 (log)"."""
        kinds = [word for word, is_so in (("log", self.log), ("whole", self.integer)) if is_so]
        return f"{self.low:g} to {self.high:g}" + (f" ({', '.join(kinds)})" if kinds else "")


@dataclass(frozen=True)
class Choices:
    """One of `values`."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether it can propose a value."""
        return value in self.values

    def examples(self) -> tuple[Any, ...]:
        """Values that stand for all of it."""
        return self.values

    def in_words(self) -> str:
        """For people: "1, 2 or 4"."""
        return ", ".join(map(quoted, self.values))


Dimension = Range | Choices
Space = Mapping[str, Dimension]


def read_space(values: Mapping[str, Any]) -> dict[str, Dimension]:
    """A space, by full key path, from plain data that has no problem."""
    return {full_key(key): _dimension(item) for key, item in values.items()}


def _dimension(item: Any) -> Dimension:
    if isinstance(item, list):
        return Choices(tuple(item))
    return Range(item["low"], item["high"], item["log"], item["integer"])


def space_problems(values: Any, path: KeyPath) -> Iterator[Problem]:
    """What the schema cannot say of a space.

    Args:
        values: the space as plain data, which the schema may have refused.
        path: where it stands.
    """
    if not isinstance(values, dict):
        return
    yield from no_paths(values, path)
    for key, item in values.items():
        if key in NOT_SEARCHED:
            yield Problem((*path, key), "value", f"found {key}, which a search does not choose", at_key=True)
        if full_key(key) != key and full_key(key) in values:
            yield Problem((*path, key), "choice", f"found {full_key(key)} too, expected it once", at_key=True)
        if not isinstance(item, dict) or not all(type(item.get(end)) in (int, float) for end in ("low", "high")):
            continue
        low, high = item["low"], item["high"]
        if low >= high:
            yield Problem((*path, key, "high"), "value", f"found {high}, expected more than low, which is {low}")
        if item.get("log") is True and low <= 0:
            hint = "leave log out, or raise low"
            yield Problem((*path, key, "low"), "value", f"found {low}, expected a number above 0, for log", hint)
        if item.get("integer") is not True and _is_whole(full_key(key)):
            message = "found a range of all numbers, expected one of whole numbers"
            yield Problem((*path, key), "value", message, "write integer: true", at_key=True)
        if item.get("integer") is True:
            for end in ("low", "high"):
                if item[end] != int(item[end]):
                    yield Problem((*path, key, end), "value", f"found {item[end]}, expected a whole number")


def _is_whole(key: str) -> bool:
    """Whether the numbers that a key takes are whole ones."""
    kinds = {kind for node in nodes_at(parse_dotted(key)) for kind in type_names(node)}
    return "integer" in kinds and "number" not in kinds


def default_space(values: Mapping[str, Any]) -> dict[str, Dimension]:
    """What is searched where nobody says: the weights of the method's terms, else the learning rate.

    Args:
        values: a spec with every default.
    """
    terms = [term for term in TERMS[values["method"]] if term != "task"]
    weights = {f"losses.{term}.weight": values["losses"][term]["weight"] for term in terms}
    space = {key: _around(weight, WEIGHT_SPREAD) for key, weight in weights.items() if weight > 0}
    rate = values["train"]["optimizer"]["learning_rate"]
    return space or {LEARNING_RATE: _around(rate, RATE_SPREAD)}


def _around(value: float, spread: float) -> Dimension:
    return Range(value / spread, value * spread, log=True, integer=False)


def start_of(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """The spec's own values, where the space holds them: the first trial.

    Args:
        space: what is searched.
        values: a spec with every default.
    """
    own = {key: dig(values, tuple(key.split("."))) for key in space}
    return {key: value for key, value in own.items() if value is not ABSENT and space[key].holds(value)}
