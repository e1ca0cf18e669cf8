"""The schema: the only home of types, bounds, defaults and descriptions.

In: `schemas/tdspec.schema.json`. Out: the schema, its validator, data with every default filled in, homes of keys.
Leaves out: wording of what is wrong (`violations.py`), rules that a schema cannot say (`checks.py`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tdspec.resources import resource

Schema = Mapping[str, Any]
JSON_TYPES = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    type(None): "null",
    dict: "object",
    list: "array",
}


@cache
def schema_text() -> str:
    """The schema as it is written."""
    return resource("schemas/tdspec.schema.json").read_text("utf-8")


@cache
def schema() -> Schema:
    """The schema as data."""
    return dict(json.loads(schema_text()))


@cache
def validator() -> Draft202012Validator:
    """The validator of whole specs."""
    return Draft202012Validator(schema())


def follow(node: Schema) -> Schema:
    """A schema node with its reference replaced by what it refers to; keywords beside the reference win."""
    while "$ref" in node:
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node = {**schema()["$defs"][node["$ref"].rpartition("/")[2]], **beside}
    return node


def branches(node: Schema) -> list[Schema]:
    """The alternatives of a node: its oneOf, where that lists values, else the node itself."""
    node = follow(node)
    if "oneOf" in node and "properties" not in node:
        return [follow(branch) for branch in node["oneOf"]]
    return [node]


def type_names(node: Schema) -> list[str]:
    """The types a node names, none where it lists values."""
    types = node.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def accepts_type(node: Schema, value: Any) -> bool:
    """Whether the type of a value, its bounds aside, is what a branch is about."""
    kind = JSON_TYPES[type(value)]
    if "const" in node or "enum" in node:
        return kind in {JSON_TYPES[type(choice)] for choice in _choices(node)}
    types = type_names(node)
    return kind in types or (kind == "number" and "integer" in types and float(value).is_integer())


def _choices(node: Schema) -> list[Any]:
    return list(node.get("enum", [])) or [node["const"]]


def fill(node: Schema, value: Any) -> Any:
    """A valid value with every default filled in, keys in the schema's order, numbers in the schema's type.

    Args:
        node: the schema of the value.
        value: plain data that is valid against it.
    """
    chosen = _chosen(node, value)
    if chosen is None:
        return copy.deepcopy(value)
    if "const" in chosen or "enum" in chosen:
        return next(choice for choice in _choices(chosen) if choice == value)
    if isinstance(value, dict):
        return _fill_mapping(chosen, value)
    if isinstance(value, list):
        return [fill(chosen.get("items", {}), item) for item in value]
    return _as_schema_type(chosen, value)


def _chosen(node: Schema, value: Any) -> Schema | None:
    """The branch that a valid value is meant for."""
    fitting = [branch for branch in branches(node) if accepts_type(branch, value)]
    if len(fitting) > 1 and isinstance(value, dict):
        fitting = [branch for branch in fitting if value.keys() >= set(branch.get("required", []))]
    return fitting[0] if fitting else None


def _fill_mapping(node: Schema, value: Mapping[str, Any]) -> dict[str, Any]:
    if "properties" not in node:
        entries = node.get("additionalProperties", {})
        return {key: fill(entries, item) for key, item in value.items()}
    filled: dict[str, Any] = {}
    for key, entry in node["properties"].items():
        entry = follow(entry)
        if key in value:
            filled[key] = fill(entry, value[key])
        elif "default" in entry:
            filled[key] = fill(entry, entry["default"])
        if key in filled and is_loss(entry):
            filled[key] = _fill_loss(entry, filled[key])
        elif key in filled and filled[key] is True and is_switch(entry):
            filled[key] = fill(entry, {})
    return filled


def _as_schema_type(node: Schema, value: Any) -> Any:
    # Only one spelling of a number reaches the hash: no 1.0 for 1, no -0.0.
    types = type_names(node)
    if "integer" in types and isinstance(value, float):
        return int(value)
    if types == ["number"]:
        return float(value) + 0.0
    return value


def is_loss(node: Schema) -> bool:
    """Whether a property is a term of the objective: a weight, or a mapping that has one."""
    return any("weight" in branch.get("properties", {}) for branch in branches(node))


def is_switch(node: Schema) -> bool:
    """Whether a property is false, true, or a mapping that says more; true means the mapping's defaults."""
    return [type_names(branch) for branch in branches(node)] == [["boolean"], ["object"]]


def _fill_loss(node: Schema, value: Any) -> dict[str, Any]:
    """The mapping form of a term; without a weight, that of the term's default."""
    written = value if isinstance(value, dict) else {"weight": value}
    mapping = next(branch for branch in branches(node) if "properties" in branch)
    return {"weight": float(node["default"]), **_fill_mapping(mapping, written)}


def schema_at(path: Sequence[str | int]) -> Schema | None:
    """The schema of a key path, alternatives included; None in lists and in mappings of free form."""
    node: Schema = schema()
    for step in path:
        homes = [branch for branch in branches(node) if step in branch.get("properties", {})]
        if not homes:
            return None
        node = homes[0]["properties"][step]
    return follow(node)


def nodes_at(path: Sequence[str | int]) -> list[Schema]:
    """The alternatives of a key path, in lists and mappings of free form too; none where there is no such key."""
    nodes = [schema()]
    for step in path:
        nodes = [entry for node in nodes for branch in branches(node) for entry in _entries(branch, step)]
    return [branch for node in nodes for branch in branches(node)]


def _entries(node: Schema, step: str | int) -> list[Schema]:
    """What a node says of one of its entries."""
    if not node:
        return [{}]  # of free form, as is what is in it
    if isinstance(step, int):
        return [node["items"]] if "items" in node else []
    if "properties" in node:
        return [node["properties"][step]] if step in node["properties"] else []
    return [node.get("additionalProperties", {})] if "object" in type_names(node) else []


def default_at(path: Sequence[str | int]) -> Any:
    """The default of a key path, itself filled in; None where it has none."""
    node = schema_at(path)
    if node is None or "default" not in node:
        return None
    return _fill_loss(node, node["default"]) if is_loss(node) else fill(node, node["default"])


@cache
def key_homes() -> Mapping[str, tuple[str, ...]]:
    """Where each key of the language belongs: its name to the dotted paths that have it."""
    homes: dict[str, list[str]] = {}
    for path in _key_paths(schema(), ""):
        homes.setdefault(path.rpartition(".")[2], []).append(path)
    return {key: tuple(paths) for key, paths in homes.items()}


def _key_paths(node: Schema, prefix: str) -> Iterator[str]:
    for branch in branches(node):
        for key, entry in branch.get("properties", {}).items():
            yield f"{prefix}{key}"
            yield from _key_paths(entry, f"{prefix}{key}.")
