"""From a file to a checked `Document`.

In: the path of a spec, and overrides. Out: `Document`, or `SpecError` with every problem of the file.
Leaves out: whether data, presets and weights exist; only the specs that a spec names are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tdspec.errors import Diagnostic, SpecError
from tdspec.spec.checks import run_checks
from tdspec.spec.checks_models import OWN_KINDS, kind_of
from tdspec.spec.checks_teachers import about, key_of
from tdspec.spec.facts import Facts
from tdspec.spec.hashing import content_hash
from tdspec.spec.overrides import apply_overrides
from tdspec.spec.paths import absolute_paths, model_keys, models_in
from tdspec.spec.problems import Problem, has_error, of_what_was_read, unread_keys
from tdspec.spec.reader import fatal, read_file
from tdspec.spec.scalars import TRUTH_WORDS
from tdspec.spec.schema import fill, schema
from tdspec.spec.source import KeyPath, Node, Source, dotted, parse_dotted, plain_data
from tdspec.spec.violations import suggested_sections, violations
from tdspec.spec.words import found as in_words

if TYPE_CHECKING:
    from tdspec.spec.model import Spec

MAX_TEACHERS = 16


@dataclass(frozen=True)
class Document:
    """A checked spec.

    Attributes:
        spec: what later stages read; paths in it are absolute.
        values: the spec as plain data with every default, losses as mappings, paths as written.
        source: the places of the text.
        warnings: what is doubtful.
        sha256: hash of the content, wherever the spec lies.
        teacher_index: in the view of one of several teachers, its place in the list; else None.
    """

    spec: Spec
    values: Mapping[str, Any]
    source: Source
    warnings: tuple[Diagnostic, ...]
    sha256: str
    teacher_index: int | None = None

    @property
    def views(self) -> tuple[Document, ...]:
        """For each teacher the spec in which it is the only one, `teacher`; errors still name its own key."""
        if not self.spec.teachers:
            return () if self.spec.teacher is None else (self,)
        return tuple(
            replace(
                self,
                spec=replace(self.spec, teacher=teacher, teachers=()),
                values={**self.values, "teacher": self.values["teachers"][index]},
                teacher_index=index,
            )
            for index, teacher in enumerate(self.spec.teachers)
        )

    @property
    def teaching(self) -> tuple[Document, ...]:
        """The views of the teachers that have a weight."""
        return tuple(view for view in self.views if view.weight != 0)

    @property
    def weight(self) -> float | Literal["learned"]:
        """In the view of one of several teachers its weight, else 1."""
        return 1.0 if self.teacher_index is None else self.values["teacher"]["weight"]

    def name_of(self, side: str) -> str:
        """What a side is called: "student", "teacher", or the name of one of several teachers."""
        if side == "student" or self.teacher_index is None:
            return side
        return str(self.values["teacher"]["name"])

    def error(self, key: str, message: str, hint: str = "", rule: str = "graph") -> SpecError:
        """An error of a later stage about a key of this spec.

        Args:
            key: the dotted key path, such as "student.cut.high".
            message: what was found and what was expected, lower case, no full stop.
            hint: how to mend it, or "".
            rule: a short stable identifier.
        """
        if self.teacher_index is not None:
            inside = key == "teacher" or key.startswith("teacher.")
            key = key_of(self.teacher_index) + key.removeprefix("teacher") if inside else key
            message, hint = about(self.teacher_index, message), about(self.teacher_index, hint)
        place = self.source.place(parse_dotted(key))
        return SpecError((Diagnostic(place, "error", rule, key, message, hint),))


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Document:
    """Read and check a spec.

    Args:
        path: the YAML file.
        overrides: "key.path=value" texts, the values YAML.

    Raises:
        SpecError: the file is no valid spec; holds all problems.
        UsageError: an override without "=".
    """
    from tdspec.spec.build import build_spec  # 20 ms that validating does without

    file = os.fspath(path)
    found = _examine(file, overrides, ())
    if has_error(found.diagnostics):
        raise SpecError(found.diagnostics)
    spec = build_spec(found.values, _folder(file))
    return Document(spec, found.values, found.source, found.diagnostics, found.sha256)


def check(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> tuple[Diagnostic, ...]:
    """All errors and warnings of a spec, sorted by place; see `load`."""
    try:
        return _examine(os.fspath(path), overrides, ()).diagnostics
    except SpecError as error:
        return error.diagnostics


class _Examined(NamedTuple):
    """What is known of a spec; with errors, values are incomplete and the hash is empty."""

    values: dict[str, Any]
    source: Source
    diagnostics: tuple[Diagnostic, ...]
    sha256: str

    @property
    def absolute(self) -> dict[str, Any]:
        """The values with absolute paths, for a spec that may lie in another folder."""
        return absolute_paths(self.values, _folder(self.source.file))


class _Reference(NamedTuple):
    """A spec that a backbone names, or why it cannot be used."""

    examined: _Examined | None
    problem: Problem | None = None
    diagnostics: tuple[Diagnostic, ...] = ()


def _folder(file: str) -> str:
    """The absolute path of the folder of a spec."""
    return os.path.dirname(os.path.abspath(file))


def _examine(file: str, overrides: Sequence[str], chain: tuple[str, ...]) -> _Examined:
    """All that is to know of a spec; raises SpecError where the file cannot be read."""
    source, reading = _read(file, overrides)
    written: dict[str, Any] = plain_data(source.root)
    unread = unread_keys(reading)
    problems = of_what_was_read(violations(written), unread)
    refused = frozenset(str(item.path[0]) for item in problems if item.path) | suggested_sections(problems)
    refused |= {key.partition(".")[0] for key in unread}
    values = _resolve(written, refused)
    references = {
        dotted(side): _examine_reference(side, part["backbone"]["spec"], file, (*chain, os.path.realpath(file)))
        for side, part in models_in(values)
        if "spec" in part["backbone"]
    }
    sound = {side: item.examined for side, item in references.items() if item.examined}
    facts = Facts(written, values, {side: examined.absolute for side, examined in sound.items()}, _folder(file))
    problems += run_checks(facts, refused)
    problems += [item.problem for item in references.values() if item.problem]
    problems += _ambiguous_texts(source)
    found = [*reading, *(problem.diagnose(source) for problem in dict.fromkeys(problems))]
    found += [diagnostic for item in references.values() for diagnostic in item.diagnostics]
    diagnostics = tuple(sorted(dict.fromkeys(found), key=lambda item: (item.place, item.key)))
    hashes = {side: examined.sha256 for side, examined in sound.items()}
    return _Examined(values, source, diagnostics, "" if has_error(diagnostics) else content_hash(values, hashes))


def _read(file: str, overrides: Sequence[str]) -> tuple[Source, tuple[Diagnostic, ...]]:
    root, reading = read_file(Path(file), file)
    if root.value is None:
        raise fatal(root.place, "empty", "found nothing, expected a spec", "`tdspec init` writes one")
    if not isinstance(root.value, dict):
        raise fatal(root.place, "value", f"found {in_words(plain_data(root))}, expected a mapping")
    if "axes" in root.value and "student" not in root.value:
        raise fatal(root.place, "value", "found a study, expected a spec", f"`tdspec study {file}` runs it")
    changed, more = apply_overrides(root, overrides)
    return Source(file, changed), (*reading, *more)


def _resolve(written: Mapping[str, Any], refused: frozenset[str]) -> dict[str, Any]:
    """Every default filled in; sections that the schema refuses are absent."""
    known = schema()["properties"]
    sound = {key: value for key, value in written.items() if key in known and key not in refused}
    values = {key: value for key, value in fill(schema(), sound).items() if key not in refused}
    order = list(schema()["$defs"]["backbone"]["properties"])
    for index, item in enumerate(values.get("teachers", ())):
        values["teachers"][index] = {"name": f"teacher_{index + 1}", **item}
    for side, part in models_in(values):
        backbone = {**_default_weights(side, part["backbone"]), **part["backbone"]}
        part["backbone"] = {key: backbone[key] for key in order if key in backbone}
    return values


def _default_weights(side: KeyPath, backbone: Mapping[str, Any]) -> dict[str, str]:
    """What the schema cannot say, since it depends on the side and on the kind of backbone."""
    if kind_of(backbone) in OWN_KINDS:
        return {"weights": "own"}
    return {"weights": "random"} if side == ("student",) else {}


def _examine_reference(side: KeyPath, text: str, file: str, chain: tuple[str, ...]) -> _Reference:
    path = (*side, "backbone", "spec")
    other = os.path.normpath(os.path.join(os.path.dirname(file), os.path.expanduser(text)))
    if os.path.realpath(other) in chain:
        message = f"found '{text}', which is this spec or learns from it, expected no circle of teachers"
        return _Reference(None, Problem(path, "spec-cycle", message))
    if len(chain) > MAX_TEACHERS:
        message = f"found more than {MAX_TEACHERS} specs that teach each other in turn, expected few"
        return _Reference(None, Problem(path, "spec-cycle", message))
    try:
        examined = _examine(other, (), chain)
    except SpecError as error:
        first = error.diagnostics[0]
        if first.rule == "file" and first.place.file == other:
            return _Reference(None, Problem(path, "file", f"{first.message} at '{text}'", first.hint))
        return _Reference(None, None, error.diagnostics)
    if has_error(examined.diagnostics):
        return _Reference(None, None, tuple(item for item in examined.diagnostics if item.severity == "error"))
    return _Reference(examined)


def _ambiguous_texts(source: Source) -> Iterator[Problem]:
    """Unquoted yes, no, on and off where any value may stand: in a config and in a filter."""
    teachers = source.root.value["teachers"].node.value if "teachers" in source.root.value else None
    models = model_keys(len(teachers) if isinstance(teachers, list) else 0)
    for outer in (("data", "where"), *((*side, "backbone", "config") for side in models)):
        for path, node in _leaves(source.root, outer, ()):
            if node.plain and node.value in TRUTH_WORDS:
                truth = "true" if node.value.lower() in {"yes", "on"} else "false"
                hint = f"write '{node.value}' in quotes for text, or {truth}"
                message = f"found {node.value}, which is text here, expected quotes or {truth}"
                yield Problem(path, "ambiguous-text", message, hint, severity="warning")


def _leaves(node: Node, inside: KeyPath, path: KeyPath) -> Iterator[tuple[KeyPath, Node]]:
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            if not inside or key == inside[0]:
                yield from _leaves(entry.node, inside[1:], (*path, key))
    elif isinstance(node.value, list) and not inside:
        for index, item in enumerate(node.value):
            yield from _leaves(item, (), (*path, index))
    elif isinstance(node.value, list) and isinstance(inside[0], int):
        yield from _leaves(node.value[inside[0]], inside[1:], (*path, inside[0]))
    elif not inside:
        yield path, node
