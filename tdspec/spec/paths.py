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

SIDES = ("teacher", "student")
PATH_KEYS: tuple[tuple[str, ...], ...] = (
    ("data", "path"),
    ("data", "teacher_cache", "folder"),
    *((side, "backbone", key) for side in SIDES for key in ("preset", "file", "spec")),
    *((side, "backbone", "weights", key) for side in SIDES for key in ("preset", "file")),
    *((side, "input", "tokenizer") for side in SIDES),
)
PRESET_KEYS = frozenset(("preset", "tokenizer"))
OWN_TOKENIZER = "own"


def paths_in(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each path in a spec, as its key path and its text."""
    for key_path in PATH_KEYS:
        value: Any = values
        for key in key_path:
            value = value[key] if isinstance(value, dict) and key in value else None
        if isinstance(value, str) and not (key_path[-1] == "tokenizer" and value == OWN_TOKENIZER):
            yield key_path, value


def map_paths(values: Mapping[str, Any], change: Callable[[tuple[str, ...], str], Any]) -> dict[str, Any]:
    """A copy of a spec with every path changed.

    Args:
        values: the spec as plain data.
        change: takes a key path and the path's text, gives what stands there instead.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(values))
    for key_path, text in paths_in(values):
        parent = changed
        for key in key_path[:-1]:
            parent = parent[key]
        parent[key_path[-1]] = change(key_path, text)
    return changed


def absolute(key_path: tuple[str, ...], text: str, folder: str) -> str:
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


def relative(key_path: tuple[str, ...], text: str, old_folder: str, new_folder: str) -> str:
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
