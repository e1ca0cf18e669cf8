from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_support import write_image

from tdspec.data.folder_source import open_folder
from tdspec.errors import DataError


def test_classes(tmp_path: Path) -> None:
    for name, value in {"dog/b.png": 2, "dog/a.jpg": 1, "cat/z.BMP": 3, "cat/.hidden.png": 9}.items():
        write_image(tmp_path / name, value)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    source = open_folder(str(tmp_path))
    assert source.own_splits == {"all": 3}
    table = source.read(("all",), ["label"])
    assert table.columns["label"].class_names == ("cat", "dog")
    assert table.columns["label"].values.tolist() == [0, 1, 1]
    assert [Path(table.row_name(row)).name for row in range(3)] == ["z.BMP", "a.jpg", "b.png"]
    assert source.images(("all",), "image").load(np.arange(3), (6, 4), 1)[:, 0, 0, 0].tolist() == [3, 1, 2]


def test_splits_share_their_class_numbers(tmp_path: Path) -> None:
    for name in ("train/b/1.png", "train/c/1.png", "test/a/1.png", "test/c/1.png"):
        write_image(tmp_path / name, 1)
    source = open_folder(str(tmp_path))
    assert source.own_splits == {"test": 2, "train": 2}
    assert source.class_names == ("a", "b", "c")
    assert source.read(("train",), ["label"]).columns["label"].values.tolist() == [1, 2]


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        open_folder(str(tmp_path / "none"))
    with pytest.raises(DataError, match="holds no images"):
        open_folder(str(tmp_path))
    write_image(tmp_path / "cat" / "1.png", 1)
    write_image(tmp_path / "train" / "dog" / "1.png", 1)
    with pytest.raises(DataError) as caught:
        open_folder(str(tmp_path))
    assert caught.value.message == f"{tmp_path} mixes two layouts: cat/ holds images, train/ holds folders of images"
    assert caught.value.hint.startswith("lay it out as PATH/CLASS/file or PATH/SPLIT/CLASS/file")


def test_columns_are_what_they_are(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "1.png", 1)
    source = open_folder(str(tmp_path))
    with pytest.raises(DataError, match="is no image"):
        source.images(("all",), "label")
    with pytest.raises(DataError, match="holds images"):
        source.read(("all",), ["image"])
