"""The figure a student is judged by, as run folders have it.

In: metrics by name. Out: which of them is the task's figure, and whether more of it is better.
Leaves out: computing it (`graph/records.py`, whose names a test joins with these), so that reading a run needs no
TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable

MORE_IS_BETTER = {"accuracy": True, "rmse": False}
VALIDATION = "val_"
FIGURES = {"classification": "accuracy", "regression": "rmse", "binary": "accuracy", "multilabel": "accuracy"}


def figure_in(names: Iterable[str]) -> str | None:
    """The name of the task's figure among names of metrics, with or without "val_"; None where there is none."""
    found = {name.removeprefix(VALIDATION) for name in names}
    return next((name for name in MORE_IS_BETTER if name in found), None)


def signed_gain(figure: str, value: float, other: float) -> float:
    """How much better `value` is than `other`; negative where it is worse."""
    return value - other if MORE_IS_BETTER[figure] else other - value
