"""From a study file to a checked `Study`.

In: the path of a YAML file. Out: `Study`, or `SpecError` with every problem of the file and its place.
Leaves out: whether the axes' keys and values make valid specs (`matrix.py` and `quests.py` find that out).
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tdspec.errors import SpecError, UsageError
from tdspec.spec.load import load
from tdspec.spec.overrides import read_override
from tdspec.spec.problems import Problem, has_error, of_what_was_read, unread_keys
from tdspec.spec.reader import fatal, read_file
from tdspec.spec.source import KeyPath, Source, dotted, plain_data
from tdspec.spec.words import did_you_mean, found, quoted, similar
from tdspec.study.keys import WITHOUT_EFFECT, covers, full_key, no_paths
from tdspec.study.space import Space, read_space, space_problems
from tdspec.study.study_schema import filled, study_schema, violations

REPETITION = "seed"
METHOD = "method"
VARIANTS = "variants"
MAX_RUNS = 10_000


@dataclass(frozen=True)
class Search:
    """How hyper-parameters are chosen before the runs; `space` is by method.

    Attributes:
        trials: of each method that has a space.
        seeds: of every trial.
        per: axes whose values are searched for separately.
        sampler, sampler_seed, pruner, storage: as in the schema.
        space: by method, what is searched.
    """

    trials: int
    seeds: tuple[int, ...]
    per: tuple[str, ...]
    sampler: str
    sampler_seed: int
    pruner: str
    storage: str
    space: Mapping[str, Space]


@dataclass(frozen=True)
class Study:
    """A matrix of runs of one spec.

    Attributes:
        name: names its folder.
        spec: absolute path of the spec.
        axes: by key path of the spec, the values it takes, in the order they were written; of `variants`, the names.
        variants: by name, what a variant sets.
        settings: by key path, what all runs have otherwise than the spec.
        overrides: the "key=value" texts of the command line, whose values are in `settings`.
        average: axes whose values are one task together.
        search: how hyper-parameters are chosen, or None.
        source: the places of the text.
    """

    name: str
    spec: str
    axes: Mapping[str, tuple[Any, ...]]
    variants: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    overrides: tuple[str, ...]
    average: tuple[str, ...]
    search: Search | None
    source: Source

    @cached_property
    def own_method(self) -> str:
        """The method of its spec as it is."""
        return load(self.spec).spec.method

    @property
    def folder(self) -> str:
        """The absolute path of the folder that relative paths in the study start from."""
        return os.path.dirname(os.path.abspath(self.source.file))


def load_study(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Study:
    """Read and check a study file.

    Args:
        path: the YAML file.
        overrides: "key=value" texts, which count as if they stood under `set`; paths in them start from the current
            folder.

    Raises:
        SpecError: the file is no valid study, or a value is no YAML; holds all problems.
        UsageError: an override of what varies in the study.
    """
    file = os.fspath(path)
    root, reading = read_file(Path(file), file)
    if not isinstance(root.value, dict):
        raise fatal(root.place, "value", f"found {found(plain_data(root))}, expected a study: a mapping")
    if "student" in root.value and "axes" not in root.value:
        hint = f"write a study of it, with spec: {os.path.basename(file)} and axes, or `tdspec train {file}`"
        raise fatal(root.place, "value", "found a spec, expected a study", hint)
    source, values = Source(file, root), plain_data(root)
    rules = (_no_key_paths, _lost, _without_effect, _too_many, _not_averaged, _search_problems)
    own = (problem for rule in rules for problem in rule(values))
    problems = of_what_was_read((*violations(values, study_schema()), *own), unread_keys(reading))
    diagnostics = (*reading, *(problem.diagnose(source) for problem in dict.fromkeys(problems)))
    if has_error(diagnostics):
        raise SpecError(tuple(sorted(diagnostics, key=lambda item: item.place)))
    spec = os.path.join(os.path.dirname(os.path.abspath(file)), os.path.expanduser(values["spec"]))
    whole = filled(values, study_schema())
    return Study(
        name=values["name"],
        spec=os.path.normpath(spec),
        axes={key: tuple(items) for key, items in values["axes"].items()},
        variants=values["axes"].get(VARIANTS, {}),
        settings={**whole["set"], **_overridden(overrides, values)},
        overrides=tuple(overrides),
        average=tuple(whole["average"]),
        search=_search(whole["search"]) if "search" in whole else None,
        source=source,
    )


def _overridden(overrides: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """By key path, what overrides set."""
    search = _mapping(values.get("search"))
    varied = [*values["axes"], *itertools.chain(*_mapping(search.get("space")).values())]
    varied += itertools.chain(*values["axes"].get(VARIANTS, {}).values())
    found = {}
    for text in overrides:
        path, node, diagnostics = read_override(text)
        if has_error(diagnostics):
            raise SpecError(diagnostics)
        key = dotted(path)
        if key in WITHOUT_EFFECT:
            raise UsageError(f"found --set {text}, but {key} changes no result", "leave it out")
        for other in varied:
            if covers(other, key):
                raise UsageError(f"found --set {text}, but {other} varies in the study", "change the study's file")
        found[key] = plain_data(node)
    return found


def make_search(options: Mapping[str, Any]) -> Search:
    """How to search, without a space, from options of the command line.

    Args:
        options: keys of `search`; those that are left out have their defaults.

    Raises:
        UsageError: an option has a value that a study could not have.
    """
    schema = study_schema()["properties"]["search"]
    values = {**options, "space": {}}
    for problem in violations(options, {**schema, "required": []}):
        raise UsageError(f"--{str(problem.path[0]).replace('_', '-')}: {problem.message}")
    return _search(filled(values, schema))


def _search(values: Mapping[str, Any]) -> Search:
    rest = {key: value for key, value in values.items() if key not in {"seeds", "per", "space"}}
    space = {method: read_space(dimensions) for method, dimensions in values["space"].items()}
    return Search(seeds=tuple(values["seeds"]), per=tuple(values["per"]), space=space, **rest)


def _settings(values: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """What all runs have, and what each variant sets, with where it stands."""
    yield ("set",), _mapping(values.get("set"))
    for name, variant in _mapping(_mapping(values.get("axes")).get(VARIANTS)).items():
        yield ("axes", VARIANTS, name), _mapping(variant)


def _lost(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys whose values would be lost: what an axis, which is applied last, or a key beside them covers."""
    axes = _mapping(values.get("axes"))
    for before, key in itertools.combinations(axes, 2):
        if covers(before, key) or covers(key, before):
            yield _twice(("axes", key), before, "in axes")
    for path, settings in _settings(values):
        for key in settings:
            yield from (_twice((*path, key), axis, "in axes") for axis in axes if covers(axis, key))
        for before, key in itertools.combinations(settings, 2):
            if covers(key, before):
                yield _twice((*path, before), key, "here")
    for method, space in _mapping(_mapping(values.get("search")).get("space")).items():
        for key in _mapping(space):
            path = ("search", "space", method, key)
            yield from (_twice(path, axis, "in axes") for axis in axes if covers(axis, key))


def _no_key_paths(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys that cannot be the path of one in a spec."""
    for path, settings in ((("axes",), _mapping(values.get("axes"))), *_settings(values)):
        yield from no_paths(settings, path)


def _too_many(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Studies that nobody has the time to run, told before their runs are made."""
    count = math.prod(len(items) for items in _mapping(values.get("axes")).values() if isinstance(items, (list, dict)))
    if count > MAX_RUNS:
        message = f"found {count:,} runs, expected at most {MAX_RUNS:,}"
        hint = "vary fewer keys, or fewer values of each; a search tries a few of many"
        yield Problem(("axes",), "value", message, hint, at_key=True)


def _without_effect(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys of the spec that change no result."""
    for path, settings in ((("axes",), _mapping(values.get("axes"))), *_settings(values)):
        for key in WITHOUT_EFFECT:
            if key in settings:
                message = f"found {key}, which changes no result, expected a key that does"
                yield Problem((*path, key), "no-effect", message, at_key=True)


def _twice(path: KeyPath, other: str, where: str) -> Problem:
    same = full_key(other) == full_key(str(path[-1]))
    hint = "" if same or full_key(other) == other else f"write {full_key(other)} for the weight alone"
    message = f"found {other} {where} too, expected {'it once' if same else 'one of them'}"
    return Problem(path, "choice", message, hint, at_key=True)


def _not_averaged(values: Mapping[str, Any]) -> Iterator[Problem]:
    """What is no axis has no mean; seeds have one anyway, and methods are what is compared."""
    known = [key for key in _mapping(values.get("axes")) if key not in {REPETITION, METHOD, VARIANTS}]
    for index, key in enumerate(_sequence(values.get("average"))):
        if key not in known:
            message = f"found {quoted(key)}, expected one of the axes but {METHOD}, {REPETITION} and {VARIANTS}"
            yield Problem(("average", index), "value", message, did_you_mean(similar(str(key), known)))


def _search_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Spaces that cannot be searched, axes that are none, and seeds that are the study's own."""
    search, axes = _mapping(values.get("search")), _mapping(values.get("axes"))
    for method, space in _mapping(search.get("space")).items():
        yield from space_problems(space, ("search", "space", method))
    own = axes.get(REPETITION)
    for index, seed in enumerate(_sequence(search.get("seeds"))):
        if seed in _sequence(own):
            hint = "a search with the seeds of the runs would choose what suits them"
            message = f"found {seed}, which is in axes.seed too, expected another seed"
            yield Problem(("search", "seeds", index), "value", message, hint)
    for index, key in enumerate(_sequence(search.get("per"))):
        if key not in axes or key == REPETITION:
            yield Problem(("search", "per", index), "value", f"found '{key}', expected one of the axes but seed")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
