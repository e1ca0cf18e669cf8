"""The part of `model.py` that is about data.

In: nothing. Out: `Data` and what it is made of. Leaves out: what `model.py` leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Splits:
    """Exactly three parts, all slices or all fractions; `by` and `within` are columns, or None."""

    by: str | None
    within: str | None
    train: str | float
    validation: str | float
    test: str | float


@dataclass(frozen=True)
class TeacherCache:
    """`folder` is an absolute path, or None for the user's cache folder."""

    dtype: str
    views: int
    folder: str | None


@dataclass(frozen=True)
class Data:
    """`teacher_cache` is None where the teacher runs in every step."""

    source: str
    name: str | None
    path: str | None
    splits: Splits
    where: Mapping[str, Any]
    labels_per_class: int | Literal["all"]
    unlabeled: str
    batch_size: int
    augment: tuple[str, ...]
    teacher_cache: TeacherCache | None
