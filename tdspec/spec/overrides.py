"""Changes of a spec from the command line.

In: "key.path=value" texts. Out: the tree of the spec with these values in it, each with its place in the override.
Leaves out: whether the keys exist; the schema finds that, as for any key.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace

from tdspec.errors import Diagnostic, Place, UsageError
from tdspec.spec.paths import absolute, path_keys
from tdspec.spec.reader import fatal, read_text
from tdspec.spec.source import Entry, KeyPath, Node, dotted, is_key_path, parse_dotted, with_value


def apply_overrides(root: Node, overrides: Sequence[str]) -> tuple[Node, tuple[Diagnostic, ...]]:
    """The tree with every override in it, and what is wrong with their text.

    Args:
        root: the spec.
        overrides: "key.path=value" texts; the value is YAML, a relative path in it starts from the current folder.

    Raises:
        UsageError: an override without "=" or without a key.
        SpecError: a value that is not YAML, a key below a list, or the number of an item that there is not.
    """
    diagnostics: list[Diagnostic] = []
    for override in overrides:
        path, node, found = read_override(override)
        diagnostics += found
        place = Place(f"--set {override}", 1, 1)
        root = with_value(_open_way(root, path, place), path, place, node)
    return root, tuple(diagnostics)


def read_override(override: str) -> tuple[KeyPath, Node, tuple[Diagnostic, ...]]:
    """The key path of an override, its value with absolute paths, and what is wrong with the value's text.

    Args:
        override: a "key.path=value" text.

    Raises:
        UsageError: no "=", or no key.
        SpecError: a value that is not YAML.
    """
    key, equals, text = override.partition("=")
    path = parse_dotted(key.strip())
    if not equals or not is_key_path(key.strip()):
        hint = "write --set train.epochs=3"
        raise UsageError(f"found the override '{override}', expected KEY.PATH=VALUE", hint)
    file = f"--set {override}"
    node, found = read_text(text, file, len(key) + 2) if text.strip() else (Node(Place(file, 1, 1), None), ())
    diagnostics = tuple(replace(item, key=dotted((*path, *parse_dotted(item.key)))) for item in found)
    return path, _absolute_paths(node, path), diagnostics


def _open_way(root: Node, path: KeyPath, place: Place) -> Node:
    """The tree with a mapping wherever the path leads through a scalar, which gives way (a term's weight stays)."""
    node = root
    for index, (key, following) in enumerate(itertools.pairwise(path)):
        if not isinstance(key, int) and key not in node.value:
            _require_item(Node(place, {}), path[: index + 1], following, place)
            return root
        node = node.value[key] if isinstance(key, int) else node.value[key].node
        _require_item(node, path[: index + 1], following, place)
        if not isinstance(node.value, (dict, list)):
            is_weight = index == 1 and path[0] == "losses" and isinstance(node.value, (int, float))
            entries = {"weight": Entry(node.place, node)} if is_weight else {}
            return with_value(root, path[: index + 1], place, Node(node.place, entries))
    return root


def _require_item(node: Node, path: KeyPath, following: str | int, place: Place) -> None:
    """Refuse a key below a list, and an item of what is no list or is shorter."""
    name, count = dotted(path), len(node.value) if isinstance(node.value, list) else 0
    if isinstance(node.value, list) and not isinstance(following, int):
        hint = f"write {name}[0] for its first item, or set the whole list"
        raise fatal(place, "override", f"found a list at {name}, expected a mapping", hint)
    if isinstance(following, int) and not isinstance(node.value, list):
        raise fatal(place, "override", f"found no list at {name}, expected one", "set the whole list")
    if isinstance(following, int) and following >= count:
        message = f"found {name}[{following}], expected at most {name}[{count - 1}]"
        raise fatal(place, "override", message, "set the whole list")


def _absolute_paths(node: Node, path: KeyPath) -> Node:
    """The override's value with its relative paths made absolute, since the spec lies elsewhere."""
    num_teachers = 0
    match path:
        case ("teachers",) if isinstance(node.value, list):
            num_teachers = len(node.value)
        case ("teachers", int(index), *_):
            num_teachers = index + 1
    for key_path in path_keys(num_teachers):
        if key_path[: len(path)] == path:
            node = _absolute_path(node, key_path, len(path))
    return node


def _absolute_path(node: Node, key_path: KeyPath, depth: int) -> Node:
    inner = node
    for key in key_path[depth:]:
        if isinstance(key, int):
            inner = inner.value[key]
        elif isinstance(inner.value, dict) and key in inner.value:
            inner = inner.value[key].node
        else:
            return node
    if not isinstance(inner.value, str) or not inner.value:
        return node
    changed = Node(inner.place, absolute(key_path, inner.value, os.getcwd()))
    return with_value(node, key_path[depth:], inner.place, changed) if key_path[depth:] else changed
