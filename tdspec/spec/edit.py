"""Values changed in the text of a spec, whose comments and layout stay.

In: YAML text that was read before, values by key path. Out: the text with these values; None where it is not simple.
Leaves out: whether the result means what it should (who calls this loads it and looks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

WEIGHT = "weight"
LOSSES = "losses"


def edited(text: str, values: Mapping[str, Any]) -> str | None:
    """The text with values set.

    Args:
        text: a spec.
        values: scalars by dotted key path.

    Returns:
        None where a value stands where only a longer text could be, such as in a list or behind an alias.
    """
    if "&" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
        return None
    for key, value in values.items():
        changed = _with_value(text, key.split("."), _scalar(value))
        if changed is None:
            return None
        text = changed
    return text


def _with_value(text: str, path: Sequence[str], value: str) -> str | None:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, key in enumerate(path):
        if isinstance(node, yaml.ScalarNode):
            # a term whose weight stands for all of it
            is_weight = path[0] == LOSSES and list(path[depth:]) == [WEIGHT]
            return _replaced(text, node, value) if is_weight else None
        if not isinstance(node, yaml.MappingNode):
            return None
        found = [entry for name, entry in node.value if name.value == key]
        if not found:
            return _inserted(text, node, path, depth, value)
        node = found[0]
    return _replaced(text, node, value) if isinstance(node, yaml.ScalarNode) or node.flow_style else None


def _replaced(text: str, node: yaml.Node, value: str) -> str:
    return f"{text[: node.start_mark.index]}{value}{text[node.end_mark.index :]}"


def _inserted(text: str, node: yaml.MappingNode, path: Sequence[str], depth: int, value: str) -> str:
    """The text with the rest of a path as a new entry of a mapping."""
    rest = list(path[depth:])
    if path[0] == LOSSES and rest[-1] == WEIGHT and len(path) == 3 and len(rest) > 1:
        rest = rest[:-1]
    for key in reversed(rest[1:]):
        value = f"{{{key}: {value}}}"
    entry = f"{rest[0]}: {value}"
    if node.flow_style:
        at = node.value[-1][1].end_mark.index if node.value else node.end_mark.index - 1
        return f"{text[:at]}{', ' if node.value else ''}{entry}{text[at:]}"
    if depth == 0:
        return f"{text.rstrip()}\n{entry}\n"
    first = node.value[0][0].start_mark
    at = first.index - first.column
    return f"{text[:at]}{' ' * first.column}{entry}\n{text[at:]}"


def _scalar(value: Any) -> str:
    """A scalar as YAML 1.1 and 1.2 read it alike."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()
