"""From a study file to a checked `Study`.

In: the path of a YAML file. Out: `Study`, or `SpecError` with every problem of the file and its place.
Leaves out: whether the axes' keys and values make valid specs (`matrix.py` finds that out).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tdspec.errors import SpecError
from tdspec.resources import resource
from tdspec.spec.problems import Problem, has_error
from tdspec.spec.reader import fatal, read_file
from tdspec.spec.source import KeyPath, Source, plain_data
from tdspec.spec.words import did_you_mean, expected, found, one_of, quoted, similar, value_hint

REPETITION = "seed"
METHOD = "method"


@dataclass(frozen=True)
class Study:
    """A matrix of runs of one spec.

    Attributes:
        name: names its folder.
        spec: absolute path of the spec.
        axes: by key path of the spec, the values it takes; in the order they were written.
        settings: by key path, what all runs have otherwise than the spec.
        source: the places of the text.
    """

    name: str
    spec: str
    axes: Mapping[str, tuple[Any, ...]]
    settings: Mapping[str, Any]
    source: Source

    @property
    def folder(self) -> str:
        """The absolute path of the folder that relative paths in the study start from."""
        return os.path.dirname(os.path.abspath(self.source.file))


@cache
def _schema() -> dict[str, Any]:
    return dict(json.loads(resource("schemas/study.schema.json").read_text("utf-8")))


def load_study(path: str | os.PathLike[str]) -> Study:
    """Read and check a study file.

    Args:
        path: the YAML file.

    Raises:
        SpecError: the file is no valid study; holds all problems.
    """
    file = os.fspath(path)
    root, reading = read_file(Path(file), file)
    if not isinstance(root.value, dict):
        raise fatal(root.place, "value", f"found {found(plain_data(root))}, expected a study: a mapping")
    source, values = Source(file, root), plain_data(root)
    problems = [*_violations(values), *_both_ways(values)]
    diagnostics = (*reading, *(problem.diagnose(source) for problem in dict.fromkeys(problems)))
    if has_error(diagnostics):
        raise SpecError(diagnostics)
    spec = os.path.join(os.path.dirname(os.path.abspath(file)), os.path.expanduser(values["spec"]))
    axes = {key: tuple(items) for key, items in values["axes"].items()}
    return Study(values["name"], os.path.normpath(spec), axes, values.get("set", _schema_default("set")), source)


def _schema_default(key: str) -> Any:
    return _schema()["properties"][key]["default"]


def _violations(values: Mapping[str, Any]) -> Iterator[Problem]:
    for error in Draft202012Validator(_schema()).iter_errors(values):
        yield from _explain(error, tuple(error.absolute_path), values)


def _explain(error: Any, path: KeyPath, values: Mapping[str, Any]) -> Iterator[Problem]:
    known = list(_schema()["properties"])
    if error.validator == "additionalProperties":
        for key in error.instance:
            if key not in known:
                message = f"found an unknown key, expected {one_of(known)}"
                yield Problem((key,), "unknown-key", message, _unknown_hint(key, known), at_key=True)
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in values:
                message = f"found nothing, expected {expected(_schema()['properties'][key])}"
                yield Problem((key,), "missing-key", message)
    elif error.validator == "uniqueItems":
        repeated = [item for index, item in enumerate(error.instance) if item in error.instance[:index]]
        yield Problem(path, "value", f"found {quoted(repeated[0])} a second time, expected it once")
    elif error.validator in {"minItems", "minProperties"}:
        yield Problem(path, "value", f"found {found(error.instance)}, expected at least one value")
    elif path[:1] == ("axes",) and len(path) > 1:
        hint = "" if isinstance(error.instance, dict) else f"write [{quoted(error.instance)}]"
        yield Problem(path, "value", f"found {found(error.instance)}, expected a list of values", hint)
    else:
        hint = value_hint(error.schema, error.instance)
        yield Problem(path, "value", f"found {found(error.instance)}, expected {expected(error.schema)}", hint)


def _unknown_hint(key: str, known: list[str]) -> str:
    return did_you_mean(similar(key, known)) or "keys of the spec belong to axes, or to set"


def _both_ways(values: Mapping[str, Any]) -> Iterator[Problem]:
    """A key that varies cannot be the same for all."""
    axes, settings = values.get("axes"), values.get("set")
    if isinstance(axes, dict) and isinstance(settings, dict):
        for key in settings:
            if key in axes:
                yield Problem(("set", key), "choice", f"found {key} in axes too, expected it once", at_key=True)
