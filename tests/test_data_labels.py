from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_support import table_of

from tdspec.data.labels import TASK_LABELS, Labelled, Task, keep_labels, read_labels, unread_labels

ROWS = {"train": np.array([0, 1]), "validation": np.array([2]), "test": np.array([3])}
TABLE = table_of(kind=["b", "a", "b", "c"], real=[0.5, 1, 2, 3], flag=[0, 1, 1, 0], many=["0", "0|1", "", "2"])


def test_the_schema_names_the_same_tasks(repository: Path) -> None:
    schema = json.loads((repository / "schemas" / "tdspec.schema.json").read_text())
    assert set(schema["$defs"]["task"]["properties"]["type"]["enum"]) == set(TASK_LABELS)


@pytest.mark.parametrize(
    ("task", "dtype", "expected", "names"),
    [
        (Task("kind", "classification", 3), np.int32, [1, 0], ("a", "b", "c")),
        (Task("real", "regression", None), np.float32, [0.5, 1], None),
        (Task("flag", "binary", None), np.float32, [0, 1], None),
        (Task("many", "multilabel", 3), np.float32, [[1, 0, 0], [1, 1, 0]], None),
    ],
)
def test_labels_of_every_task(task: Task, dtype: Any, expected: Any, names: Any) -> None:
    parts, found_names = read_labels(TABLE, task, ROWS)
    labels = parts["train"].labels
    assert labels is not None
    assert (labels.dtype, labels.tolist(), found_names) == (dtype, expected, names)
    assert all(part.weights.tolist() == [1.0] * len(part.rows) for part in parts.values())


def train(labels: list[int]) -> Labelled:
    return Labelled(np.arange(len(labels)) * 10, np.array(labels, np.int32), np.ones(len(labels), np.float32))


def test_labels_that_are_dropped_take_their_examples_along() -> None:
    kept = keep_labels(train([2, 1, 1, 2, 1]), 1, "drop", 0)
    assert kept.labels is not None
    assert sorted(kept.labels.tolist()) == [1, 2]
    assert kept.weights.tolist() == [1, 1]
    assert all([2, 1, 1, 2, 1][row // 10] == label for row, label in zip(kept.rows, kept.labels, strict=True))


def test_labels_that_are_hidden_do_not_leak() -> None:
    before = train([2, 1, 1, 2, 1])
    kept = keep_labels(before, 1, "keep", 0)
    assert kept.labels is not None and before.labels is not None
    assert kept.rows.tolist() == before.rows.tolist()
    assert kept.weights.sum() == 2
    np.testing.assert_array_equal(kept.labels, np.where(kept.weights == 1, before.labels, 0))


def test_all_labels_stay() -> None:
    before = train([0, 1])
    assert keep_labels(before, "all", "drop", 0) is before


def test_labels_that_are_read_later() -> None:
    assert unread_labels(ROWS)["test"].labels is None
