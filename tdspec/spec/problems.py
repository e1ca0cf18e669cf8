"""What can be wrong with a spec.

In: key paths and messages. Out: `Problem`, made a Diagnostic by looking up its place; `RULES`, every rule's meaning.
Leaves out: finding problems (`reader.py`, `violations.py`, `checks.py`), printing them (`formats.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tdspec.errors import Diagnostic
from tdspec.spec.source import KeyPath, Source, dotted, is_within

RULES = {
    "file": "A spec is a readable file.",
    "encoding": "A spec is UTF-8 text.",
    "syntax": "A spec is YAML.",
    "empty": "A spec is not empty.",
    "document": "A file holds one spec.",
    "nesting": "A spec is neither deeply nested nor huge.",
    "anchor": "Aliases repeat little, and never what they stand in.",
    "tag": "A spec is data; tags could name code.",
    "merge-key": "Merge keys are not read; every key is written where it belongs.",
    "duplicate-key": "A key is written once.",
    "key-type": "Keys are text.",
    "number": "Numbers are finite and fit 64 bits.",
    "override": "An override names a key of the spec language.",
    "unknown-key": "Only the schema's keys are known.",
    "missing-key": "Required keys are written.",
    "value": "A value has the type and lies in the bounds that the schema gives.",
    "choice": "Of several ways to say a thing, one is chosen.",
    "method": "The method has what it needs.",
    "cut": "The cuts are in order and leave layers to interpret with.",
    "losses": "Something is optimised.",
    "encoder": "The encoder's settings agree with each other and with the message.",
    "splits": "The three splits are told the same way and fit the source.",
    "leak": "No part of the data is used for two purposes.",
    "source": "The source has the keys it needs and no others.",
    "task": "The task, its classes and its labels agree.",
    "weights": "Where a model's weights come from is known.",
    "input": "The model's input fits what the model reads.",
    "backbone": "A backbone has no keys that mean nothing for it.",
    "teacher-cache": "What is kept of the teacher is what training needs.",
    "train": "The settings of training agree with each other.",
    "no-effect": "What is written has an effect.",
    "ambiguous-text": "Unquoted yes, no, on and off are text here, truth values elsewhere.",
    "spec-cycle": "No spec is its own teacher.",
    "graph": "The graph can be built.",
}


def has_error(diagnostics: Sequence[Diagnostic]) -> bool:
    """Whether a spec cannot be used."""
    return any(item.severity == "error" for item in diagnostics)


def unread_keys(reading: Sequence[Diagnostic]) -> tuple[str, ...]:
    """The dotted keys whose values could not be read, from what was found on reading."""
    return tuple(item.key for item in reading if item.rule != "duplicate-key")


@dataclass(frozen=True)
class Problem:
    """Something wrong or doubtful, before its place is known.

    Attributes:
        path: the key path.
        rule: one of RULES.
        message: what was found and what was expected, lower case, no full stop.
        hint: how to mend it, or "".
        severity: "error" or "warning".
        at_key: the place is that of the key, not of its value.
    """

    path: KeyPath
    rule: str
    message: str
    hint: str = ""
    severity: str = "error"
    at_key: bool = False

    def diagnose(self, source: Source) -> Diagnostic:
        """The problem with its place in a source."""
        place = source.key_place(self.path) if self.at_key else source.place(self.path)
        return Diagnostic(place, self.severity, self.rule, dotted(self.path), self.message, self.hint)


def of_what_was_read(problems: Iterable[Problem], unread: Sequence[str]) -> list[Problem]:
    """The problems of values that could be read; what is wrong with the others was told on reading.

    Of a mapping that is not read whole it is not known what is wrong with it as a whole.
    """

    def is_read(path: str) -> bool:
        return not any(not path or is_within(path, key) or is_within(key, path) for key in unread)

    return [problem for problem in problems if is_read(dotted(problem.path))]
