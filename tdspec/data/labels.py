"""The labels of a task, and which training examples keep theirs.

In: a `Table`, the rows of each part, a task. Out: labels of the dtype the task trains on, and weights.
Leaves out: the values themselves (`values.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tdspec.data import values
from tdspec.data.filters import labelled
from tdspec.data.table import Array, Table

ClassNames = tuple[str, ...] | None


@dataclass(frozen=True)
class Task:
    """What is predicted: a column, the task's type, and the number of classes where it is bounded."""

    label: str
    type: str
    num_classes: int | None


@dataclass(frozen=True)
class Labelled:
    """Rows of one part with their labels (rows, ...), None where they are read later, and weights float32 (rows,)."""

    rows: Array
    labels: Array | None
    weights: Array


def _classification(table: Table, task: Task, rows: Array) -> tuple[Array, ClassNames]:
    return values.class_numbers(table, task.label, rows, task.num_classes)


def _binary(table: Table, task: Task, rows: Array) -> tuple[Array, ClassNames]:
    return values.yes_or_no(table, task.label, rows)


def _regression(table: Table, task: Task, rows: Array) -> tuple[Array, ClassNames]:
    return values.numbers(table, task.label, rows), None


def _multilabel(table: Table, task: Task, rows: Array) -> tuple[Array, ClassNames]:
    assert task.num_classes is not None
    return values.many_hot(table, task.label, rows, task.num_classes)


TASK_LABELS: Mapping[str, Callable[[Table, Task, Array], tuple[Array, ClassNames]]] = {
    "classification": _classification,
    "binary": _binary,
    "regression": _regression,
    "multilabel": _multilabel,
}


def read_labels(table: Table, task: Task, rows: Mapping[str, Array]) -> tuple[dict[str, Labelled], ClassNames]:
    """Read the labels of every part.

    Args:
        table: has the label column.
        task: what is predicted.
        rows: int64 (rows,) of each part.

    Returns:
        The labels by part, all of weight 1, and the names of the classes.
    """
    parts: dict[str, Labelled] = {}
    class_names: ClassNames = None
    for part, part_rows in rows.items():
        found, class_names = TASK_LABELS[task.type](table, task, part_rows)
        parts[part] = Labelled(part_rows, found, np.ones(len(part_rows), np.float32))
    return parts, class_names


def unread_labels(rows: Mapping[str, Array]) -> dict[str, Labelled]:
    """Parts whose labels are read with their images."""
    return {part: Labelled(found, None, np.ones(len(found), np.float32)) for part, found in rows.items()}


def keep_labels(train: Labelled, labels_per_class: int | Literal["all"], unlabeled: str, seed: int) -> Labelled:
    """Take labels from training examples.

    Args:
        train: the training part; of a classification, and read already, where labels_per_class is a number.
        labels_per_class: how many examples of each class keep their label, or "all".
        unlabeled: "drop" leaves the others out, "keep" gives them label 0 and weight 0.
        seed: of the draw.
    """
    if labels_per_class == "all":
        return train
    assert train.labels is not None
    keep = labelled(train.labels, labels_per_class, seed)
    if unlabeled == "drop":
        return Labelled(train.rows[keep], train.labels[keep], train.weights[keep])
    hidden: Any = np.where(keep, train.labels, 0).astype(train.labels.dtype)
    return replace(train, labels=hidden, weights=keep.astype(np.float32))
