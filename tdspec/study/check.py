"""All problems of a study file, without running it.

In: the path of a YAML file. Out: diagnostics, each at its place in the study, or in the spec that it is of.
Leaves out: whether data and weights exist.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tdspec.errors import Diagnostic, SpecError
from tdspec.spec.load import check
from tdspec.spec.problems import Problem
from tdspec.spec.reader import read_file
from tdspec.spec.schema import schema
from tdspec.spec.source import plain_data
from tdspec.study.matrix import StudyRun, leaks, plan_runs
from tdspec.study.quests import plan_quests, search_leaks
from tdspec.study.study_file import Study, load_study
from tdspec.study.study_schema import study_schema


def is_study_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file has more keys that only studies have than keys that only specs have."""
    try:
        root, _ = read_file(Path(path), os.fspath(path))
    except SpecError:
        return False
    values = plain_data(root)
    if not isinstance(values, dict):
        return False
    of_specs, of_studies = (set(known["properties"]) for known in (schema(), study_schema()))
    return len(values.keys() & (of_studies - of_specs)) > len(values.keys() & (of_specs - of_studies))


def check_study(path: str | os.PathLike[str]) -> tuple[Diagnostic, ...]:
    """All errors and warnings of a study, its spec and its runs, sorted by place."""
    try:
        study = load_study(path)
    except SpecError as error:
        return error.diagnostics
    found = [*_of_spec(study)] or [*_of_runs(study), *_of_search(study)]
    return tuple(sorted(dict.fromkeys(found), key=lambda item: (item.place, item.key)))


def _of_spec(study: Study) -> Iterator[Diagnostic]:
    """The errors of the spec itself; one that is not there is missed where the study names it."""
    for item in check(study.spec):
        if item.rule == "file" and item.place.file == study.spec:
            message = f"{item.message} at '{study.source.root.value['spec'].node.value}'"
            yield replace(item, place=study.source.place(("spec",)), key="spec", message=message)
        elif item.severity == "error":
            yield item


def _of_runs(study: Study) -> Iterator[Diagnostic]:
    try:
        runs = plan_runs(study)
    except SpecError as error:
        yield from error.diagnostics
        return
    for warning in _doubts(study, runs):
        yield Problem(("spec",), "leak", warning, severity="warning").diagnose(study.source)


def _doubts(study: Study, runs: tuple[StudyRun, ...]) -> tuple[str, ...]:
    more = () if study.search is None else search_leaks(runs[0].document)
    return (*leaks(runs), *more)


def _of_search(study: Study) -> Iterator[Diagnostic]:
    if study.search is None:
        return
    try:
        plan_quests(study, study.search)
    except SpecError as error:
        yield from error.diagnostics
