"""The figure that a task is judged by, of students as of teachers.

In: a task, or metrics by name as run folders have them. Out: which is the task's figure, and whether more is better.
Leaves out: computing it (`graph/records.py`, `run/teacher_check.py`), so that reading a run needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable

FIGURES = {"classification": "accuracy", "regression": "rmse", "binary": "accuracy", "multilabel": "accuracy"}
MORE_IS_BETTER = {"accuracy": True, "rmse": False}
VALIDATION = "val_"


def figure_in(names: Iterable[str]) -> str | None:
    """The name of the task's figure among names of metrics, with or without "val_"; None where there is none."""
    found = {name.removeprefix(VALIDATION) for name in names}
    return next((name for name in MORE_IS_BETTER if name in found), None)


def signed_gain(figure: str, value: float, other: float) -> float:
    """How much better `value` is than `other`; negative where it is worse."""
    return value - other if MORE_IS_BETTER[figure] else other - value
