"""A spec's text as a tree that remembers where everything stands.

In: nodes made by `reader.py`. Out: `Source`, which gives the place of a key path, and plain data.
Leaves out: reading YAML (`reader.py`), what keys mean (`schema.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tdspec.errors import Place

KeyPath = tuple[str | int, ...]


@dataclass(slots=True)
class Node:
    """A value of the text.

    Attributes:
        place: where the value starts.
        value: a scalar, a dict of Entry, or a list of Node.
        inline: it starts on its key's line (a scalar, or a collection in brackets).
        plain: an unquoted scalar.
        size: nodes in it, each alias counted in full.
        height: levels of nesting below it.
    """

    place: Place
    value: Any
    inline: bool = True
    plain: bool = False
    size: int = 1
    height: int = 0


class Entry(NamedTuple):
    """A key of a mapping, with its value."""

    place: Place
    node: Node


@dataclass(frozen=True)
class Source:
    """The places of a spec.

    Attributes:
        file: the path as the user wrote it.
        root: the top level mapping.
    """

    file: str
    root: Node = field(repr=False)

    def place(self, path: Sequence[str | int]) -> Place:
        """Where the value of a key path stands, or the nearest parent that exists."""
        found = self._walk(path)
        key, node = found[-1]
        return node.place if len(found) > len(path) and node.inline else key

    def key_place(self, path: Sequence[str | int]) -> Place:
        """Where the last key of a key path stands, or the nearest parent that exists."""
        return self._walk(path)[-1][0]

    def place_of_key(self, key: str) -> Place:
        """Where a dotted key stands, or the nearest parent that exists."""
        return self.key_place(parse_dotted(key))

    def _walk(self, path: Sequence[str | int]) -> list[tuple[Place, Node]]:
        """Each step of the path that exists, as the key's place and the value's node; the root first."""
        steps = [(self.root.place, self.root)]
        for step in path:
            value = steps[-1][1].value
            if isinstance(value, dict) and step in value:
                steps.append((value[step].place, value[step].node))
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                steps.append((value[step].place, value[step]))
            else:
                break
        return steps


def plain_data(node: Node) -> Any:
    """The node's value as dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain_data(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [plain_data(item) for item in node.value]
    return node.value


def with_value(root: Node, path: Sequence[str | int], place: Place, node: Node) -> Node:
    """A copy of a tree in which a key path has another value; mappings on the way are made where they are missing.

    Args:
        root: the tree, a mapping.
        path: the keys; a number stands for an item that the list there has.
        place: where the new value's key stands.
        node: the new value.
    """
    key, *rest = path
    if isinstance(key, int):
        items = list(root.value)
        items[key] = with_value(items[key], rest, place, node) if rest else node
        return Node(root.place, items, root.inline)
    entries = dict(root.value) if isinstance(root.value, dict) else {}
    if not rest:
        entries[key] = Entry(place, node)
    else:
        old = entries.get(key, Entry(place, Node(place, {})))
        entries[key] = Entry(old.place, with_value(old.node, rest, place, node))
    return Node(root.place, entries, root.inline)


def dotted(path: Sequence[str | int]) -> str:
    """A key path as text: ("units", 0) is "units[0]"."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def parse_dotted(text: str) -> KeyPath:
    """The inverse of `dotted`, for keys without dots and brackets."""
    steps = re.findall(r"\[(\d+)\]|([^.\[\]]+)", text)
    return tuple(int(index) if index else key for index, key in steps)


def is_within(key: str, outer: str) -> bool:
    """Whether a dotted key path is another, or below it."""
    return key == outer or key.startswith((f"{outer}.", f"{outer}["))


def is_key_path(text: str) -> bool:
    """Whether a text is a dotted key path of a mapping."""
    path = parse_dotted(text)
    return bool(path) and isinstance(path[0], str) and dotted(path) == text.strip() == text
