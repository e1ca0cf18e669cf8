"""Values and expectations in words.

In: values, schema nodes. Out: the "found ..." and "expected ..." of messages, and suggestions.
Leaves out: which message to write (`violations.py`, `checks.py`).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from tdspec.spec.scalars import read_scalar
from tdspec.spec.schema import Schema, branches, follow, type_names

MAX_TEXT = 60
TYPE_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}
PATTERN_WORDS = {
    "^(?!latest$)[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$": (
        "at most 100 letters, digits, '_', '.' and '-', the first a letter or digit, and not 'latest'"
    ),
    "^[A-Za-z0-9]+(Backbone|VisionEncoder|TextEncoder)$": "a keras-hub class such as ViTBackbone",
    "^[A-Za-z0-9]+$": "letters and digits",
    "^[a-z][a-z0-9_]*$": "small letters, digits and '_', the first a letter",
}


def found(value: Any) -> str:
    """A value in words, as text short enough for a message."""
    if isinstance(value, str):
        shortened = value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 3] + "..."
        return f"the text {shortened!r}" if value else "empty text"
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def expected(node: Schema) -> str:
    """What a schema node asks for, in words."""
    return _either(dict.fromkeys(_expected_one(branch) for branch in branches(node)))


def _either(parts: Iterable[str]) -> str:
    """Alternatives in words."""
    return " or ".join(parts)


def _expected_one(node: Schema) -> str:
    if "const" in node:
        return quoted(node["const"])
    if "enum" in node:
        return one_of(node["enum"])
    types = type_names(node)
    words = _either(TYPE_WORDS[name] for name in types)
    if "pattern" in node:
        return PATTERN_WORDS[node["pattern"]]
    if types == ["array"]:
        return _expected_list(node)
    bounds = _bounds(node)
    return f"{words} {bounds}" if bounds else words


def _bounds(node: Schema) -> str:
    if "minimum" in node and "maximum" in node:
        return f"from {node['minimum']} to {node['maximum']}"
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    return " and ".join(f"{word} {node[key]}" for key, word in words.items() if key in node)


def _expected_list(node: Schema) -> str:
    least, most = node.get("minItems", 0), node.get("maxItems")
    items = expected(follow(node["items"]))
    if least == most:
        return f"a list of {least}, each {items}"
    count = f" of {least} to {most}" if most else f" of at least {least}" if least else ""
    return f"a list{count}, each {items}"


def quoted(value: Any) -> str:
    """A value as a user would write it, text in quotes."""
    return f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def one_of(values: Sequence[Any]) -> str:
    """A choice in words."""
    names = [quoted(value) for value in values]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def similar(word: Any, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """The choice most like a word, or "" where none is."""
    folded = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(str(word).lower(), folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else ""


def did_you_mean(choice: str) -> str:
    """The hint that suggests a choice, or ""."""
    return f"did you mean '{choice}'?" if choice else ""


def value_hint(node: Schema, value: Any) -> str:
    """How to mend a value that a schema node refuses, or ""."""
    options = branches(node)
    if isinstance(value, str):
        names = [name for branch in options for name in (branch.get("enum", []) or [branch.get("const")])]
        suggestion = similar(value, [name for name in names if isinstance(name, str)])
        return did_you_mean(suggestion) or _number_hint(options, value)
    if value is None:
        return "write a value after the colon, or leave the key out"
    types = {name for branch in options for name in type_names(branch)}
    if "string" in types and not isinstance(value, (dict, list)) and types.isdisjoint({"integer", "number"}):
        return "quote it for text"
    if "array" in types and isinstance(value, (str, int, float)):
        return f"write [{value}]"
    return ""


def _number_hint(options: Sequence[Schema], text: str) -> str:
    if not any({"integer", "number"} & set(type_names(branch)) for branch in options):
        return ""
    bare = text.strip().replace("_", "").replace(",", "")
    try:
        number = read_scalar(bare)
    except ValueError:
        return ""
    return f"write {bare} for a number" if isinstance(number, (int, float)) and not isinstance(number, bool) else ""
