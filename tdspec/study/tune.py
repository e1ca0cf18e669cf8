"""The search of a study for one spec alone, and the spec with what it chose.

In: a spec, how it is searched. Out: a folder of trials, and a tuned spec that says how it came about.
Leaves out: the search itself (`searching.py`), its page (`report/tune_page.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tdspec.errors import Place, RunError, SpecError, UsageError
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.spec.edit import edited
from tdspec.spec.load import Document, load
from tdspec.spec.problems import has_error, of_what_was_read, unread_keys
from tdspec.spec.reader import fatal, read_file
from tdspec.spec.render import render
from tdspec.spec.source import Source, plain_data
from tdspec.spec.words import found
from tdspec.study.keys import full_key
from tdspec.study.matrix import override
from tdspec.study.outcomes import Outcome, TrialRecord
from tdspec.study.quests import PlaceOf, Quest, make_quest, search_leaks
from tdspec.study.searching import run_search
from tdspec.study.space import Space, default_space, read_space, space_problems
from tdspec.study.study_file import Search, make_search
from tdspec.study.study_schema import filled, space_schema, violations
from tdspec.study.teachers_first import train_teachers

HEADING = "# tdspec tune "


@dataclass(frozen=True)
class Tuning:
    """What is searched for one spec.

    Attributes:
        document: the spec, with overrides.
        overrides: of the call.
        search: how it is searched.
        quest: what is searched.
    """

    document: Document
    overrides: tuple[str, ...]
    search: Search
    quest: Quest


def tune_folder(root: Path, document: Document) -> Path:
    """Where the trials of a spec lie below the folder of all runs."""
    return root / "tune" / document.spec.name


def prepare(spec: str, overrides: Sequence[str], options: Mapping[str, Any], space_file: str | None) -> Tuning:
    """What will be searched, checked.

    Args:
        spec: path of the spec.
        overrides: "key=value" texts.
        options: keys of a study's `search` but for its space; those that are left out have their defaults.
        space_file: a YAML file with a space, as that of one method in a study; None: around the spec's own values.

    Raises:
        SpecError: the spec or the space is wrong.
        UsageError: an option is.
    """
    document = load(spec, overrides)
    method = document.spec.method
    search = make_search(options)
    if document.spec.seed in search.seeds:
        raise UsageError(f"found seed {document.spec.seed} in --seeds, which is the spec's own, expected others")
    if space_file is None:
        space: Space = default_space(document.values)
        place_of: PlaceOf = document.source.place_of_key
        folder = os.getcwd()
    else:
        space, place_of = read_space_file(space_file)
        folder = os.path.dirname(os.path.abspath(space_file))
    quest = make_quest(method, spec, tuple(overrides), space, search, folder=folder, place_of=place_of)
    return Tuning(document, tuple(overrides), search, quest)


def read_space_file(path: str) -> tuple[Space, PlaceOf]:
    """A space of one method from a file, and where its keys stand.

    Raises:
        SpecError: the file holds no valid space.
    """
    root, reading = read_file(Path(path), path)
    values = plain_data(root)
    expected = "expected a space: a mapping of keys to where they are"
    if not isinstance(values, dict):
        raise fatal(root.place, "value", f"found {found(values)}, {expected}")
    if "axes" in values:
        hint = "copy what stands under a method of its search.space to a file of its own"
        raise fatal(root.place, "value", f"found a study, {expected}", hint)
    source = Source(path, root)
    found_by_rules = (*violations(values, space_schema()), *space_problems(values, ()))
    problems = of_what_was_read(found_by_rules, unread_keys(reading))
    diagnostics = (*reading, *(problem.diagnose(source) for problem in dict.fromkeys(problems)))
    if has_error(diagnostics):
        raise SpecError(diagnostics)

    def place_of(key: str) -> Place:
        return source.key_place((next(name for name in values if full_key(name) == key),))

    return read_space(filled(values, space_schema())), place_of


def tune(tuning: Tuning, *, root: Path, jobs: int, stream: TextIO) -> Outcome:
    """Run the trials that are left; what has ended stays, as long as spec, space and seeds are the same.

    Raises:
        RunError: no trial is complete, another process tunes the same spec, or a teacher cannot be trained.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    folder = tune_folder(root, tuning.document)
    folder.mkdir(parents=True, exist_ok=True)
    for warning in search_leaks(tuning.document):
        print(f"warning: {warning}", file=stream)
    with run_dir.lock(RunFolder(folder)):
        train_teachers(folder, tuning.quest.documents, root, stream)
        try:
            (outcome,) = run_search((tuning.quest,), tuning.search, folder=folder, root=root, jobs=jobs, stream=stream)
        except KeyboardInterrupt:
            print("to go on: the same call again", file=stream)
            raise
    return outcome


def write_tuned(tuning: Tuning, outcome: Outcome, target: Path, command: str) -> None:
    """Write the spec with the chosen values: the user's text where it can be kept, else every key.

    Args:
        tuning: what was searched.
        outcome: what came of it.
        target: the file to write.
        command: the call, for the heading.
    """
    best = outcome.best_trial()
    if best is None:
        raise RunError(f"no trial of {outcome.name} is complete")
    chosen = tuple(override(tuning.quest.folder, key, value) for key, value in best.values.items())
    document = load(tuning.quest.spec, (*tuning.overrides, *chosen))
    heading = _heading(tuning, outcome, best, command)
    text = _kept_text(tuning, best, document, target)
    run_dir.write_text(target, heading + (text or render(document, target.parent)))


def _heading(tuning: Tuning, outcome: Outcome, best: TrialRecord, command: str) -> str:
    seeds = ", ".join(map(str, tuning.search.seeds))
    ended = sum(trial.state != "running" for trial in outcome.trials)
    first = outcome.trials[0]
    own = "" if first.value is None or not tuning.quest.start else f"; with the spec's own values {first.value:.4f}"
    return (
        f"{HEADING}{command}\n"
        f"# validation {outcome.figure} {best.value:.4f}, the best of {ended} trials, mean over seeds {seeds}{own}\n"
    )


def _kept_text(tuning: Tuning, best: TrialRecord, document: Document, target: Path) -> str | None:
    """The user's text with the chosen values in it, where that means the same; None where it does not."""
    source = Path(tuning.quest.spec)
    if tuning.overrides or target.resolve().parent != source.resolve().parent:
        return None
    text = edited(_without_heading(source.read_text("utf-8")), best.values)
    if text is None:
        return None
    trial = target.with_name(f".{target.name}-{os.getpid()}.yaml")
    try:
        trial.write_text(text, "utf-8")
        return text if load(trial).sha256 == document.sha256 else None
    except SpecError:
        return None
    finally:
        trial.unlink(missing_ok=True)


def _without_heading(text: str) -> str:
    """The text without the two lines of a former search."""
    lines = text.splitlines(keepends=True)
    return "".join(lines[2:] if lines and lines[0].startswith(HEADING) else lines)
