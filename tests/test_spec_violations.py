"""tdspec's own messages against plain jsonschema: the same values fail."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from tdspec.errors import SpecError
from tdspec.spec.load import check
from tdspec.spec.reader import read_file
from tdspec.spec.schema import schema
from tdspec.spec.source import plain_data
from tdspec.spec.violations import violations

FOLDER = Path(__file__).parent / "bad_specs"
SPECS = Path(__file__).parent.parent / "specs"
JUNK: tuple[Any, ...] = (None, True, 0, -1, 2.5, 1e308, "", "talking", "é", [], [1, "a"], {}, {"weight": 1}, {"low": 0})


def _readable() -> Iterator[Path]:
    for path in sorted(FOLDER.glob("*.yaml")):
        try:
            node, _ = read_file(path, path.name)
        except SpecError:
            continue
        if isinstance(node.value, dict):
            yield path


def _oracle(errors: Iterator[ValidationError]) -> set[tuple[str | int, ...]]:
    """The key paths at which plain jsonschema fails; for a missing or unknown key, that of its mapping."""
    return {tuple(error.absolute_path) for error in errors}


def _related(path: tuple[str | int, ...], others: set[tuple[str | int, ...]]) -> bool:
    """Whether one path holds the other: a oneOf fails as a whole, tdspec says where in it."""
    return any(path[: len(other)] == other or other[: len(path)] == path for other in others)


@pytest.mark.parametrize("path", list(_readable()), ids=lambda path: path.stem)
def test_the_same_paths_fail(path: Path) -> None:
    data = plain_data(read_file(path, path.name)[0])
    theirs = _oracle(Draft202012Validator(schema()).iter_errors(data))
    ours = {
        problem.path[:-1] if problem.rule in {"missing-key", "unknown-key"} else problem.path
        for problem in violations(data)
    }
    assert bool(ours) == bool(theirs)
    assert all(_related(item, theirs) for item in ours)
    assert all(any(item[: len(other)] == other for item in ours) for other in theirs if other)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(item, (*path, key))


def _mutated(value: Any, generator: random.Random) -> Any:
    """A copy in which one place is replaced, dropped or gets one more key."""
    copy = yaml.safe_load(yaml.safe_dump(value))
    path = generator.choice([place for place in _places(copy) if place])
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    action = generator.randrange(3)
    if action == 0:
        parent[path[-1]] = generator.choice(JUNK)
    elif action == 1:
        del parent[path[-1]]
    elif isinstance(parent, dict):
        parent[generator.choice(["weight", "backbone", "cut", "x", "spec", "iterations"])] = generator.choice(JUNK)
    return copy


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_never_escapes(seed: int, tmp_path: Path) -> None:
    generator = random.Random(seed)
    good = yaml.safe_load((SPECS / "digits.yaml").read_text("utf-8"))
    (tmp_path / "digits_teacher.yaml").write_text((SPECS / "digits_teacher.yaml").read_text("utf-8"))
    path = tmp_path / "spec.yaml"
    for _ in range(60):
        bad = _mutated(good, generator)
        for _ in range(generator.randrange(3)):
            bad = _mutated(bad, generator) if bad else bad
        path.write_text(yaml.safe_dump(bad, sort_keys=False))
        data = plain_data(read_file(path, "x")[0])
        fails = bool(data) and any(True for _ in Draft202012Validator(schema()).iter_errors(data))
        diagnostics = check(path)
        if fails:
            assert any(item.severity == "error" for item in diagnostics), path.read_text()
