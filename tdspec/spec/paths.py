"""Which keys hold paths, and what a relative path means.

In: a resolved spec. Out: the same with paths made absolute, or relative to a folder.
Leaves out: whether what a path names exists, a preset's folder and a `spec:` aside.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tdspec.spec.source import KeyPath

SIDES = ("teacher", "student")
PRESET_KEYS = frozenset(("preset", "tokenizer"))
OWN_TOKENIZER = "own"


def model_keys(num_teachers: int) -> tuple[KeyPath, ...]:
    """The key paths of all models that a spec may have, with so many `teachers`."""
    return (*((side,) for side in SIDES), *(("teachers", index) for index in range(num_teachers)))


def models_in(values: Mapping[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Each model of a resolved spec: its key path, and what the spec says of it."""
    for side in SIDES:
        if side in values:
            yield (side,), values[side]
    for index, item in enumerate(values.get("teachers", ())):
        yield ("teachers", index), item


def path_keys(num_teachers: int) -> tuple[KeyPath, ...]:
    """The keys that hold paths, in a spec with so many `teachers`."""
    models = model_keys(num_teachers)
    return (
        ("data", "path"),
        ("data", "teacher_cache", "folder"),
        *((*side, "backbone", key) for side in models for key in ("preset", "file", "spec")),
        *((*side, "backbone", "weights", key) for side in models for key in ("preset", "file")),
        *((*side, "input", "tokenizer") for side in models),
    )


def paths_in(values: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Each path in a spec, as its key path and its text."""
    for key_path in path_keys(len(values.get("teachers", ()))):
        value: Any = values
        for key in key_path:
            found = isinstance(key, int) or (isinstance(value, dict) and key in value)
            value = value[key] if found else None
        if isinstance(value, str) and not (key_path[-1] == "tokenizer" and value == OWN_TOKENIZER):
            yield key_path, value


def map_paths(values: Mapping[str, Any], change: Callable[[KeyPath, str], Any]) -> dict[str, Any]:
    """A copy of a spec with every path changed.

    Args:
        values: the spec as plain data.
        change: takes a key path and the path's text, gives what stands there instead.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(values))
    for key_path, text in paths_in(values):
        parent: Any = changed
        for key in key_path[:-1]:
            parent = parent[key]
        parent[key_path[-1]] = change(key_path, text)
    return changed


def absolute(key_path: KeyPath, text: str, folder: str) -> str:
    """The absolute path that a text in a spec means; a preset that is no folder stays a name.

    Args:
        key_path: the key that holds the text.
        text: the path.
        folder: the folder relative paths start from.
    """
    expanded = os.path.abspath(os.path.join(folder, os.path.expanduser(text)))
    if key_path[-1] not in PRESET_KEYS:
        return expanded
    is_folder = text.startswith((".", "/", "~")) or ("://" not in text and os.path.isdir(expanded))
    return expanded if is_folder else text


def absolute_paths(values: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """A copy of a spec in which every path is absolute.

    Args:
        values: the spec as plain data.
        folder: the folder relative paths start from.
    """
    return map_paths(values, lambda key_path, text: absolute(key_path, text, folder))


def relative(key_path: KeyPath, text: str, old_folder: str, new_folder: str) -> str:
    """The text that means in `new_folder` what `text` means in `old_folder`, with forward slashes."""
    path = absolute(key_path, text, old_folder)
    if not os.path.isabs(path):
        return text
    moved = Path(os.path.relpath(path, os.path.abspath(new_folder))).as_posix()
    # Without the dot a folder that does not exist yet would be read as a preset's name.
    return moved if key_path[-1] not in PRESET_KEYS or moved.startswith(".") else f"./{moved}"


def last_component(text: str) -> str:
    """What of a path counts for the content of a spec: its last part; the whole of a preset's address."""
    return text if "://" in text else text.replace("\\", "/").rstrip("/").rpartition("/")[2]
