"""What the schema accepts, against plain jsonschema."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tdspec.errors import SpecError
from tdspec.spec.acceptance import ANNOTATIONS, COMPANIONS, KEYWORDS, accepts
from tdspec.spec.reader import read_file
from tdspec.spec.schema import schema
from tdspec.spec.source import plain_data

ROOT = Path(__file__).parent.parent
# What a value is replaced by: of every type, at and around bounds, equal in Python where JSON tells them apart.
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.0, 2.5, 1e308, float("nan"), float("inf"), 2**31, "", "auto", "talking", "é"),
    *([], [1, "a"], [1, 1], ["flip", "flip"], [1, True], {}, {"weight": 1}, {"low": 0}, {"type": "number", "size": 3}),
)


@cache
def _oracle() -> Draft202012Validator:
    return Draft202012Validator(schema())


def _written() -> Iterator[tuple[str, Any]]:
    """Every spec that ships and every bad spec that is YAML at all."""
    for folder in ("specs", "tests/bad_specs"):
        for path in sorted((ROOT / folder).glob("*.yaml")):
            try:
                yield f"{folder}/{path.name}", plain_data(read_file(path, path.name)[0])
            except SpecError:
                continue


def _keywords(node: Any) -> Iterator[str]:
    """Every keyword of a schema, at any depth."""
    for key, value in node.items():
        yield key
        below = value.values() if key in ("properties", "$defs") else value if isinstance(value, list) else [value]
        if key not in (ANNOTATIONS - {"$defs"}) | {"const", "enum", "required", "dependentRequired"}:
            for inner in below:
                yield from _keywords(inner) if isinstance(inner, dict) else ()


def test_every_keyword_of_the_schema_is_known() -> None:
    used = set(_keywords(schema()))
    assert used <= KEYWORDS.keys() | ANNOTATIONS | COMPANIONS
    assert KEYWORDS.keys() <= used


@pytest.mark.parametrize(("name", "data"), list(_written()), ids=lambda value: value if isinstance(value, str) else "")
def test_written_specs(name: str, data: Any) -> None:
    assert accepts(schema(), data) == _oracle().is_valid(data)


def _slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a value."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _slots(item)


@pytest.mark.parametrize("name", ["vit_cifar10", "movielens_drama", "cifar10_efficientnet"])
def test_damaged_specs(name: str) -> None:
    text = (ROOT / "specs" / f"{name}.yaml").read_text("utf-8")
    generator, verdicts = random.Random(name), []
    for _ in range(250):
        data = yaml.safe_load(text)
        container, key = generator.choice(list(_slots(data)))
        container[key] = generator.choice(JUNK)
        verdicts.append(accepts(schema(), data))
        assert verdicts[-1] == _oracle().is_valid(data), (key, container[key])
    assert {True, False} == set(verdicts)


@pytest.mark.parametrize("definition", sorted(schema()["$defs"]))
def test_junk_in_every_part_of_the_language(definition: str) -> None:
    node = {"$ref": f"#/$defs/{definition}"}
    oracle = Draft202012Validator({"$defs": schema()["$defs"], **node})
    known = schema()["$defs"][definition].get("properties", {})
    values = [*JUNK, *({key: value} for key in known for value in JUNK)]
    for value in values:
        assert accepts(node, value) == oracle.is_valid(value), value
