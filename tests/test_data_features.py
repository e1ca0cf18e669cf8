from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_support import table_of, write_image

from tdspec.data.features import ImagePlanner, InputColumn, read_examples
from tdspec.data.images import ArrayImages, FileImages, ImageSpec
from tdspec.errors import DataError

LARGE = 2**30
ANY = (None, None, 3)


def files(folder: Path, sizes: list[tuple[int, int]]) -> FileImages:
    for index, size in enumerate(sizes):
        write_image(folder / f"{index}.png", index, size)
    return FileImages(sorted(folder.iterdir()))


@pytest.mark.parametrize(
    ("sizes", "shape", "resize_to", "limit", "expected", "fits"),
    [
        ([(6, 4), (6, 4)], ANY, None, LARGE, (6, 4), True),
        ([(6, 4), (6, 4)], ANY, (9, 9), LARGE, (6, 4), True),
        ([(6, 4), (6, 4)], (5, 5, 3), (9, 9), LARGE, (5, 5), True),
        ([(6, 4), (8, 4)], ANY, (9, 9), LARGE, (9, 9), True),
        ([(6, 4), (6, 4)], ANY, (2, 2), 50, (2, 2), True),
        ([(6, 4), (6, 4)], ANY, (2, 2), 10, (2, 2), False),
        ([(6, 4), (6, 4)], ANY, (9, 9), 10, (6, 4), False),
    ],
)
def test_sizes(
    tmp_path: Path,
    sizes: list[tuple[int, int]],
    shape: tuple[int | None, ...],
    resize_to: tuple[int, int] | None,
    limit: int,
    expected: tuple[int, int],
    fits: bool,
) -> None:
    plan = ImagePlanner(
        [InputColumn("image", "image", shape=shape)], {"image": files(tmp_path, sizes)}, resize_to, limit
    )
    assert plan.specs(2) == {"image": ImageSpec(expected, 3, 3)}
    assert plan.fits(2) is fits


def test_sizes_that_vary_need_a_size(tmp_path: Path) -> None:
    images = files(tmp_path, [(6, 4), (8, 4)])
    with pytest.raises(DataError) as caught:
        ImagePlanner([InputColumn("image", "image", shape=ANY)], {"image": images}, None, LARGE).specs(2)
    assert caught.value.message == "the images of column 'image' vary in size"
    assert caught.value.hint == "write input.size: [height, width]"


def test_arrays_are_in_memory_already() -> None:
    images = {"image": ArrayImages(np.zeros((2, 8, 8, 1), np.uint8))}
    assert ImagePlanner([InputColumn("image", "image", shape=ANY)], images, None, 1).fits(2)


def test_features_keep_the_order_of_the_columns() -> None:
    table = table_of(a=[1, 2, 3], b=["0|1", "1", ""], c=[0.5, 1.5, 2.5])
    images = {"image": ArrayImages(np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8))}
    columns = [
        InputColumn("c", "number"),
        InputColumn("image", "image", shape=ANY),
        InputColumn("b", "ids", 2),
        InputColumn("a", "id", 4),
    ]
    examples = read_examples(
        table, ImagePlanner(columns, images, None, LARGE), np.array([0, 2]), None, tokens={}, augment=(), seed=0
    )
    assert list(examples.features) == ["c", "image", "b", "a"]
    assert {name: values.dtype.name for name, values in examples.features.items()} == {
        "c": "float32",
        "image": "uint8",
        "b": "int32",
        "a": "int32",
    }
    assert examples.features["b"].numpy().tolist() == [[0, 1], [-1, -1]]
    assert examples.features["image"].numpy()[:, 0, 0, 0].tolist() == [0, 2]


def test_columns_that_do_not_fit() -> None:
    table = table_of(a=[1])
    images = {"image": ArrayImages(np.zeros((1, 2, 2, 1), np.uint8))}
    two = [InputColumn("image", "image", shape=(2, 2, 3)), InputColumn("image", "image", shape=(2, 2, 1))]
    with pytest.raises(DataError, match="image column 'image' is wanted in 2 shapes"):
        read_examples(table, ImagePlanner(two, images, None, LARGE), np.array([0]), None, tokens={}, augment=(), seed=0)
    with pytest.raises(DataError, match=r"is wanted with the shape \(2, 2\), expected \(height, width, 1 or 3\)"):
        ImagePlanner([InputColumn("image", "image", shape=(2, 2))], images, None, LARGE).specs(1)
