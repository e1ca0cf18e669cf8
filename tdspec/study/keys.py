"""Keys of the spec in a study: which of them stand over others, and which change no result.

In: dotted key paths. Out: whether what one sets is lost to another, and which are no paths.
Leaves out: whether keys exist, and which methods read them (`matrix.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tdspec.spec.problems import Problem
from tdspec.spec.source import KeyPath, is_key_path, is_within
from tdspec.spec.words import quoted

WITHOUT_EFFECT = ("name", "version")


def full_key(key: str) -> str:
    """The key path that a number is set at: the weight of a term where the term alone is named."""
    parts = key.split(".")
    return f"{key}.weight" if len(parts) == 2 and parts[0] == "losses" else key


def covers(key: str, other: str) -> bool:
    """Whether a value of a key leaves nothing of one that was set at another key: the same, or one below it."""
    return full_key(key) == full_key(other) or is_within(other, key)


def no_paths(keys: Iterable[str], path: KeyPath) -> Iterator[Problem]:
    """The keys of a mapping that cannot be the path of one in a spec.

    Args:
        keys: of the mapping.
        path: where it stands.
    """
    for key in keys:
        if not is_key_path(key):
            message = f"found {quoted(key)}, expected the path of a key, such as train.epochs"
            yield Problem((*path, key), "value", message, at_key=True)
