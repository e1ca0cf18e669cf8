from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data_support import table_of

from tdspec.data import values
from tdspec.data.table import Column
from tdspec.errors import DataError

ALL = np.arange(3)


def message(call: Any) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.message


def test_numbers_are_float32_and_text_is_parsed() -> None:
    table = table_of(a=[1, 2, 3], b=["1.5", "-2", "3e2"], c=[True, False, True])
    assert values.numbers(table, "a", ALL).dtype == np.float32
    np.testing.assert_array_equal(values.numbers(table, "b", ALL), np.array([1.5, -2, 300], np.float32))
    np.testing.assert_array_equal(values.numbers(table, "c", np.array([2, 1])), np.array([1, 0], np.float32))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1.0, float("nan"), 2.0], "column 'a' has nan in row 1, expected a finite number"),
        ([1.0, 2.0, float("inf")], "column 'a' has inf in row 2, expected a finite number"),
        (["1", "nan", "nan"], "column 'a' has nan in row 1 (and 1 more), expected a finite number"),
        (["1", "two", "3"], "column 'a' has 'two' in row 1, expected a number"),
        (["1", "", "3"], "column 'a' has nothing in row 1, expected a number"),
        ([1.0, 1e300, 2.0], "column 'a' has 1e+300 in row 1, expected a number of 32 bits"),
        ([[1, 2], [3, 4], [5, 6]], "column 'a' holds a list in each row, expected one value"),
    ],
)
def test_numbers_that_do_not_fit(column: Any, expected: str) -> None:
    assert message(lambda: values.numbers(table_of(a=column), "a", ALL)) == expected


def test_only_used_rows_are_checked() -> None:
    table = table_of(a=[1.0, float("nan"), 2.0])
    np.testing.assert_array_equal(values.numbers(table, "a", np.array([0, 2])), [1, 2])


def test_ids_take_decimal_text_whole_floats_and_booleans() -> None:
    table = table_of(a=["138", "7", "0"], b=[1.0, 2.0, 3.0], c=[True, False, True], d=[[1], [2], [3]])
    for name, expected in {"a": [138, 7, 0], "b": [1, 2, 3], "c": [1, 0, 1], "d": [1, 2, 3]}.items():
        found = values.ids(table, name, ALL, 200)
        assert found.dtype == np.int32
        assert found.tolist() == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0, 5, 1], "column 'a' has 5 in row 1, expected an id from 0 to 4"),
        ([0, 1, -1], "column 'a' has -1 in row 2, expected an id from 0 to 4"),
        ([0.0, 1.5, 1.0], "column 'a' has 1.5 in row 1, expected a whole number"),
        (["0", "x", "1"], "column 'a' has 'x' in row 1, expected a whole number"),
        (["0", "99999999999999999999", "1"], "column 'a' has 1e+20 in row 1, expected a whole number"),
    ],
)
def test_ids_that_do_not_fit(column: Any, expected: str) -> None:
    assert message(lambda: values.ids(table_of(a=column), "a", ALL, 5)) == expected


def test_id_lists_are_padded_to_the_longest_of_the_table() -> None:
    ragged = Column(np.array([3, 1, 2, 0]), offsets=np.array([0, 1, 1, 4]))
    table = table_of(a=ragged, b=["3", "", "1|2|0"], c=[[3, -1, -1], [-1, -1, -1], [1, 2, 0]])
    for name in "abc":
        found = values.id_lists(table, name, ALL, 4)
        assert found.dtype == np.int32
        assert found.tolist() == [[3, -1, -1], [-1, -1, -1], [1, 2, 0]]
        assert values.id_lists(table, name, np.array([0, 1]), 4).shape == (2, 3)


def test_an_id_in_a_list_that_is_too_large_names_its_row() -> None:
    table = table_of(a=["1", "2|9", "3"])
    assert (
        message(lambda: values.id_lists(table, "a", ALL, 5)) == "column 'a' has 9 in row 1, expected an id from 0 to 4"
    )


def test_class_numbers_from_numbers_whole_floats_and_sorted_text() -> None:
    table = table_of(a=[2, 0, 1], b=[2.0, 0.0, 1.0], c=["2", "0", "1"], d=["red", "blue", "green"])
    for name, names in {"a": None, "b": None, "c": None, "d": ("blue", "green", "red")}.items():
        found, found_names = values.class_numbers(table, name, ALL, 3)
        assert found.dtype == np.int32
        assert (found.tolist(), found_names) == ([2, 0, 1], names)
    for dtype in (np.uint8, np.uint64):
        assert values.class_numbers(table_of(a=np.array([2, 0, 1], dtype)), "a", ALL, 3)[0].tolist() == [2, 0, 1]


def test_text_labels_are_numbered_over_the_whole_table() -> None:
    found, names = values.class_numbers(table_of(a=["c", "a", "b"]), "a", np.array([0]), 3)
    assert (found.tolist(), names) == ([2], ("a", "b", "c"))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0, 3, 1], "column 'a' has 3 in row 1, expected a class from 0 to 2"),
        ([0.0, 0.5, 1.0], "column 'a' has 0.5 in row 1, expected a whole number"),
        ([0.0, float("nan"), 1.0], "column 'a' has nan in row 1, expected a whole number"),
        (["x", "", "y"], "column 'a' has nothing in row 1, expected a label"),
        (["1+2j"], "column 'a' has 1 different labels, expected at most 0"),
    ],
)
def test_class_numbers_that_do_not_fit(column: Any, expected: str) -> None:
    classes = 0 if len(column) == 1 else 3
    rows = np.arange(len(column))
    assert message(lambda: values.class_numbers(table_of(a=column), "a", rows, classes)) == expected


def test_more_label_names_than_classes() -> None:
    with pytest.raises(DataError) as caught:
        values.class_numbers(table_of(a=["x", "y", "z"]), "a", ALL, 2)
    assert caught.value.message == "column 'a' has 3 different labels, expected at most 2"
    assert caught.value.hint == "they are 'x', 'y', 'z'"


def test_yes_or_no() -> None:
    table = table_of(a=[True, False, True], b=["yes", "no", "yes"], c=[0, 1, 2])
    assert values.yes_or_no(table, "a", ALL)[0].tolist() == [1.0, 0.0, 1.0]
    found, names = values.yes_or_no(table, "b", ALL)
    assert (found.dtype, found.tolist(), names) == (np.float32, [1.0, 0.0, 1.0], ("no", "yes"))
    assert (
        message(lambda: values.yes_or_no(table, "c", ALL)) == "column 'c' has 2 in row 2, expected a class from 0 to 1"
    )


def test_many_hot_from_lists_names_and_arrays() -> None:
    ragged = Column(np.array([0, 2, 1]), offsets=np.array([0, 2, 2, 3]), class_names=("x", "y", "z"))
    table = table_of(a=ragged, b=["0|2", "", "1"], c=["p|r", "", "q"], d=[[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    names = {"a": ("x", "y", "z"), "b": None, "c": ("p", "q", "r"), "d": None}
    for name in "abcd":
        found, found_names = values.many_hot(table, name, ALL, 3)
        assert found.dtype == np.float32
        assert found.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
        assert found_names == names[name]


def test_many_hot_that_does_not_fit() -> None:
    table = table_of(a=["0", "1|3", "2"], b=[[0, 1, 2], [0, 1, 0], [1, 1, 1]])
    assert (
        message(lambda: values.many_hot(table, "a", ALL, 3))
        == "column 'a' has 3 in row 1, expected a class from 0 to 2"
    )
    assert message(lambda: values.many_hot(table, "b", ALL, 3)).endswith("in row 0, expected only 0 and 1")


def test_sortable_text_of_numbers_sorts_as_numbers() -> None:
    table = table_of(a=["10", "9", "100"], b=["2020-02", "2019-12", "2020-01"], c=[1.0, float("nan"), 2.0])
    assert values.sortable(table, "a").tolist() == [10, 9, 100]
    assert np.argsort(values.sortable(table, "b")).tolist() == [1, 2, 0]
    assert (
        message(lambda: values.sortable(table, "c"))
        == "column 'c' has nan in row 1, expected a value that can be sorted"
    )
