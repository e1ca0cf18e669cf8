"""Keys of the spec in a study: which of them stand over others, and which change no result.

In: dotted key paths. Out: whether what one sets is lost to another.
Leaves out: whether keys exist, and which methods read them (`matrix.py`).
"""

from __future__ import annotations

from tdspec.spec.source import is_within

WITHOUT_EFFECT = ("name", "version")


def full_key(key: str) -> str:
    """The key path that a number is set at: the weight of a term where the term alone is named."""
    parts = key.split(".")
    return f"{key}.weight" if len(parts) == 2 and parts[0] == "losses" else key


def covers(key: str, other: str) -> bool:
    """Whether a value of a key leaves nothing of one that was set at another key: the same, or one below it."""
    return full_key(key) == full_key(other) or is_within(other, key)
