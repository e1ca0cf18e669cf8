"""Whether the schema accepts a value: yes or no, and no more.

In: a schema node, plain data. Out: a truth value, the one that jsonschema gives.
Leaves out: what is wrong, which jsonschema finds and `violations.py` words. Most specs that are read have no mistake;
for them this alone runs, and jsonschema, whose import takes longer than all else that `validate` does, is not loaded.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from tdspec.spec.schema import Schema, schema

# What is written for people, or read by those who follow a reference.
ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "title", "description", "default", "examples"})
# Read by the keyword they stand beside.
COMPANIONS = frozenset({"then", "else"})
_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}


def accepts(node: Schema, value: Any) -> bool:
    """Whether a value is valid against a schema node.

    Args:
        node: of the schema; a keyword that is not in KEYWORDS is an error of whoever wrote it there.
        value: plain data.
    """
    return all(
        KEYWORDS[keyword](argument, value, node)
        for keyword, argument in node.items()
        if keyword not in ANNOTATIONS and keyword not in COMPANIONS
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(one: Any, other: Any) -> bool:
    """1 and 1.0 are the same value, True is another."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _type(names: str | list[str], value: Any, node: Schema) -> bool:
    return any(_TYPES[name](value) for name in ([names] if isinstance(names, str) else names))


def _reference(target: str, value: Any, node: Schema) -> bool:
    return accepts(schema()["$defs"][target.rpartition("/")[2]], value)


def _properties(nodes: Schema, value: Any, node: Schema) -> bool:
    return not isinstance(value, dict) or all(accepts(nodes[key], value[key]) for key in nodes if key in value)


def _additional(others: Schema | bool, value: Any, node: Schema) -> bool:
    if not isinstance(value, dict):
        return True
    loose = [item for key, item in value.items() if key not in node.get("properties", ())]
    return not loose if isinstance(others, bool) else all(accepts(others, item) for item in loose)


def _required(keys: list[str], value: Any, node: Schema) -> bool:
    return not isinstance(value, dict) or all(key in value for key in keys)


def _dependent(needs: dict[str, list[str]], value: Any, node: Schema) -> bool:
    if not isinstance(value, dict):
        return True
    return all(_required(keys, value, node) for key, keys in needs.items() if key in value)


def _conditional(condition: Schema, value: Any, node: Schema) -> bool:
    return accepts(node.get("then" if accepts(condition, value) else "else", {}), value)


def _unique(wanted: bool, value: Any, node: Schema) -> bool:
    if not wanted or not isinstance(value, list):
        return True
    return not any(_equal(item, other) for index, item in enumerate(value) for other in value[:index])


def _unless(refused: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Schema], bool]:
    """A bound of numbers, as the comparison that refuses: no comparison with what is not a number holds."""
    return lambda bound, value, node: not (_is_number(value) and refused(value, bound))


KEYWORDS: dict[str, Callable[[Any, Any, Schema], bool]] = {
    "$ref": _reference,
    "type": _type,
    "const": lambda wanted, value, node: _equal(wanted, value),
    "enum": lambda choices, value, node: any(_equal(choice, value) for choice in choices),
    "minimum": _unless(operator.lt),
    "maximum": _unless(operator.gt),
    "exclusiveMinimum": _unless(operator.le),
    "exclusiveMaximum": _unless(operator.ge),
    "minLength": lambda bound, value, node: not isinstance(value, str) or len(value) >= bound,
    "pattern": lambda pattern, value, node: not isinstance(value, str) or bool(re.search(pattern, value)),
    "minItems": lambda bound, value, node: not isinstance(value, list) or len(value) >= bound,
    "maxItems": lambda bound, value, node: not isinstance(value, list) or len(value) <= bound,
    "uniqueItems": _unique,
    "items": lambda items, value, node: not isinstance(value, list) or all(accepts(items, item) for item in value),
    "properties": _properties,
    "additionalProperties": _additional,
    "required": _required,
    "dependentRequired": _dependent,
    "oneOf": lambda nodes, value, node: sum(accepts(branch, value) for branch in nodes) == 1,
    "not": lambda refused, value, node: not accepts(refused, value),
    "if": _conditional,
}
