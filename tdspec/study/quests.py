"""What a study searches for: one quest for each method, and each value of the axes it is told to keep apart.

In: a `Study`. Out: `Quest`s, whose spaces make valid specs.
Leaves out: the trials (`trials.py`), running them (`searching.py`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tdspec.errors import Diagnostic, Place, SpecError
from tdspec.spec.figures import FIGURES
from tdspec.spec.load import Document, load
from tdspec.spec.problems import Problem
from tdspec.spec.words import one_of
from tdspec.study.keys import covers, full_key
from tdspec.study.matrix import (
    as_key,
    combinations,
    in_words,
    is_ignored,
    method_of,
    override,
    overrides_of,
    slug,
    variant_of,
)
from tdspec.study.space import Space, start_of
from tdspec.study.study_file import METHOD, REPETITION, Search, Study

PlaceOf = Callable[[str], Place]


@dataclass(frozen=True)
class Task:
    """One of the runs that a trial has for every seed: those of all averaged values.

    Attributes:
        name: for folders; "" where nothing is averaged.
        overrides: "key=value" texts of its averaged values.
    """

    name: str
    overrides: tuple[str, ...]


ONE_TASK = (Task("", ()),)


@dataclass(frozen=True)
class Quest:
    """What is searched with one budget.

    Attributes:
        name: for people.
        id: names its folder and its trials; another content of spec, space or sampling is another quest.
        spec: path of the spec.
        overrides: "key=value" texts that all trials have.
        folder: where relative paths of proposed values start from.
        space: what is searched.
        start: values of the first trial; a key that is not there is proposed.
        figure: the name of the figure, which is read on validation.
        documents: specs that stand for all trials.
        tasks: a trial is judged by the mean over them, and over its seeds.
    """

    name: str
    id: str
    spec: str
    overrides: tuple[str, ...]
    folder: str
    space: Space
    start: Mapping[str, Any]
    figure: str
    documents: tuple[Document, ...]
    tasks: tuple[Task, ...]

    def overrides_with(self, values: Mapping[str, Any], task: Task, seed: int) -> tuple[str, ...]:
        """The override texts of a trial at one of its tasks, with one of its seeds."""
        proposed = tuple(override(self.folder, key, value) for key, value in values.items())
        return (*self.overrides, *task.overrides, *proposed, f"seed={seed}")


def make_quest(
    name: str,
    spec: str,
    overrides: tuple[str, ...],
    space: Space,
    search: Search,
    *,
    folder: str,
    place_of: PlaceOf,
    tasks: tuple[Task, ...] = ONE_TASK,
) -> Quest:
    """A quest, once values from all of its space make valid specs.

    Args:
        name: for people.
        spec, overrides, space, folder, tasks: as in `Quest`.
        search: how it is searched.
        place_of: where a key of the space is written.

    Raises:
        SpecError: a key or a value is refused; at its place.
    """
    document = load(spec, overrides)
    method = document.spec.method
    unread = [key for key in space if is_ignored(method, key)]
    if unread:
        message = f"found a key that the method '{method}' does not read, expected it to have an effect"
        raise SpecError(tuple(Diagnostic(place_of(key), "error", "no-effect", key, message, "") for key in unread))
    start = start_of(space, document.values)
    content: list[Any] = [document.sha256, {key: [type(item).__name__, asdict(item)] for key, item in space.items()}]
    content += [search.seeds, search.sampler, search.sampler_seed, search.pruner]
    content += [task.overrides for task in tasks if task.overrides]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    quest_id = f"{slug({METHOD: name})}_{digest}"
    figure = FIGURES[document.spec.task.type]
    quest = Quest(name, quest_id, spec, overrides, folder, space, start, figure, (document,), tasks)
    return replace(quest, documents=(document, *_documents(quest, search.seeds[0], place_of)))


def _documents(quest: Quest, seed: int, place_of: PlaceOf) -> Iterator[Document]:
    """A spec for each task, and for each value that stands for a part of the space, the other keys as in the spec."""
    problems: list[Diagnostic] = []
    for task in quest.tasks:
        yield load(quest.spec, (*quest.overrides, *task.overrides, f"seed={seed}"))
    for key, dimension in quest.space.items():
        for value in dimension.examples():
            text = override(quest.folder, key, value)
            try:
                yield load(quest.spec, (*quest.overrides, text, f"seed={seed}"))
            except SpecError as error:
                errors = (item for item in error.diagnostics if item.severity == "error")
                # A value that is refused only beside another of the space fails in its trial.
                problems += [
                    replace(item, place=place_of(key)) for item in errors if item.place.file == f"--set {text}"
                ]
    if problems:
        raise SpecError(tuple(dict.fromkeys(problems)))


def plan_quests(study: Study, search: Search) -> dict[str, Quest]:
    """The quests of a study, by their settings as text.

    Raises:
        SpecError: a space is of no method here, makes invalid specs, or the seeds are the study's own.
    """
    groups = {as_key(group): group for group in (_group(study, search, item) for item in combinations(study))}
    methods = tuple(dict.fromkeys(group[METHOD] for group in groups.values()))
    problems = [*_unknown_methods(search, methods), *_own_seed(study, search)]
    if problems:
        raise SpecError(tuple(problem.diagnose(study.source) for problem in problems))
    quests = {}
    for key, group in groups.items():
        fixed = {**variant_of(study, group), **group}
        space = {
            name: item
            for name, item in search.space.get(group[METHOD], {}).items()
            if not any(covers(key, name) for key in fixed)
        }
        if space:
            quests[key] = make_quest(
                in_words(group),
                study.spec,
                overrides_of(study, group, {}),
                space,
                search,
                folder=study.folder,
                place_of=_places(study, group[METHOD]),
                tasks=_tasks(study, search, group[METHOD]),
            )
    return quests


def quest_key(study: Study, search: Search, settings: Mapping[str, Any]) -> str:
    """The key of the quest that is for runs of these settings."""
    return as_key(_group(study, search, settings))


def search_leaks(document: Document) -> tuple[str, ...]:
    """Where what a search is judged by is in the test split of runs with other seeds."""
    splits = document.spec.data.splits
    if isinstance(splits.train, str) or splits.by is not None:
        return ()
    return (
        "data.splits: found fractions drawn by the seed, so that a search is judged by examples that other seeds have "
        "in their test split, expected slices, or data.splits.by",
    )


def _group(study: Study, search: Search, settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key in search.per}
    return {METHOD: method_of(study, settings), **kept}


def _tasks(study: Study, search: Search, method: str) -> tuple[Task, ...]:
    """Every combination of the averaged values that a method reads and that are not searched for separately."""
    keys = [key for key in study.average if key not in search.per and not is_ignored(method, key)]
    found: list[Task] = []
    for values in itertools.product(*(study.axes[key] for key in keys)):
        settings = dict(zip(keys, values, strict=True))
        # a number, since the words of different values may be the same in a folder's name
        name = f"{len(found)}_{slug(settings)}" if keys else ""
        found.append(Task(name, tuple(override(study.folder, key, value) for key, value in settings.items())))
    return tuple(found)


def _unknown_methods(search: Search, methods: tuple[str, ...]) -> Iterator[Problem]:
    for method in search.space:
        if method not in methods:
            message = f"found '{method}', expected a method of this study: {one_of(methods)}"
            yield Problem(("search", "space", method), "value", message, at_key=True)


def _own_seed(study: Study, search: Search) -> Iterator[Problem]:
    if REPETITION in study.axes:
        return
    own = load(study.spec, overrides_of(study, {}, {})).spec.seed
    if own in search.seeds:
        message = f"found {own}, which is the seed of the runs, expected another seed"
        yield Problem(("search", "seeds", search.seeds.index(own)), "value", message)


def _places(study: Study, method: str) -> PlaceOf:
    def place_of(key: str) -> Place:
        written: Any = study.source.root.value["search"].node.value["space"].node.value[method].node.value
        name = next(item for item in written if full_key(item) == key)
        return study.source.key_place(("search", "space", method, name))

    return place_of
