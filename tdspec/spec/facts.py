"""What the semantic checks look at.

In: a spec as written and as resolved. Out: `Facts`, and `Check`, a rule with the sections it reads.
Leaves out: the rules (`checks*.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tdspec.spec.paths import SIDES
from tdspec.spec.problems import Problem
from tdspec.spec.schema import default_at


@dataclass(frozen=True)
class Facts:
    """A spec, for rules that the schema cannot say.

    Attributes:
        written: what the user wrote.
        values: with every default; sections that the schema refuses are absent.
        references: the values of the spec that a model's backbone names, by the model's key ("teacher", "teachers[0]");
            paths in them are absolute.
        folder: the folder that relative paths of `written` and `values` start from.
    """

    written: Mapping[str, Any]
    values: Mapping[str, Any]
    references: Mapping[str, Mapping[str, Any]]
    folder: str

    def views(self) -> Iterator[Facts]:
        """The facts of each of several `teachers`, as if it were the only one."""
        for index, values in enumerate(self.values["teachers"]):
            written = {**self.written, "teacher": self.written["teachers"][index]}
            keys = {f"teachers[{index}]": "teacher", "student": "student"}
            references = {keys[key]: reference for key, reference in self.references.items() if key in keys}
            yield Facts(written, {**self.values, "teacher": values}, references, self.folder)

    def sides(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Teacher and student, those that are there."""
        return ((side, self.values[side]) for side in SIDES if side in self.values)

    def is_written(self, *path: str) -> bool:
        """Whether the user wrote a key on purpose.

        A spec that writes every key, as `render` does, says nothing by writing one: there, only what differs from its
        default counts.
        """
        written, value = dig(self.written, path), dig(self.values, path)
        return written is not ABSENT and (self.written != self.values or value != default_at(path))


class Absent:
    """Stands for a key that is not there."""


ABSENT = Absent()


def dig(values: Any, path: tuple[str, ...]) -> Any:
    """The value of a key path, or ABSENT."""
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return ABSENT
        values = values[key]
    return values


class Check(NamedTuple):
    """A rule that a schema cannot say.

    Attributes:
        reads: the sections it reads; it does not run while one of them is refused by the schema.
        run: gives what is wrong.
    """

    reads: tuple[str, ...]
    run: Callable[[Facts], Iterator[Problem]]
