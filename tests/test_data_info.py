from __future__ import annotations

import socket
from typing import Any

import pytest

from tdspec.data.info import SourceInfo, describe
from tdspec.errors import DataError


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "label", "column", "expected"),
    [
        ("cifar10", "label", "image", SourceInfo(10, (32, 32, 3))),
        ("cifar100", "coarse_label", "image", SourceInfo(20, (32, 32, 3))),
        ("imagenet2012", "label", "image", SourceInfo(1000, (None, None, 3))),
        ("movielens/1m-ratings", "user_rating", "image", SourceInfo(None, None)),
        ("movielens/100k-ratings", "movie_genres", "image", SourceInfo(21, None)),
    ],
)
def test_what_builders_declare(name: str, label: str, column: str, expected: SourceInfo) -> None:
    assert describe(source="tfds", name=name, path=None, label=label, column=column) == expected


def test_digits() -> None:
    assert describe(source="digits", name=None, path=None, label="label", column="image") == SourceInfo(10, (8, 8, 1))


@pytest.mark.parametrize("source", ["csv", "npz", "image_folder"])
def test_files_declare_nothing_and_need_not_exist(source: str) -> None:
    assert describe(source=source, name=None, path="/none", label="y", column="x") == SourceInfo(None, None)


@pytest.mark.parametrize(
    ("source", "name", "label", "column", "message", "hint"),
    [
        ("tfds", "cifar10", "lable", "image", "task.label: no column 'lable' in cifar10", "did you mean 'label'?"),
        (
            "tfds",
            "cifar10",
            "label",
            "pixels",
            "input.column: no column 'pixels' in cifar10",
            "it has 'id', 'image', 'label'",
        ),
        ("tfds", "cifar", "label", "image", "no builder 'cifar' in TensorFlow Datasets", "did you mean 'cifar10'?"),
        ("digits", None, "labels", "image", "task.label: no column 'labels' in digits", "did you mean 'label'?"),
        ("digits", None, "label", "pixels", "input.column: no column 'pixels' in digits", "it has 'image', 'label'"),
    ],
)
def test_unknown_names(source: str, name: str | None, label: str, column: str, message: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        describe(source=source, name=name, path=None, label=label, column=column)
    assert (caught.value.message, caught.value.hint) == (message, hint)
