"""Places, diagnostics and the exceptions of tdspec.

In: nothing. Out: the types by which every stage says what is wrong.
Leaves out: how diagnostics are printed (`spec/formats.py`) and exit codes (`cli.py`).

    TdspecError                 anything a user can mend; never shown with a traceback
    + SpecError                 the spec is wrong: one or more Diagnostics, each with a place
    + GraphError                a component refuses its arguments; the compiler adds the place
    + DataError                 the examples are wrong or missing
    + WeightsError              a weight file or preset is missing or does not fit
    + RunError                  a run folder is wrong, or training diverged
    + ExportError               an artefact does not compute what the student computes
    + UsageError                the call is wrong (exit code 2)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong, or doubtful, in a spec.

    Attributes:
        place: where.
        severity: "error" or "warning".
        rule: a short stable identifier such as "unknown-key".
        key: the dotted key path, or "" for the file as a whole.
        message: what was found and what was expected, lower case, no full stop.
        hint: how to mend it, or "".
    """

    place: Place
    severity: str
    rule: str
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        subject = f"{self.key}: " if self.key else ""
        text = f"{self.place}: {self.severity}: {subject}{self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class TdspecError(Exception):
    """Something a user can mend.

    Args:
        message: what was found and what was expected, lower case, no full stop.
        hint: how to mend it, or "".
    """

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        text = f"error: {self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class SpecError(TdspecError):
    """A spec is wrong; holds every Diagnostic, sorted by place."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]):
        self.diagnostics = tuple(sorted(diagnostics, key=lambda item: item.place))
        super().__init__("; ".join(item.message for item in self.diagnostics))

    def __str__(self) -> str:
        return "\n".join(str(item) for item in self.diagnostics)


class GraphError(TdspecError):
    """A backbone, cut or codec refuses what it was given."""


class DataError(TdspecError):
    """Examples are missing or wrong."""


class WeightsError(TdspecError):
    """Weights are missing or do not fit the model."""


class RunError(TdspecError):
    """A run folder is wrong, or training cannot go on."""


class ExportError(TdspecError):
    """An exported artefact cannot be made or does not agree with the student."""


class UsageError(TdspecError):
    """The call itself is wrong."""
