from __future__ import annotations

import numpy as np

from tdspec.data.augment import augment_batch, augment_image, draw
from tdspec.data.seeds import generator


def shifted(image: np.ndarray, flip: bool, down: int, right: int) -> np.ndarray:
    """The change, pixel by pixel."""
    source = image[:, ::-1] if flip else image
    result = np.zeros_like(image)
    height, width, _ = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[row, column] = source[row - down, column - right]
    return result


def test_both_ways_agree_with_pixel_by_pixel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 24, 3)).astype(np.uint8)
    drawn = draw(("flip", "crop"), 40, (16, 24), generator("augment", 5, 0))
    expected = np.stack([shifted(*item) for item in zip(images, drawn.flip, drawn.down, drawn.right, strict=True)])
    together = augment_batch(images_tensor(images), drawn.flip, drawn.down, drawn.right).numpy()
    apart = [
        augment_image(images_tensor(image), flip, down, right).numpy()
        for image, flip, down, right in zip(images, drawn.flip, drawn.down, drawn.right, strict=True)
    ]
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(np.stack(apart), expected)


def images_tensor(images: np.ndarray) -> object:
    import tensorflow as tf

    return tf.constant(images)


def test_draws_are_a_function_of_their_key_and_stay_in_range() -> None:
    first, again = (draw(("flip", "crop"), 500, (16, 32), generator("augment", 1, 2)) for _ in range(2))
    other = draw(("flip", "crop"), 500, (16, 32), generator("augment", 1, 3))
    assert np.array_equal(first.flip, again.flip) and np.array_equal(first.right, again.right)
    assert not np.array_equal(first.flip, other.flip)
    assert (first.down.min(), first.down.max()) == (-2, 2)
    assert (first.right.min(), first.right.max()) == (-4, 4)
    assert 0.4 < first.flip.mean() < 0.6


def test_only_what_is_named_is_drawn() -> None:
    flips = draw(("flip",), 100, (16, 16), generator("augment", 0, 0))
    crops = draw(("crop",), 100, (16, 16), generator("augment", 0, 0))
    assert flips.flip.any() and not flips.down.any() and not flips.right.any()
    assert not crops.flip.any() and crops.down.any() and crops.right.any()
