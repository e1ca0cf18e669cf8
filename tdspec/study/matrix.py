"""The runs of a study: every combination of its axes' values, each a checked spec.

In: a `Study`. Out: a `StudyRun` for each combination that differs in effect.
Leaves out: running them (`runner.py`), choosing hyper-parameters (`quests.py`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tdspec.errors import Diagnostic, Place, SpecError
from tdspec.spec.checks import CUT_METHODS, TALKING_METHODS, TERMS
from tdspec.spec.load import Document, check, load
from tdspec.spec.paths import absolute_paths
from tdspec.spec.problems import Problem
from tdspec.spec.schema import nodes_at
from tdspec.spec.source import is_key_path, parse_dotted
from tdspec.study.study_file import METHOD, VARIANTS, Study

MAX_NAME = 100
BASELINE = "scratch"
# What a search has chosen for runs of these settings.
Chosen = Callable[[Mapping[str, Any]], Mapping[str, Any]]


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


def nothing_chosen(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is chosen before a search."""
    return {}


def plan_runs(study: Study, chosen: Chosen = nothing_chosen) -> tuple[StudyRun, ...]:
    """All runs of a study, in the order of its axes.

    Axes that a method does not read make no runs of their own: scratch is trained once, whatever is sent in messages.

    Args:
        study: the study.
        chosen: by the settings of a run, what a search has chosen for it.

    Raises:
        SpecError: some combinations are no valid specs, or an axis or variant makes no run of its own; holds their
            problems, at their places in the study.
    """
    runs = []
    planned = combinations(study)
    problems = [problem.diagnose(study.source) for problem in _without_runs(study, planned)]
    causes: set[tuple[Diagnostic, str]] = set()
    for settings in planned:
        overrides = overrides_of(study, settings, chosen(settings))
        try:
            runs.append(_planned(study, settings, overrides))
        except SpecError as error:
            errors = [item for item in error.diagnostics if item.severity == "error"]
            problems += [_moved(_at_cause(item, study, overrides, causes), study) for item in errors]
    if problems:
        raise SpecError(tuple(dict.fromkeys(problems)))
    return tuple(runs)


def _without_runs(study: Study, planned: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Axes that no method of the study reads, and variants that are the same as another to every method."""
    for key in study.axes:
        if not any(key in settings for settings in planned):
            message = "found a key that no method of the study reads, expected one that makes a difference"
            yield Problem(("axes", key), "no-effect", message, "delete it", at_key=True)
        elif key == VARIANTS:
            told = {settings[VARIANTS] for settings in planned if VARIANTS in settings}
            for name in study.variants.keys() - told:
                message = "found a variant that is the same as another to each method, expected a difference"
                yield Problem(("axes", VARIANTS, name), "no-effect", message, "delete it", at_key=True)


def combinations(study: Study) -> tuple[dict[str, Any], ...]:
    """The settings of all runs, each once, axes that a method does not read left out."""
    found: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*study.axes.values()):
        settings = effective(study, dict(zip(study.axes, values, strict=True)))
        found.setdefault(as_key(settings), settings)
    return tuple(found.values())


def method_of(study: Study, settings: Mapping[str, Any]) -> str:
    """The method of runs of these settings."""
    for values in (settings, variant_of(study, settings), study.settings):
        if METHOD in values:
            return str(values[METHOD])
    return study.own_method


def variant_of(study: Study, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the variant among settings sets."""
    return study.variants[settings[VARIANTS]] if VARIANTS in settings else {}


def effective(study: Study, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a run's method reads; of variants that are the same to it, the first."""
    method = method_of(study, settings)
    kept = {key: value for key, value in settings.items() if not is_ignored(method, key)}
    if VARIANTS in kept:
        read = {name: _read_by(method, variant) for name, variant in study.variants.items()}
        kept[VARIANTS] = next(name for name in read if read[name] == read[kept[VARIANTS]])
        if not any(read.values()):
            del kept[VARIANTS]
    return kept


def as_key(settings: Mapping[str, Any]) -> str:
    """Settings as text that is the same for equal settings."""
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)


def without(key: str, names: Collection[str]) -> str:
    """Settings as text, without some axes."""
    return as_key({name: value for name, value in json.loads(key).items() if name not in names})


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings for people: "talking, seed 1"."""
    return ", ".join(
        str(value) if key in {METHOD, VARIANTS} else f"{_last(key)} {_value(value)}" for key, value in settings.items()
    )


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


@cache
def is_ignored(method: str, key: str) -> bool:
    """Whether a method does not read a key; what is unknown of either counts as read, so that the spec is refused."""
    if method not in TERMS or not is_key_path(key) or not nodes_at(parse_dotted(key)):
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


def _read_by(method: str, variant: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in variant.items() if not is_ignored(method, key)}


def overrides_of(study: Study, settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """The override texts of a run: what all have, what was chosen, what its variant sets, what its axes say."""
    axes = {key: value for key, value in settings.items() if key != VARIANTS}
    everything = {**study.settings, **chosen, **variant_of(study, settings), **axes}
    return tuple(override(study.folder, key, value) for key, value in everything.items())


def slug(settings: Mapping[str, Any]) -> str:
    """Settings as a part of a folder's name."""
    words = "_".join(f"{_last(key)}-{_value(value)}" for key, value in settings.items())
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", words)[:MAX_NAME]


def _planned(study: Study, settings: Mapping[str, Any], overrides: tuple[str, ...]) -> StudyRun:
    document = load(study.spec, overrides)
    digest = hashlib.sha256(f"{document.sha256} {as_key(settings)}".encode()).hexdigest()[:8]
    return StudyRun(f"{slug(settings)}_{digest}", settings, overrides, document)


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def override(folder: str, key: str, value: Any) -> str:
    """The override text; relative paths in it start from a folder, as those of a spec do from the spec's."""
    nested = value
    for step in reversed(key.split(".")):
        nested = {step: nested}
    nested = absolute_paths(nested, folder)
    for step in key.split("."):
        nested = nested[step]
    return f"{key}={json.dumps(nested, ensure_ascii=False)}"


def _at_cause(
    diagnostic: Diagnostic, study: Study, overrides: tuple[str, ...], causes: set[tuple[Diagnostic, str]]
) -> Diagnostic:
    """The diagnostic at the override that causes it, where it stands in a spec that is sound without.

    Args:
        diagnostic: an error of a run.
        study: the study.
        overrides: of the run.
        causes: what was found for other runs; what is found for this one is added.
    """
    if diagnostic.place.file != study.spec:
        return diagnostic
    known = (text for text in (*overrides, "") if (diagnostic, text) in causes)
    cause = next(known, None)
    if cause is None:
        cause = _cause(diagnostic, study, overrides)
        causes.add((diagnostic, cause))
    return replace(diagnostic, place=Place(f"--set {cause}", 1, 1)) if cause else diagnostic


def _cause(diagnostic: Diagnostic, study: Study, overrides: tuple[str, ...]) -> str:
    """The last override without which, and without those after it, a diagnostic is not there; "" where it always is."""
    for count in range(len(overrides), 0, -1):
        if diagnostic not in check(study.spec, overrides[: count - 1]):
            return overrides[count - 1]
    return ""


def _moved(diagnostic: Diagnostic, study: Study) -> Diagnostic:
    """The diagnostic at its place in the study, where it is about an override."""
    if not diagnostic.place.file.startswith("--set "):
        return diagnostic
    text = diagnostic.place.file.removeprefix("--set ")
    key = text.partition("=")[0]
    if any(key == given.partition("=")[0].strip() for given in study.overrides):
        return diagnostic
    at = study.source.key_place if diagnostic.rule == "unknown-key" else study.source.place
    if diagnostic.rule == "unknown-key" and key in study.axes:
        return replace(diagnostic, place=at(("axes", key)))
    for index, value in enumerate(study.axes.get(key, ())):
        if text == override(study.folder, key, value):
            return replace(diagnostic, place=at(("axes", key, index)))
    for name, variant in study.variants.items():
        if key in variant and text == override(study.folder, key, variant[key]):
            return replace(diagnostic, place=at(("axes", VARIANTS, name, key)))
    return replace(diagnostic, place=study.source.place(("set", key)))
