"""The runs of a study: every combination of its axes' values, each a checked spec.

In: a `Study`. Out: a `StudyRun` for each combination that differs in effect.
Leaves out: running them (`runner.py`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tdspec.errors import Diagnostic, SpecError
from tdspec.spec.checks import CUT_METHODS, TALKING_METHODS, TERMS
from tdspec.spec.load import Document, load
from tdspec.spec.paths import absolute, map_paths
from tdspec.study.study_file import METHOD, Study

MAX_NAME = 100
BASELINE = "scratch"


@dataclass(frozen=True)
class StudyRun:
    """A run of a study.

    Attributes:
        id: names its folder; the same for the same settings of the same spec.
        settings: by axis, the value; axes that its method does not read are left out.
        overrides: "key=value" texts that make the run's spec out of the study's.
        document: the run's spec.
    """

    id: str
    settings: Mapping[str, Any]
    overrides: tuple[str, ...]
    document: Document


def plan_runs(study: Study) -> tuple[StudyRun, ...]:
    """All runs of a study, in the order of its axes.

    Axes that a method does not read make no runs of their own: scratch is trained once, whatever is sent in messages.

    Raises:
        SpecError: some combinations are no valid specs; holds their problems, at their places in the study.
    """
    combinations: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*study.axes.values()):
        settings = effective(study, dict(zip(study.axes, values, strict=True)))
        combinations.setdefault(as_key(settings), settings)
    runs, problems = [], []
    for settings in combinations.values():
        try:
            runs.append(_planned(study, settings))
        except SpecError as error:
            problems += [_moved(item, study) for item in error.diagnostics if item.severity == "error"]
    if problems:
        raise SpecError(tuple(dict.fromkeys(problems)))
    return tuple(runs)


def effective(study: Study, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a run's method reads."""
    method = settings.get(METHOD, study.settings.get(METHOD))
    if method is None:
        method = load(study.spec).spec.method
    return {key: value for key, value in settings.items() if not _is_ignored(method, key)}


def as_key(settings: Mapping[str, Any]) -> str:
    """Settings as text that is the same for equal settings."""
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings for people: "talking, seed 1"."""
    parts = [str(value) if key == METHOD else f"{_last(key)} {_value(value)}" for key, value in settings.items()]
    return ", ".join(parts)


def leaks(runs: Sequence[StudyRun]) -> tuple[str, ...]:
    """Where examples serve two purposes in some runs, such as those that the teacher of another seed was trained on."""
    found: dict[str, list[StudyRun]] = {}
    for run in runs:
        for warning in run.document.warnings:
            if warning.rule == "leak":
                found.setdefault(f"{warning.key}: {warning.message}", []).append(run)
    return tuple(
        f"{message} ({len(among)} of {len(runs)} runs, such as {in_words(among[0].settings)})"
        for message, among in found.items()
    )


def _is_ignored(method: str, key: str) -> bool:
    """Whether a method does not read a key; one that is unknown reads all, so that its spec is refused."""
    if method not in TERMS:
        return False
    section, _, rest = key.partition(".")
    if section.partition("[")[0] in ("teacher", "teachers"):
        return method == BASELINE
    if key == "losses.balance":
        return TERMS[method] == ("task",)
    if section == "losses" and rest:
        return rest.partition(".")[0] not in TERMS[method]
    if key == "communication.iterations":
        return method not in TALKING_METHODS
    return section == "communication" and method not in CUT_METHODS


def _planned(study: Study, settings: Mapping[str, Any]) -> StudyRun:
    everything = {**study.settings, **settings}
    overrides = tuple(_override(study, key, value) for key, value in everything.items())
    document = load(study.spec, overrides)
    digest = hashlib.sha256(f"{document.sha256} {as_key(settings)}".encode()).hexdigest()[:8]
    words = "_".join(f"{_last(key)}-{_value(value)}" for key, value in settings.items())
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", words)[:MAX_NAME]
    return StudyRun(f"{name}_{digest}", settings, overrides, document)


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _override(study: Study, key: str, value: Any) -> str:
    """The override text; relative paths in it start from the study, as those of a spec do from the spec."""
    nested = value
    for step in reversed(key.split(".")):
        nested = {step: nested}
    nested = map_paths(nested, lambda path, text: absolute(path, text, study.folder))
    for step in key.split("."):
        nested = nested[step]
    return f"{key}={json.dumps(nested, ensure_ascii=False)}"


def _moved(diagnostic: Diagnostic, study: Study) -> Diagnostic:
    """The diagnostic at its place in the study, where it is about an override."""
    if not diagnostic.place.file.startswith("--set "):
        return diagnostic
    override = diagnostic.place.file.removeprefix("--set ")
    key = override.partition("=")[0]
    if diagnostic.rule == "unknown-key" and key in study.axes:
        return replace(diagnostic, place=study.source.key_place(("axes", key)))
    for index, value in enumerate(study.axes.get(key, ())):
        if override == _override(study, key, value):
            return replace(diagnostic, place=study.source.place(("axes", key, index)))
    return replace(diagnostic, place=study.source.place(("set", key)))
