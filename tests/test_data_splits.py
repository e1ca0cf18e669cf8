from __future__ import annotations

import numpy as np
import pytest

from tdspec.data.splits import fraction_rows, parse_slices, rows_within, share, slice_rows, used_splits
from tdspec.errors import DataError
from tdspec.spec.model import Splits

OWN = {"train": 100, "test": 20}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train", [("train", 0, 100)]),
        ("train[:90%]", [("train", 0, 90)]),
        ("train[10:-5]", [("train", 10, 95)]),
        ("train[-10:]", [("train", 90, 100)]),
        ("train[95%:]+test", [("train", 95, 100), ("test", 0, 20)]),
        ("train[:5] + test[50%:]", [("train", 0, 5), ("test", 10, 20)]),
        ("all", [("train", 0, 100), ("test", 0, 20)]),
    ],
)
def test_slices(text: str, expected: list[tuple[str, int, int]]) -> None:
    assert parse_slices("train", text, OWN) == expected


@pytest.mark.parametrize("name", ["all", "train"])
def test_the_only_split_goes_by_two_names(name: str) -> None:
    assert parse_slices("train", f"{name}[:30%]+{name}[-1:]", {"all": 10}) == [("all", 0, 3), ("all", 9, 10)]


def test_a_named_only_split_is_also_all() -> None:
    assert parse_slices("train", "all[:3]+test[5:]", {"test": 10}) == [("test", 0, 3), ("test", 5, 10)]
    with pytest.raises(DataError, match="no split 'train' in the source"):
        parse_slices("train", "train", {"test": 10})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("trian", "no split 'trian' in the source (splits.test)", "did you mean 'train'?"),
        ("foo[:3]", "no split 'foo' in the source (splits.test)", "it has 'train', 'test'"),
        ("train[:3", "splits.test: cannot read 'train[:3'", "write a split such as"),
        ("train[:200]", "splits.test: cannot read 'train[:200]': requested slice", "write a split such as"),
        ("train[:200%]", "splits.test: cannot read 'train[:200%]': when unit=%", "write a split such as"),
        ("train[:1shard]", "splits.test: 'train[:1shard]' counts shards, expected examples", "write a split such as"),
        ("", "splits.test: cannot read ''", "write a split such as"),
    ],
)
def test_slices_that_do_not_fit(text: str, message: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_slices("test", text, OWN)
    assert caught.value.message.startswith(message)
    assert caught.value.hint.startswith(hint)


def test_only_the_splits_that_are_named_are_used() -> None:
    assert used_splits(Splits(None, None, "test[:5]", "test[5:8]", "test[8:]"), OWN) == ("test",)
    assert used_splits(Splits(None, None, "test", "train", "test"), OWN) == ("train", "test")
    assert used_splits(Splits(None, None, 0.5, 0.25, 0.25), OWN) == ("train", "test")


def test_rows_are_numbered_through_the_used_splits() -> None:
    splits = Splits(None, None, "test[:5]+train[:2]", "train[-1:]", "test[5:]")
    rows = slice_rows(splits, OWN, ("train", "test"))
    assert rows["train"].tolist() == [0, 1, 100, 101, 102, 103, 104]
    assert rows["validation"].tolist() == [99]
    assert rows["test"].tolist() == list(range(105, 120))


def test_an_empty_slice_says_which() -> None:
    with pytest.raises(DataError) as caught:
        slice_rows(Splits(None, None, "train", "train[5:2]", "test"), OWN, ("train", "test"))
    expected = "the validation split is empty: 'train[5:2]' holds no example of train (100), test (20)"
    assert caught.value.message == expected


@pytest.mark.parametrize("total", [1, 2, 3, 7, 10, 99, 1797, 100_000])
@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.85, 0.05, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1)])
def test_largest_remainders_lose_nothing(total: int, fractions: tuple[float, ...]) -> None:
    counts = share(fractions, total)
    assert sum(counts) == total
    assert all(abs(count - fraction * total) < 1 for count, fraction in zip(counts, fractions, strict=True))


def test_shares_below_one_leave_the_rest_out() -> None:
    assert share([0.5, 0.1, 0.1], 10) == [5, 1, 1]


def test_fractions_are_drawn_by_the_seed() -> None:
    splits = Splits(None, None, 0.8, 0.1, 0.1)
    first, again, other = (fraction_rows(splits, 1000, seed, None) for seed in (0, 0, 1))
    assert all(np.array_equal(first[part], again[part]) for part in first)
    assert not np.array_equal(first["test"], other["test"])
    assert np.array_equal(np.sort(np.concatenate(list(first.values()))), np.arange(1000))
    assert [len(first[part]) for part in ("train", "validation", "test")] == [800, 100, 100]
    assert all((np.diff(rows) > 0).all() for rows in first.values())


def test_by_a_column_the_oldest_train_and_ties_keep_their_order() -> None:
    rows = fraction_rows(Splits("t", None, 0.5, 0.25, 0.25), 8, 3, np.array([5, 1, 5, 1, 9, 5, 1, 7]))
    assert {part: found.tolist() for part, found in rows.items()} == {
        "train": [0, 1, 3, 6],
        "validation": [2, 5],
        "test": [4, 7],
    }


def by_hand(order: np.ndarray, groups: np.ndarray, fractions: tuple[float, ...]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for group in sorted(set(groups)):
        own = sorted(np.flatnonzero(groups == group), key=lambda row: (order[row], row))
        first, second, third = share(fractions, len(own))
        if not (first and second and third):
            first, second, third = len(own), 0, 0
        rows["train"] += own[:first]
        rows["validation"] += own[first : first + second]
        rows["test"] += own[first + second : first + second + third]
    return {part: sorted(found) for part, found in rows.items()}


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.5, 0.2, 0.1), (0.05, 0.05, 0.9)])
def test_within_a_group_the_oldest_train_and_the_newest_are_tested(fractions: tuple[float, ...]) -> None:
    random = np.random.default_rng(0)
    groups = random.choice(["u1", "u2", "u3", "u10", "u11"], 400, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    order = random.integers(0, 50, 400)  # with ties
    rows = rows_within(Splits("t", "user", *fractions), order, groups)
    assert {part: found.tolist() for part, found in rows.items()} == by_hand(order, groups, fractions)
    for group in ("u1", "u2"):
        times = [order[found[groups[found] == group]] for found in rows.values()]
        assert times[0].max() <= times[1].min() and times[1].max() <= times[2].min()
        expected = share(fractions, int((groups == group).sum()))
        assert [len(found) for found in times] == expected


def test_a_group_too_small_for_three_parts_trains_with_all_of_its_rows() -> None:
    groups = np.array([7, 7, 7, 7, 7, 7, 3, 3, 3, 3])
    rows = rows_within(Splits("t", "user", 0.5, 0.25, 0.25), np.arange(10)[::-1], groups)
    # 6 rows: 3, 1.5, 1.5, and of the two halves the first is rounded up; 4 rows: 2, 1, 1
    assert [rows[part].tolist() for part in rows] == [[3, 4, 5, 8, 9], [1, 2, 7], [0, 6]]
    rows = rows_within(Splits("t", "user", 0.8, 0.1, 0.1), np.arange(15), np.array([1] * 10 + [2] * 5))
    assert [rows[part].tolist() for part in rows] == [[*range(8), *range(10, 15)], [8], [9]]


def test_groups_that_are_all_too_small_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        rows_within(Splits("t", "user", 0.8, 0.1, 0.1), np.arange(9), np.array([1] * 5 + [2] * 4))
    message = "the validation and test splits are empty: no user has enough examples for three parts (the most is 5)"
    assert caught.value.message == message
    assert caught.value.hint == "raise their fractions, or delete within"


def test_a_fraction_of_too_few() -> None:
    with pytest.raises(DataError) as caught:
        fraction_rows(Splits(None, None, 0.98, 0.01, 0.01), 5, 0, None)
    assert caught.value.message == "the validation split is empty: 0.01 of 5 examples is less than one"
    assert caught.value.hint == "raise data.splits.validation"
