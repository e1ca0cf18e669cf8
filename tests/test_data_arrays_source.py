from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdspec.data.arrays_source import CsvSource, DigitsSource, NpzSource
from tdspec.errors import DataError


def refused(call: Any) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.message


def test_digits() -> None:
    source = DigitsSource()
    assert source.own_splits == {"all": 1797}
    column = source.read(("all",), ["label"]).columns["label"]
    assert np.bincount(column.values).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert column.class_names == tuple("0123456789")
    images = source.images(("all",), "image").load(np.arange(1797), (8, 8), 1)
    assert (images.dtype, images.shape) == (np.uint8, (1797, 8, 8, 1))
    stored = source.arrays["image"].astype(float)
    assert (stored.min(), stored.max()) == (0, 16)
    np.testing.assert_array_equal(images[..., 0], np.round(stored * 255 / 16))
    assert images.max() == 255


def test_digits_columns_are_what_they_are() -> None:
    assert "is no image" in refused(lambda: DigitsSource().images(("all",), "label"))
    assert "holds images" in refused(lambda: DigitsSource().read(("all",), ["image"]))


def npz(tmp_path: Path, **arrays: Any) -> NpzSource:
    np.savez(tmp_path / "a.npz", **arrays)
    return NpzSource(str(tmp_path / "a.npz"))


def test_npz_of_one_split(tmp_path: Path) -> None:
    source = npz(tmp_path, x=np.zeros((5, 4, 4)), y=np.arange(5), name=np.array([b"a", b"b", b"c", b"d", b"e"]))
    source.choose(["x", "y"])
    assert source.own_splits == {"all": 5}
    table = source.read(("all",), ["y", "name"])
    assert table.columns["y"].values.tolist() == [0, 1, 2, 3, 4]
    assert table.columns["name"].values.tolist() == ["a", "b", "c", "d", "e"]
    assert table.row_name(3) == "example 3 of split 'all'"
    assert source.images(("all",), "x").size == (4, 4)


def test_npz_of_two_splits(tmp_path: Path) -> None:
    arrays = {"x_train": np.zeros((5, 4, 4, 3), np.uint8), "x_test": np.ones((2, 4, 4, 3), np.uint8)}
    source = npz(tmp_path, **arrays, y_train=np.arange(5), y_test=np.arange(2), labels=np.array(["a", "b"]))
    assert source.column_names == ("x", "y", "labels")
    source.choose(["x", "y"])
    assert source.own_splits == {"train": 5, "test": 2}
    table = source.read(("train", "test"), ["y"])
    assert table.columns["y"].values.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert table.row_name(6) == "example 1 of split 'test'"
    assert source.read(("test",), ["y"]).num_rows == 2
    assert source.images(("test",), "x").load(np.arange(2), (4, 4), 3).min() == 1


def test_npz_that_does_not_fit(tmp_path: Path) -> None:
    source = npz(tmp_path, x=np.zeros((5, 4)), y=np.arange(4), o=np.array([{}, []], object), s=np.array(1))
    expected = "the columns of a.npz do not fit together: 'x' has 5 rows in 'all' and 'y' has 4 rows in 'all'"
    assert refused(lambda: source.choose(["x", "y"])) == expected
    assert "array 'o'" in refused(lambda: source.choose(["o"])) and "Python objects" in refused(
        lambda: source.choose(["o"])
    )
    assert "array 's'" in refused(lambda: source.choose(["s"]))
    source.choose(["x"])
    assert "column 'x' is float64 (5, 4), expected images" in refused(lambda: source.images(("all",), "x"))


def test_npz_pixels_are_whole_numbers_to_255(tmp_path: Path) -> None:
    source = npz(tmp_path, a=np.full((2, 4, 4), 200.0), b=np.array([0.0, 0.5]).repeat(16).reshape(2, 4, 4))
    source.choose(["a"])
    assert source.images(("all",), "a").load(np.arange(2), (4, 4), 1).max() == 200
    message = refused(lambda: source.images(("all",), "b"))
    assert message == "image column 'b' has 0.5 in example 1, expected whole pixel values 0 to 255"


def test_npz_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.npz")
    assert refused(lambda: NpzSource(missing)) == f"cannot read {missing}: no such file or directory"
    (tmp_path / "text.npz").write_text("hello")
    assert refused(lambda: NpzSource(str(tmp_path / "text.npz"))).startswith(f"cannot read {tmp_path / 'text.npz'}: ")
    np.save(tmp_path / "one.npy", np.zeros(3))
    assert "holds one array without a name" in refused(lambda: NpzSource(str(tmp_path / "one.npy")))
    np.savez(tmp_path / "cut.npz", x=np.zeros(1000))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:500])
    assert refused(lambda: NpzSource(str(tmp_path / "cut.npz"))).startswith("cannot read ")


def csv_file(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_csv(tmp_path: Path) -> None:
    source = CsvSource(csv_file(tmp_path, '\ufeffuser, title ,n\n1,"a, b",2.5\n\n2,"line\nbreak",3\n'))
    assert source.column_names == ("user", "title", "n")
    assert source.own_splits == {"all": 2}
    table = source.read(("all",), ["title", "n"])
    assert table.columns["title"].values.tolist() == ["a, b", "line\nbreak"]
    assert table.columns["n"].values.tolist() == ["2.5", "3"]
    assert table.row_name(0) == "line 2 of a.csv"
    assert "a csv file has none" in refused(lambda: source.images(("all",), "title"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "{path} is empty, expected a header"),
        ("a,b\n", "{path} has no rows below its header"),
        ("a,b,a\n1,2,3\n", "{path}: line 1: column 'a' stands 2 times in the header"),
        ("a,b\n1,2\n1,2,3\n", "{path}: line 3: 3 values, expected 2 as in the header"),
        ('a,b\n1,2\n1,"2\n', "{path}: line 3: unexpected end of data"),
        (b"a,b\n1,\xff\n", "{path} is not UTF-8: invalid start byte at byte 6"),
    ],
)
def test_csv_that_cannot_be_read(tmp_path: Path, content: Any, expected: str) -> None:
    path = csv_file(tmp_path, content)
    assert refused(lambda: CsvSource(path)) == expected.format(path=path)


def test_csv_that_is_no_file(tmp_path: Path) -> None:
    assert refused(lambda: CsvSource(str(tmp_path))) == f"cannot read {tmp_path}: is a directory"
    assert refused(lambda: CsvSource(str(tmp_path / "x"))) == f"cannot read {tmp_path / 'x'}: no such file or directory"
