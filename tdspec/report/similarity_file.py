"""The similarities of a run's teacher and student, as its folder keeps them.

In: similarity.json. Out: `Similarity`, and which classes are undistillable by it.
Leaves out: measuring (`similarity.py`, which needs TensorFlow), the section of the page (`similarity_section.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdspec.errors import RunError
from tdspec.run.run_dir import RunFolder, write_json

FILE = "similarity.json"
LOW, HIGH, MESSAGE = "low", "high", "message"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Student:
    """How alike the teacher and one student are.

    Attributes:
        name: the method it was trained by.
        spaces: of the student: low, high, message.
        teacher_spaces: those of the teacher.
        cka: by group of examples, student's space, teacher's space.
        chance: by group, how likely high states of examples paired at random are as alike.
        accuracy: by group, the share of its validation examples that the student classifies rightly; empty for other
            tasks.
    """

    name: str
    spaces: tuple[str, ...]
    teacher_spaces: tuple[str, ...]
    cka: tuple[tuple[tuple[float, ...], ...], ...]
    chance: tuple[float, ...]
    accuracy: tuple[float, ...]

    def of(self, space: str) -> list[float]:
        """By group, the CKA of a space of the student with the same space of the teacher."""
        row, column = self.spaces.index(space), self.teacher_spaces.index(space)
        return [values[row][column] for values in self.cka]

    def mean(self) -> list[list[float]]:
        """The mean over groups, by student's space and teacher's space."""
        return [[float(value) for value in row] for row in np.mean(np.asarray(self.cka), axis=0)]


@dataclass(frozen=True)
class Similarity:
    """Similarities on validation examples.

    Attributes:
        groups: names of the classes, or "all examples".
        counts: examples of each that were compared.
        totals: validation examples of each.
        students: the run's, then the control's where there is one.
        left_out: a sentence about classes that are not shown, or "".
    """

    groups: tuple[str, ...]
    counts: tuple[int, ...]
    totals: tuple[int, ...]
    students: tuple[Student, ...]
    left_out: str

    def undistillable(self, student: Student) -> list[str]:
        """Classes in which a student's high state is no more like the teacher's than for examples paired at random."""
        return [group for group, p in zip(self.groups, student.chance, strict=True) if p >= SIGNIFICANT]

    def fell(self) -> list[tuple[str, float, float]]:
        """Classes that the run's student classifies worse than the control: name, with, without."""
        if len(self.students) < 2:
            return []
        figures = zip(self.groups, self.students[0].accuracy, self.students[1].accuracy, strict=True)
        return [(group, own, other) for group, own, other in figures if own < other]


def write_similarity(run: RunFolder, similarity: Similarity, key: Mapping[str, Any]) -> None:
    """Write it beside what it was measured from."""
    write_json(run.path / FILE, {"measured_from": dict(key), **asdict(similarity)})


def read_similarity(run: RunFolder) -> Similarity | None:
    """What was measured, or None where nothing was.

    Raises:
        RunError: the file is damaged.
    """
    data = _read(run.path / FILE)
    if data is None:
        return None
    students = tuple(Student(**{key: _tuples(value) for key, value in item.items()}) for item in data["students"])
    kept = {key: _tuples(data[key]) for key in ("groups", "counts", "totals", "left_out")}
    return Similarity(students=students, **kept)


def is_measured(run: RunFolder, key: Mapping[str, Any]) -> bool:
    """Whether the file is there, and is of this student, teacher and control."""
    data = _read(run.path / FILE)
    return data is not None and data["measured_from"] == dict(key)


def key_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What similarities depend on, from the record of a run."""
    control = record.get("control")
    return {
        "spec_sha256": record["spec_sha256"],
        "teacher_sha256": record["teacher_sha256"],
        "best_epoch": record["best_epoch"],
        "control_best_epoch": None if control is None else control["best_epoch"],
    }


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}", "remove it: `tdspec report` measures anew") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
