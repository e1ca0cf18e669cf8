"""The schema of studies, and what it finds, in words.

In: `schemas/study.schema.json`, plain data. Out: problems; the data with every default.
Leaves out: rules that a schema cannot say (`study_file.py`, `space.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tdspec.resources import resource
from tdspec.spec.problems import Problem
from tdspec.spec.source import KeyPath
from tdspec.spec.words import did_you_mean, expected, found, one_of, quoted, similar, value_hint

Schema = Mapping[str, Any]


@cache
def study_schema() -> dict[str, Any]:
    """The schema of a study."""
    return dict(json.loads(resource("schemas/study.schema.json").read_text("utf-8")))


def space_schema() -> dict[str, Any]:
    """The schema of the space of one method."""
    whole = study_schema()
    space = whole["properties"]["search"]["properties"]["space"]["additionalProperties"]
    return {**space, "$defs": whole["$defs"]}


def filled(values: Any, schema: Schema) -> Any:
    """A copy of valid data with the defaults of every mapping that is there."""
    node = study_schema()["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if not isinstance(values, dict):
        return values
    known, others = node.get("properties", {}), node.get("additionalProperties")
    defaults = {key: item["default"] for key, item in known.items() if "default" in item}
    below = {key: known.get(key, others) for key in values}
    given = {key: filled(value, below[key]) if below[key] else value for key, value in values.items()}
    return {**defaults, **given}


def violations(values: Any, schema: Schema) -> Iterator[Problem]:
    """Everything that a schema refuses, each at its key path."""
    for error in Draft202012Validator(schema).iter_errors(values):
        yield from _explain(error, tuple(error.absolute_path))


def _explain(error: Any, path: KeyPath) -> Iterator[Problem]:
    if error.validator == "additionalProperties":
        yield from _unknown_keys(error, path)
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                message = f"found nothing, expected {expected(error.schema['properties'][key])}"
                yield Problem((*path, key), "missing-key", message)
    elif error.validator == "uniqueItems":
        repeated = [item for index, item in enumerate(error.instance) if item in error.instance[:index]]
        yield Problem(path, "value", f"found {quoted(repeated[0])} a second time, expected it once")
    elif error.validator in {"minItems", "minProperties"}:
        yield Problem(path, "value", f"found {found(error.instance)}, expected at least one value")
    elif error.parent is not None and error.parent.validator == "propertyNames":
        yield Problem(path, "value", f"found {found(error.instance)}, expected {expected(error.schema)}")
    elif path[:1] == ("axes",) and len(path) == 2 and path[1] != "variants":
        is_one = not (error.instance is None or isinstance(error.instance, dict))
        hint = f"write [{quoted(error.instance)}]" if is_one else "write its values as a list"
        yield Problem(path, "value", f"found {found(error.instance)}, expected a list of values", hint)
    elif error.validator == "type" and set(error.validator_value) == {"object", "array"}:
        hint = "write {low: 0.1, high: 10}, or a list to choose from"
        yield Problem(path, "value", f"found {found(error.instance)}, expected a range or a list of values", hint)
    else:
        hint = value_hint(error.schema, error.instance)
        yield Problem(path, "value", f"found {found(error.instance)}, expected {expected(error.schema)}", hint)


def _unknown_keys(error: Any, path: KeyPath) -> Iterator[Problem]:
    known = list(error.schema["properties"])
    for key in error.instance:
        if key not in known:
            hint = did_you_mean(similar(key, known)) or ("" if path else "keys of the spec belong to axes, or to set")
            yield Problem(
                (*path, key), "unknown-key", f"found an unknown key, expected {one_of(known)}", hint, at_key=True
            )
