from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_support import prepared, tiny

from tdspec.data.tfds_source import RecordImages, builder, open_tfds
from tdspec.errors import DataError

BOTH = ("train", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny(tmp_path_factory.mktemp("tfds"))


def refused(call: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value


def test_columns_of_every_kind(folder: str) -> None:
    source = open_tfds("tdspec_tiny", folder)
    assert source.title == "tdspec_tiny"
    assert source.own_splits == {"train": 60, "test": 12}
    assert len(source.shards(BOTH)) == 8
    table = source.read(BOTH, ["number", "label", "name", "tags", "vector"])
    numbers = table.columns["number"].values
    assert sorted(numbers[:60]) == list(range(60)) and sorted(numbers[60:]) == list(range(12))
    np.testing.assert_array_equal(table.columns["label"].values, numbers % 3)
    np.testing.assert_array_equal(table.columns["vector"].values, np.repeat(numbers[:, None], 3, axis=1))
    assert table.columns["name"].values.tolist() == [f"n{number % 4}" for number in numbers]
    tags = table.columns["tags"]
    assert tags.offsets is not None
    np.testing.assert_array_equal(np.diff(tags.offsets), numbers % 3)
    assert tags.class_names == ("old", "new", "red")
    assert table.columns["label"].class_names == ("cat", "dog", "emu")
    assert table.row_name(61) == "example 1 of split 'test'"


def test_images_stand_in_the_order_of_the_rows(folder: str) -> None:
    source = open_tfds("tdspec_tiny", folder)
    numbers = source.read(BOTH, ["number"]).columns["number"].values
    fixed, varied = source.images(BOTH, "fixed"), source.images(BOTH, "image")
    assert (fixed.size, varied.size) == ((8, 8), None)
    rows = np.array([2, 17, 59, 60, 71])
    np.testing.assert_array_equal(fixed.load(rows, (8, 8), 1)[:, 0, 0, 0], numbers[rows])
    np.testing.assert_array_equal(varied.load(rows, (5, 5), 3)[:, 4, 4, 2], numbers[rows])


def test_records_shuffle_whole_shards_and_keep_their_numbers(folder: str) -> None:
    source = open_tfds("tdspec_tiny", folder)
    images = source.images(BOTH, "fixed")
    assert isinstance(images, RecordImages)
    keep = np.zeros(72, bool)
    keep[10:65] = True
    in_order = [int(row) for row, _ in images.read(keep, None)]
    assert in_order == list(range(10, 65))
    mixed = [int(row) for row, _ in images.read(keep, np.array([5, 0, 3, 1, 4, 2, 7, 6]))]
    assert mixed != in_order and sorted(mixed) == in_order


def test_columns_that_cannot_be_read(folder: str) -> None:
    source = open_tfds("tdspec_tiny", folder)
    assert "column 'matrix'" in refused(lambda: source.read(BOTH, ["matrix"])).message
    assert "column 'image'" in refused(lambda: source.read(BOTH, ["image"])).message
    assert "column 'label' of tdspec_tiny" in refused(lambda: source.images(BOTH, "label")).message


def test_missing_data_say_how_to_get_them(tmp_path: Path) -> None:
    error = refused(lambda: open_tfds("cifar10", str(tmp_path)))
    assert error.message.startswith(f"the data of 'cifar10' are not on this machine (looked in {tmp_path}/cifar10/")
    assert error.hint == "`tdspec fetch SPEC` gets them; data.path names another folder"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("cifar11", "no builder 'cifar11' in TensorFlow Datasets", "did you mean 'cifar10"),
        ("movielens/100k-rating", "no configuration '100k-rating' in movielens", "did you mean '100k-ratings'?"),
        ("cifar10/x", "TensorFlow Datasets cannot open 'cifar10/x': ", ""),
        ("huggingface:mnist", "data.name: found 'huggingface:mnist', expected the name of a TensorFlow", ""),
        (None, "data.name: found nothing, expected the name of a TensorFlow Datasets builder", ""),
        ("a b", "TensorFlow Datasets cannot open 'a b': ", ""),
    ],
)
def test_names_that_do_not_exist(name: str | None, message: str, hint: str) -> None:
    error = refused(lambda: builder(name, None))
    assert error.message.startswith(message)
    assert error.hint.startswith(hint)


def test_movielens_columns(shared_folder: Path) -> None:
    source = open_tfds("movielens/100k-ratings", prepared(shared_folder, "movielens"))
    assert source.title == "movielens/100k-ratings"
    table = source.read(("train",), ["user_id", "user_rating", "user_gender", "movie_genres", "timestamp"])
    assert table.num_rows == 100_000
    assert table.columns["user_id"].values.dtype.kind == "U"
    assert len(np.unique(table.columns["user_id"].values)) == 943
    assert table.columns["user_gender"].values.dtype == bool
    assert abs(table.columns["user_rating"].values.mean() - 3.52986) < 1e-5
    assert table.columns["timestamp"].values.min() == 874724710
