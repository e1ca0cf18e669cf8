from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_support import batches, everything, opened, prepared, write_image

from tdspec.data.pipeline import InputColumn
from tdspec.errors import DataError
from tdspec.spec.model import Splits

IMAGE = InputColumn("image", "image", shape=(None, None, 3))
ROWS = "user,genres,age,rating,when\n" + "".join(
    f"{row % 7},{'Drama|War' if row % 3 == 0 else 'Comedy'},{row}.5,{row % 5},{1000 - row}\n" for row in range(100)
)
RATINGS = {"source": "csv", "label": "rating", "task_type": "regression", "num_classes": None}
USER, AGE = InputColumn("user", "id", 7), InputColumn("age", "number")
MOVIELENS = {
    "source": "tfds",
    "name": "movielens/100k-ratings",
    "label": "user_rating",
    "task_type": "regression",
    "num_classes": None,
    "splits": Splits("timestamp", None, 0.85, 0.05, 0.1),
}


@pytest.fixture
def ratings(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "ratings.csv").write_text(ROWS)
    return {**RATINGS, "path": str(tmp_path / "ratings.csv")}


def refused(**changes: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        opened(**changes)
    return caught.value


def test_digits() -> None:
    loaded = opened()
    assert [split.num_examples for split in (loaded.train, loaded.validation, loaded.test)] == [1437, 180, 180]
    assert loaded.class_names == tuple("0123456789")
    rows = np.concatenate([split.rows for split in (loaded.train, loaded.validation, loaded.test)])
    assert sorted(rows) == list(range(1797))


def test_digits_by_slices() -> None:
    loaded = opened(splits=Splits(None, None, "all[:1500]", "train[1500:1600]", "all[1600:]"))
    assert loaded.test.rows.tolist() == list(range(1600, 1797))


def test_fingerprints_tell_data_and_seed_apart() -> None:
    base = opened()
    assert base.fingerprint == opened().fingerprint
    assert len(base.fingerprint) == 64
    others = [opened(seed=1), opened(labels_per_class=5), opened(where={"label": [0, 1, 2]})]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_labels_per_class() -> None:
    dropped, kept = opened(labels_per_class=5), opened(labels_per_class=5, unlabeled="keep")
    assert (dropped.train.num_examples, kept.train.num_examples) == (50, 1437)
    assert dropped.test.num_examples == kept.test.num_examples == 180
    assert np.bincount(everything(dropped.train)[1]).tolist() == [5] * 10
    labels, weights = (np.concatenate([part[index] for part in batches(kept.train, 479, 0)]) for index in (1, 2))
    assert weights.sum() == 50
    assert (labels[weights == 0] == 0).all()
    assert np.bincount(labels[weights == 1]).tolist() == [5] * 10
    shown = kept.train.rows[kept.train.weights == 1]
    np.testing.assert_array_equal(shown, dropped.train.rows)


def test_csv_columns_by_time(ratings: dict[str, Any]) -> None:
    genres = InputColumn("genres", "ids", 3)
    loaded = opened(**ratings, columns=[USER, AGE], splits=Splits("when", None, 0.8, 0.1, 0.1))
    assert loaded.train.rows.tolist() == list(range(20, 100))
    assert loaded.test.rows.tolist() == list(range(10))
    features, labels = everything(loaded.test)
    assert features["age"].tolist() == [row + 0.5 for row in range(10)]
    assert (features["user"].dtype, features["age"].dtype, labels.dtype) == (np.int32, np.float32, np.float32)
    error = refused(**ratings, columns=[genres])
    assert error.message.startswith("column 'genres' has 'Drama' in line 2 of ratings.csv (and ")


def test_csv_columns_by_time_within_users(ratings: dict[str, Any]) -> None:
    splits = Splits("when", "user", 0.5, 0.25, 0.25)
    loaded = opened(**ratings, columns=[USER, AGE], splits=splits)
    users = {part: everything(getattr(loaded, part))[0]["user"] for part in ("train", "validation", "test")}
    assert all(set(found) == set(users["train"]) for found in users.values())
    whole = opened(**ratings, columns=[USER, AGE], splits=Splits("when", None, 0.5, 0.25, 0.25))
    assert loaded.fingerprint != whole.fingerprint
    drama = opened(**ratings, columns=[USER], splits=splits, where={"genres": "Drama"})
    for name in ("train", "validation", "test"):
        everyone, few = getattr(loaded, name).rows, getattr(drama, name).rows
        assert few.tolist() == [row for row in everyone if row % 3 == 0]


def test_arrays_by_time_within_users(tmp_path: Path) -> None:
    user, when = np.repeat([4, 6], 8), np.r_[np.arange(8), np.arange(8)[::-1]]
    np.savez(tmp_path / "a.npz", user=user, when=when, label=np.ones(16))
    options = {"source": "npz", "path": str(tmp_path / "a.npz"), "task_type": "regression", "columns": [USER]}
    loaded = opened(**options, num_classes=None, splits=Splits("when", "user", 0.5, 0.25, 0.25))
    assert loaded.train.rows.tolist() == [0, 1, 2, 3, 12, 13, 14, 15]
    assert loaded.validation.rows.tolist() == [4, 5, 10, 11]
    assert loaded.test.rows.tolist() == [6, 7, 8, 9]


def test_a_filter_comes_after_splitting(ratings: dict[str, Any]) -> None:
    whole = opened(**ratings, columns=[USER])
    drama = opened(**ratings, columns=[USER], where={"genres": "Drama"})
    for name in ("train", "validation", "test"):
        everyone, few = getattr(whole, name).rows, getattr(drama, name).rows
        assert few.tolist() == [row for row in everyone if row % 3 == 0]


def test_errors_name_the_example(ratings: dict[str, Any], tmp_path: Path) -> None:
    small = InputColumn("user", "id", 5)
    assert refused(**ratings, columns=[small]).message.startswith("column 'user' has 5 in line 7 of ratings.csv")
    (tmp_path / "ratings.csv").write_text(ROWS.replace("\n3,Drama|War,3.5,", "\n3,Drama|War,nan,"))
    assert (
        refused(**ratings, columns=[AGE]).message
        == "column 'age' has nan in line 5 of ratings.csv, expected a finite number"
    )
    (tmp_path / "ratings.csv").write_text(ROWS.replace("3.5,3,997", "3.5,great,997"))
    assert (
        refused(**ratings, columns=[AGE]).message
        == "column 'rating' has 'great' in line 5 of ratings.csv, expected a number"
    )


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"label": "ratings"}, "task.label: no column 'ratings' in ratings.csv", "did you mean 'rating'?"),
        (
            {"columns": [InputColumn("usr", "id", 7)]},
            "model input: no column 'usr' in ratings.csv",
            "did you mean 'user'?",
        ),
        ({"where": {"genre": "x"}}, "data.where: no column 'genre' in ratings.csv", "did you mean 'genres'?"),
        ({"splits": Splits("time", None, 0.8, 0.1, 0.1)}, "data.splits.by: no column 'time' in ratings.csv", "it has "),
        ({"where": {"genres": "Drame"}}, "data.where.genres: no example has 'Drame'", "did you mean 'Drama'? it has "),
        ({"columns": [IMAGE]}, "model input: no column 'image' in ratings.csv", ""),
        (
            {"splits": Splits("when", "usr", 0.8, 0.1, 0.1)},
            "data.splits.within: no column 'usr' in ratings.csv",
            "did you mean 'user'?",
        ),
        (
            {"splits": Splits(None, None, "train[:50]", "valid", "all[50:]")},
            "no split 'valid' in the source",
            "it has 'all'",
        ),
        (
            {"splits": Splits(None, None, "all[:90]", "all[90:91]", "all[91:]"), "where": {"genres": "Comedy"}},
            "the validation split is empty: none of its 1 examples fits data.where (genres: Comedy)",
            "widen the filter or data.splits.validation",
        ),
    ],
)
def test_what_a_spec_can_get_wrong(ratings: dict[str, Any], changes: dict[str, Any], message: str, hint: str) -> None:
    error = refused(**{**ratings, "columns": [USER], **changes})
    assert error.message.startswith(message)
    assert error.hint.startswith(hint)


def test_npz_of_two_splits(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images: dict[str, Any] = {
        f"x_{name}": generator.integers(0, 256, (n, 5, 5, 3)).astype(np.uint8)
        for name, n in (("train", 40), ("test", 9))
    }
    np.savez(tmp_path / "a.npz", **images, y_train=np.arange(40)[:, None] % 4, y_test=np.arange(9)[:, None] % 4)
    column = InputColumn("x", "image", shape=(5, 5, 3))
    options = {"source": "npz", "path": str(tmp_path / "a.npz"), "label": "y", "columns": [column], "num_classes": 4}
    loaded = opened(**options, splits=Splits(None, None, "train[:75%]", "train[75%:]", "test"))
    features, labels = everything(loaded.test)
    np.testing.assert_array_equal(features["x"], images["x_test"])
    assert labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    by_fraction = opened(**options)
    assert sum(split.num_examples for split in (by_fraction.train, by_fraction.validation, by_fraction.test)) == 49
    error = refused(**{**options, "num_classes": 3})
    assert error.message.startswith("column 'y' has 3 in example ") and error.message.endswith(
        "expected a class from 0 to 2"
    )


def test_binary_and_multilabel(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        a=np.arange(20.0),
        flag=np.arange(20) % 2 == 0,
        many=np.eye(4, dtype=np.uint8)[np.arange(20) % 4],
    )
    options = {"source": "npz", "path": str(tmp_path / "a.npz"), "columns": [InputColumn("a", "number")]}
    slices = Splits(None, None, "all[:10]", "all[10:15]", "all[15:]")
    labels = everything(opened(**options, label="flag", task_type="binary", num_classes=None, splits=slices).test)[1]
    assert (labels.dtype, labels.tolist()) == (np.float32, [0, 1, 0, 1, 0])
    labels = everything(opened(**options, label="many", task_type="multilabel", num_classes=4, splits=slices).test)[1]
    np.testing.assert_array_equal(labels, np.eye(4, dtype=np.float32)[[3, 0, 1, 2, 3]])


def test_a_folder_of_images(tmp_path: Path) -> None:
    for number in range(20):
        write_image(tmp_path / f"class{number % 2}" / f"{number:02d}.png", number * 10, (6 + number % 3, 5))
    options = {"source": "image_folder", "path": str(tmp_path), "columns": [IMAGE], "num_classes": 2}
    loaded = opened(**options, resize_to=(4, 4))
    assert loaded.class_names == ("class0", "class1")
    features, labels = everything(loaded.train)
    assert features["image"].shape == (16, 4, 4, 3)
    np.testing.assert_array_equal(features["image"][:, 0, 0, 0] // 10 % 2, labels)
    assert refused(**options).message == "the images of column 'image' vary in size"
    broken = tmp_path / "class1" / "05.png"
    broken.write_bytes(b"no image")
    assert refused(**options, resize_to=(4, 4)).message.startswith(f"cannot read the image {broken}")


def test_missing_data_are_never_downloaded_unasked(tmp_path: Path) -> None:
    error = refused(source="tfds", name="cifar10", path=str(tmp_path))
    assert error.message.startswith("the data of 'cifar10' are not on this machine")
    assert "`tdspec fetch SPEC`" in error.hint
    assert not list(tmp_path.iterdir())


def test_movielens_by_time(shared_folder: Path) -> None:
    path = prepared(shared_folder, "movielens")
    columns = [
        InputColumn("user_id", "id", 944),
        InputColumn("movie_id", "id", 1683),
        InputColumn("movie_genres", "ids", 21),
        InputColumn("raw_user_age", "number"),
        InputColumn("user_gender", "id", 2),
        InputColumn("timestamp", "number"),
    ]
    everyone = opened(**MOVIELENS, path=path, columns=columns)
    drama = opened(**MOVIELENS, path=path, columns=columns, where={"movie_genres": "Drama"})
    assert [len(split.rows) for split in (everyone.train, everyone.validation, everyone.test)] == [
        85_000,
        5_000,
        10_000,
    ]
    assert drama.train.num_examples + drama.validation.num_examples == 35_771
    assert drama.test.num_examples == 4_124
    assert set(drama.test.rows) < set(everyone.test.rows)
    features, labels = everything(drama.test, 1024)
    assert features["movie_genres"].shape == (4_124, 6)
    assert (features["movie_genres"] == 7).any(axis=1).all()
    assert set(np.unique(labels)) == {1, 2, 3, 4, 5}
    assert set(np.unique(features["user_gender"])) == {0, 1}
    assert list(features) == [column.name for column in columns]


def test_movielens_boundary_between_past_and_future(shared_folder: Path) -> None:
    splits = Splits("timestamp", None, 0.85, 0.05, 0.1)
    columns = [InputColumn("timestamp", "number")]
    loaded = opened(**{**MOVIELENS, "splits": splits}, path=prepared(shared_folder, "movielens"), columns=columns)
    from tdspec.data.tfds_source import open_tfds

    table = open_tfds("movielens/100k-ratings", prepared(shared_folder, "movielens")).read(("train",), ["timestamp"])
    time = table.columns["timestamp"].values
    assert time[loaded.validation.rows].max() == 891382267
    assert time[loaded.test.rows].min() == 891382309


def test_movielens_within_each_user(shared_folder: Path) -> None:
    splits = Splits("timestamp", "user_id", 0.8, 0.1, 0.1)
    columns = [InputColumn("user_id", "id", 1000), InputColumn("timestamp", "number")]
    options = {**MOVIELENS, "path": prepared(shared_folder, "movielens"), "columns": columns, "splits": splits}
    loaded = opened(**{**options, "where": {}})
    parts = [everything(part, 1024)[0] for part in (loaded.train, loaded.validation, loaded.test)]
    users, times = [part["user_id"] for part in parts], [part["timestamp"] for part in parts]
    assert sum(len(found) for found in users) == 100_000
    # every user has rated at least 20 films
    assert all(len(np.unique(found)) == 943 for found in users)
    for user in (1, 405, 943):
        old, middle, new = (time[user_id == user] for time, user_id in zip(times, users, strict=True))
        assert old.max() <= middle.min() and middle.max() <= new.min()
        assert len(new) == pytest.approx((len(old) + len(middle) + len(new)) / 10, abs=1)


def test_movielens_ids_that_do_not_fit(shared_folder: Path) -> None:
    options = {**MOVIELENS, "path": prepared(shared_folder, "movielens")}
    message = refused(**options, columns=[InputColumn("user_id", "id", 943)]).message
    assert message.startswith("column 'user_id' has 943 in example ") and message.endswith(
        "expected an id from 0 to 942"
    )
    message = refused(**options, columns=[InputColumn("movie_title", "number")]).message
    assert message.startswith("column 'movie_title' has '") and message.endswith("expected a number")
