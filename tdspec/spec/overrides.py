"""Changes of a spec from the command line.

In: "key.path=value" texts. Out: the tree of the spec with these values in it, each with its place in the override.
Leaves out: whether the keys exist; the schema finds that, as for any key.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from tdspec.errors import Diagnostic, Place, UsageError
from tdspec.spec.paths import PATH_KEYS, absolute
from tdspec.spec.reader import fatal, read_text
from tdspec.spec.source import Entry, Node, dotted, parse_dotted, with_value


def apply_overrides(root: Node, overrides: Sequence[str]) -> tuple[Node, tuple[Diagnostic, ...]]:
    """The tree with every override in it, and what is wrong with their text.

    Args:
        root: the spec.
        overrides: "key.path=value" texts; the value is YAML, a relative path in it starts from the current folder.

    Raises:
        UsageError: an override without "=" or without a key.
        SpecError: a value that is not YAML, or a key below a list.
    """
    diagnostics: list[Diagnostic] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            hint = "write --set train.epochs=3"
            raise UsageError(f"found the override '{override}', expected KEY.PATH=VALUE", hint)
        file = f"--set {override}"
        node, found = read_text(text, file, len(key) + 2) if text.strip() else (Node(Place(file, 1, 1), None), ())
        diagnostics += [replace(item, key=dotted((*path, *parse_dotted(item.key)))) for item in found]
        place = Place(file, 1, 1)
        root = with_value(_open_way(root, path, place), path, place, _absolute_paths(node, path))
    return root, tuple(diagnostics)


def _open_way(root: Node, path: Sequence[str], place: Place) -> Node:
    """The tree with a mapping wherever the path leads through a scalar, which gives way (a term's weight stays)."""
    node = root
    for index, key in enumerate(path[:-1]):
        if key not in node.value:
            return root
        node = node.value[key].node
        if isinstance(node.value, list):
            message = f"found a list at {'.'.join(path[: index + 1])}, expected a mapping"
            raise fatal(place, "override", message, "set the whole list")
        if not isinstance(node.value, dict):
            is_weight = index == 1 and path[0] == "losses" and isinstance(node.value, (int, float))
            entries = {"weight": Entry(node.place, node)} if is_weight else {}
            return with_value(root, path[: index + 1], place, Node(node.place, entries))
    return root


def _absolute_paths(node: Node, path: tuple[str, ...]) -> Node:
    """The override's value with its relative paths made absolute, since the spec lies elsewhere."""
    for key_path in PATH_KEYS:
        if key_path[: len(path)] == path:
            node = _absolute_path(node, key_path, len(path))
    return node


def _absolute_path(node: Node, key_path: tuple[str, ...], depth: int) -> Node:
    inner = node
    for key in key_path[depth:]:
        if not isinstance(inner.value, dict) or key not in inner.value:
            return node
        inner = inner.value[key].node
    if not isinstance(inner.value, str) or not inner.value:
        return node
    changed = Node(inner.place, absolute(key_path, inner.value, os.getcwd()))
    return with_value(node, key_path[depth:], inner.place, changed) if key_path[depth:] else changed
