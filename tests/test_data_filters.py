from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data_support import table_of

from tdspec.data.filters import describe_filters, labelled, matching
from tdspec.data.table import Column
from tdspec.errors import DataError

TABLE = table_of(
    text=["a|b", "b", "c"],
    number=["1", "2.50", "3"],
    flag=["True", "false", "true"],
    real=[1.0, 2.5, 3.0],
    yes=[True, False, True],
    genre=Column(np.array([0, 1, 1]), offsets=np.array([0, 2, 2, 3]), class_names=("Drama", "Comedy")),
    label=Column(np.array([0, 1, 1]), class_names=("cat", "dog")),
)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"text": "b"}, [0, 1]),
        ({"text": "a|b"}, [0]),
        ({"text": ["a", "c"]}, [0, 2]),
        ({"number": 2.5}, [1]),
        ({"number": "3"}, [2]),
        ({"flag": True}, [0, 2]),
        ({"real": [1, 3]}, [0, 2]),
        ({"yes": False}, [1]),
        ({"genre": "Comedy"}, [0, 2]),
        ({"genre": 0}, [0]),
        ({"label": "dog"}, [1, 2]),
        ({"label": "dog", "text": "b"}, [1]),
    ],
)
def test_rows_that_fit(where: dict[str, Any], expected: list[int]) -> None:
    assert np.flatnonzero(matching(TABLE, where, np.arange(3))).tolist() == expected


@pytest.mark.parametrize(
    ("where", "message", "hint"),
    [
        (
            {"genre": "Dramma"},
            "data.where.genre: no example has 'Dramma'",
            "did you mean 'Drama'? it has 'Drama', 'Comedy'",
        ),
        ({"text": "z"}, "data.where.text: no example has 'z'", "it has 'a', 'a|b', 'b', 'c'"),
        ({"real": [1, 7]}, "data.where.real: no example has 7", "it has '1.0', '2.5', '3.0'"),
        ({"real": "x"}, "data.where.real: no example has 'x'", "it has '1.0', '2.5', '3.0'"),
    ],
)
def test_a_value_that_never_occurs(where: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        matching(TABLE, where, np.arange(3))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_value_that_occurs_only_in_rows_that_are_not_used() -> None:
    with pytest.raises(DataError) as caught:
        matching(TABLE, {"label": "cat"}, np.array([1, 2]))
    assert caught.value.hint == "it has 'dog'"


def test_filters_in_words() -> None:
    assert describe_filters({"a": 1, "b": ["x", "y"]}) == "a: 1, b: ['x', 'y']"


def test_labels_are_drawn_by_class_and_seed() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 2])
    first, again, other = (labelled(labels, 5, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.bincount(labels[first]).tolist() == [5, 5, 2]
