"""What the schema refuses, in tdspec's own words.

In: plain data. Out: a `Problem` for everything jsonschema finds, once.
Leaves out: places (`problems.py`), rules that a schema cannot say (`checks.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jsonschema import ValidationError

from tdspec.spec.problems import Problem
from tdspec.spec.schema import Schema, accepts_type, follow, key_homes, schema_at, validator
from tdspec.spec.source import KeyPath, dotted
from tdspec.spec.words import did_you_mean, expected, found, one_of, quoted, similar, value_hint

SURE = 0.8
MAX_HOMES = 3
# The schema's one condition: id and ids need a size, number has none.
FEATURE_KEYS: Schema = follow({"$ref": "#/$defs/feature"})["properties"]


def violations(data: dict[str, Any]) -> list[Problem]:
    """Everything the schema refuses in a spec, each thing once.

    Args:
        data: the spec as plain data.
    """
    problems = dict.fromkeys(problem for error in validator().iter_errors(data) for problem in explain(error))
    misspelt = {
        (*problem.path[:-1], suggestion)
        for problem in problems
        if problem.rule == "unknown-key" and (suggestion := _suggested(problem))
    }
    return [problem for problem in problems if problem.rule != "missing-key" or problem.path not in misspelt]


def suggested_sections(problems: list[Problem]) -> set[str]:
    """Top level keys that a misspelt key was meant to be."""
    return {_suggested(problem) for problem in problems if problem.rule == "unknown-key" and len(problem.path) == 1}


def _suggested(problem: Problem) -> str:
    start, end = did_you_mean("|").split("|")
    return problem.hint.removeprefix(start).removesuffix(end) if problem.hint.startswith(start) else ""


class Violation(NamedTuple):
    """One error of jsonschema.

    Attributes:
        path: the key path of the value.
        instance: the value.
        keyword: what the failing keyword of the schema says.
        schema: the schema node that has the keyword.
        inner: for a oneOf, the errors of its branches, each with its branch's index.
    """

    path: KeyPath
    instance: Any
    keyword: Any
    schema: Any
    inner: tuple[tuple[int, ValidationError], ...]


def explain(error: ValidationError) -> Iterator[Problem]:
    """The problems behind one error of jsonschema."""
    inner = tuple((int(each.schema_path[0]), each) for each in error.context or ())
    path = tuple(error.absolute_path)
    violation = Violation(path, error.instance, error.validator_value, error.schema, inner)
    return EXPLANATIONS[str(error.validator)](violation)


def _mismatch(error: Violation) -> Iterator[Problem]:
    """A single value that is not what its schema asks for."""
    node = schema_at(error.path) or follow(error.schema)
    yield Problem(
        error.path,
        "value",
        f"found {found(error.instance)}, expected {expected(node)}",
        value_hint(node, error.instance),
    )


def _unknown(error: Violation) -> Iterator[Problem]:
    known = list(error.schema["properties"])
    for key in error.instance:
        if key not in known:
            message = f"found an unknown key, expected {one_of(known)}"
            yield Problem((*error.path, key), "unknown-key", message, _key_hint(key, known, error.path), at_key=True)


def _key_hint(key: str, known: list[str], path: KeyPath) -> str:
    near = similar(key, known, SURE)
    if near:
        return did_you_mean(near)
    here = dotted(path)
    homes = [home for home in key_homes().get(key, ()) if home.rpartition(".")[0] != here]
    inside = [home for home in homes if home.startswith(f"{here}.")] if here else []
    side = [home for home in homes if path and home.split(".")[0] == path[0]]
    homes = (inside or side or homes)[:MAX_HOMES]
    if homes:
        return f"it belongs to {one_of([home.rpartition('.')[0] or 'the top level' for home in homes])}"
    return did_you_mean(similar(key, known))


def _missing(error: Violation) -> Iterator[Problem]:
    conditional = "properties" not in error.schema
    nodes = FEATURE_KEYS if conditional else error.schema["properties"]
    if conditional and error.instance.get("type") not in FEATURE_KEYS["type"]["enum"]:
        return  # whether a feature needs its size is open while its type is
    for key in error.keyword:
        if key not in error.instance:
            message = f"found nothing, expected {expected(follow(nodes[key]))}"
            yield Problem((*error.path, key), "missing-key", message)


def _not_both(error: Violation) -> Iterator[Problem]:
    """Only a feature of type number forbids a key: size."""
    for key in error.keyword["required"]:
        if "type" in error.instance:
            message = f"found {quoted(error.instance[key])}, expected no {key} for the type {error.instance['type']!r}"
            yield Problem((*error.path, key), "value", message, "delete it, or write type: id")


def _repeated(error: Violation) -> Iterator[Problem]:
    seen: list[Any] = []
    for index, item in enumerate(error.instance):
        if item in seen:
            yield Problem((*error.path, index), "value", f"found {quoted(item)} a second time, expected it once")
        seen.append(item)


def _dependent(error: Violation) -> Iterator[Problem]:
    for key, needed in error.keyword.items():
        if key in error.instance:
            for other in needed:
                if other not in error.instance:
                    message = f"found {key} without {other}, expected both"
                    yield Problem(
                        (*error.path, key), "missing-key", message, f"write {other}: beside {key}:", at_key=True
                    )


def _alternatives(error: Violation) -> Iterator[Problem]:
    """A value none, or several, of the alternatives of a oneOf accept."""
    nodes = [follow(branch) for branch in error.keyword]
    if all("type" not in node and "required" in node for node in nodes):
        # A value that is no mapping at all is told so by the keyword type.
        if isinstance(error.instance, dict):
            yield from _ways(error, [node["required"][0] for node in nodes])
        return
    candidates = [index for index, node in enumerate(nodes) if accepts_type(node, error.instance)]
    ways = [key for index in candidates for key in nodes[index].get("required", [])]
    if len(candidates) > 1 and isinstance(error.instance, dict):
        candidates = [index for index in candidates if nodes[index]["required"][0] in error.instance]
    if len(candidates) == 1 and isinstance(error.instance, (dict, list)):
        for index, inner in error.inner:
            if index == candidates[0]:
                yield from explain(inner)
    elif ways and isinstance(error.instance, dict):
        yield from _ways(error, ways)
    else:
        yield from _mismatch(error)


def _ways(error: Violation, ways: list[str]) -> Iterator[Problem]:
    """Keys of which a mapping must have exactly one."""
    written = [key for key in error.instance if key in ways]
    unknown = [key for key in error.instance if key not in error.schema.get("properties", ways)]
    misspelt = [way for key in unknown if (way := similar(key, ways))]
    if len(written) > 1:
        message = f"found {' and '.join(written)}, expected exactly one of {one_of(ways)}"
        yield Problem(error.path, "choice", message, "keep one and delete the others")
    elif not misspelt:
        yield Problem(error.path, "choice", f"found none of {one_of(ways)}, expected exactly one")
    elif "properties" not in error.schema:
        for key in unknown:
            message = f"found an unknown key, expected {one_of(ways)}"
            yield Problem((*error.path, key), "unknown-key", message, did_you_mean(similar(key, ways)), at_key=True)


EXPLANATIONS: dict[str, Callable[[Violation], Iterator[Problem]]] = {
    **dict.fromkeys(
        ("type", "enum", "const", "pattern", "minLength", "minItems", "maxItems", "minProperties"), _mismatch
    ),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _mismatch),
    "additionalProperties": _unknown,
    "required": _missing,
    "not": _not_both,
    "uniqueItems": _repeated,
    "dependentRequired": _dependent,
    "oneOf": _alternatives,
}
