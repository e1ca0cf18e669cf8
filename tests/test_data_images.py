from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from data_support import write_image
from PIL import Image

from tdspec.data.images import ArrayImages, FileImages, decode_file, resize, with_channels
from tdspec.errors import DataError


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_every_kind(tmp_path: Path, ending: str, channels: int) -> None:
    path = tmp_path / f"a.{ending}"
    write_image(path, 200)
    image = decode_file(path, (6, 4), channels)
    assert (image.dtype, image.shape) == (np.uint8, (6, 4, channels))
    assert np.abs(image.astype(int) - 200).max() <= 1


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 250)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (decode_file(tmp_path / "a.gif", (4, 4), 1) == 10).all()


def test_grey_of_16_bits_keeps_its_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)).save(tmp_path / "a.png")
    assert (decode_file(tmp_path / "a.png", (4, 4), 1) == 128).all()


def test_files_are_resized_to_what_is_asked_for(tmp_path: Path) -> None:
    for index, size in enumerate([(6, 4), (9, 9)]):
        write_image(tmp_path / f"{index}.png", 40 + index, size)
    images = FileImages(sorted(tmp_path.iterdir()))
    assert images.size is None
    loaded = images.load(np.array([0, 1]), (5, 7), 3)
    assert loaded.shape == (2, 5, 7, 3)
    assert [int(image.min()) for image in loaded] == [int(image.max()) for image in loaded] == [40, 41]


def test_one_size_of_all_files(tmp_path: Path) -> None:
    for index in range(3):
        write_image(tmp_path / f"{index}.png", index)
    assert FileImages(sorted(tmp_path.iterdir())).size == (6, 4)


def test_broken_files_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "cut.png", 90, (60, 40))
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("cut", "text", "empty"):
        with pytest.raises(DataError) as caught:
            decode_file(tmp_path / f"{name}.png", (60, 40), 3)
        assert caught.value.message.startswith(f"cannot read the image {tmp_path / f'{name}.png'}: ")
    assert caught.value.message.endswith("empty file")
    with pytest.raises(DataError, match=r"text\.png"):
        FileImages([tmp_path / "text.png"]).size  # noqa: B018


def test_arrays_stay_as_they_are_or_are_resized() -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    images = ArrayImages(values)
    np.testing.assert_array_equal(images.load(np.array([3, 1]), (8, 8), 3), values[[3, 1]])
    half = images.load(np.arange(5), (4, 4), 3)
    assert (half.dtype, half.shape) == (np.uint8, (5, 4, 4, 3))
    assert abs(half.mean() - values.mean()) < 3


def test_resizing_a_constant_keeps_it() -> None:
    assert (resize(np.full((2, 5, 7, 1), 137, np.uint8), (11, 3)) == 137).all()


def test_channels() -> None:
    grey = tf.constant(np.full((2, 3, 3, 1), 77, np.uint8))
    assert np.array_equal(with_channels(grey, 3), np.full((2, 3, 3, 3), 77))
    red = np.zeros((2, 3, 3, 4), np.uint8)
    red[..., 0], red[..., 3] = 255, 9
    assert np.array_equal(with_channels(tf.constant(red), 3), red[..., :3])
    assert abs(int(with_channels(tf.constant(red), 1)[0, 0, 0, 0]) - 0.299 * 255) <= 1
    assert with_channels(grey, 1) is grey
