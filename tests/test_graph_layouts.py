"""Layouts: what is interpolated, what is kept apart, what is averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tdspec.graph.layouts import VECTOR, Layout, Resample, interpolation, layout_of, resample

GRID, SMALL = Layout((4, 6), (4, 6)), Layout((2, 3), (2, 3))
PATCHES = Layout((25,), (4, 6), 1)
SMALL_PATCHES = Layout((6,), (2, 3), 0)
REGISTERS = Layout((8,), (2, 3), 2)
SEQUENCE, SHORT = Layout((5,)), Layout((3,))
LAYOUTS = [VECTOR, GRID, SMALL, PATCHES, SMALL_PATCHES, REGISTERS, SEQUENCE, SHORT]


def _state(layout: Layout, dim: int = 3) -> Any:
    return np.random.default_rng(0).normal(size=(2, *layout.axes, dim)).astype("float32")


@pytest.mark.parametrize(("source", "target"), [(4, 8), (8, 4), (5, 7), (7, 5), (1, 3), (3, 1), (14, 16), (6, 6)])
def test_interpolation_is_that_of_tensorflow(source: int, target: int) -> None:
    values = np.random.default_rng(1).normal(size=(1, source, 1, 2)).astype("float32")
    expected = tf.image.resize(values, (target, 1), method="bilinear")[0, :, 0]
    matrix = interpolation(source, target)
    assert matrix.shape == (target, source)
    assert np.allclose(matrix @ values[0, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 12), (2, 3), (3, 7), (4, 6), (1, 1)])
def test_a_grid_is_resized_bilinearly(size: tuple[int, int]) -> None:
    state = _state(GRID)
    found = Resample(GRID, Layout(size, size))(state)
    assert np.allclose(found, tf.image.resize(state, size, method="bilinear"), atol=1e-5)


@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("source", LAYOUTS)
def test_every_map_is_an_average(source: Layout, target: Layout) -> None:
    """Shapes fit, rows sum to 1 and none is negative: a constant state stays what it is, and no value is made up."""
    positions = np.eye(source.num_positions, dtype="float32")
    state = np.reshape(positions.T, (source.num_positions, *source.axes, 1))
    found = np.asarray(Resample(source, target)(state))
    assert found.shape == (source.num_positions, *target.axes, 1)
    matrix = np.reshape(found, (source.num_positions, target.num_positions)).T
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-6)
    assert matrix.min() >= 0
    layer = Resample(source, target)
    assert layer.compute_output_shape((None, *source.axes, 4)) == (None, *target.axes, 4)


def test_prefix_tokens_go_to_prefix_tokens() -> None:
    state = _state(PATCHES)
    found = np.asarray(Resample(PATCHES, Layout((7,), (2, 3), 1))(state))
    assert np.array_equal(found[:, 0], state[:, 0])
    patches = tf.image.resize(state[:, 1:].reshape(2, 4, 6, 3), (2, 3), method="bilinear")
    assert np.allclose(found[:, 1:], np.reshape(patches, (2, 6, 3)), atol=1e-5)


def test_prefix_tokens_of_another_number_are_means() -> None:
    state = _state(PATCHES)
    found = np.asarray(Resample(PATCHES, REGISTERS)(state))
    assert np.allclose(found[:, :2], np.stack([state[:, 0]] * 2, axis=1), atol=1e-6)
    without = _state(SMALL_PATCHES)
    made = np.asarray(Resample(SMALL_PATCHES, REGISTERS)(without))
    assert np.allclose(made[:, 0], without.mean(axis=1), atol=1e-6)
    assert np.allclose(made[:, 2:], without, atol=1e-6)


def test_prefix_tokens_are_left_behind_where_there_is_no_place() -> None:
    state = _state(PATCHES)
    assert np.allclose(Resample(PATCHES, GRID)(state), state[:, 1:].reshape(2, 4, 6, 3), atol=1e-6)


@pytest.mark.parametrize("layout", [GRID, PATCHES, SEQUENCE])
def test_a_vector_is_the_mean_and_is_told_to_every_position(layout: Layout) -> None:
    state = _state(layout)
    mean = state.reshape(2, -1, 3).mean(axis=1)
    assert np.allclose(Resample(layout, VECTOR)(state), mean, atol=1e-6)
    told = np.asarray(Resample(VECTOR, layout)(mean))
    assert np.allclose(told.reshape(2, -1, 3), mean[:, None], atol=1e-6)


def test_sequences_without_a_grid_are_interpolated_along_their_length() -> None:
    state = _state(SEQUENCE)
    expected = tf.image.resize(state[:, :, None], (3, 1), method="bilinear")[:, :, 0]
    assert np.allclose(Resample(SEQUENCE, SHORT)(state), expected, atol=1e-5)


@pytest.mark.parametrize("other", [PATCHES, Layout((5, 5), (5, 5))])
def test_as_many_positions_correspond_where_one_side_knows_no_grid(other: Layout) -> None:
    unknown, state = Layout((25,)), _state(Layout((25,)))
    told = Resample(unknown, other)(state)
    assert np.array_equal(np.reshape(told, (2, 25, 3)), state)
    assert np.array_equal(Resample(other, unknown)(told), state)


def test_the_gradient_is_the_transposed_map() -> None:
    state = tf.constant(_state(GRID))
    with tf.GradientTape() as tape:
        tape.watch(state)
        total = tf.reduce_sum(Resample(GRID, SMALL)(state))
    columns = interpolation(4, 2).sum(axis=0)[:, None] * interpolation(6, 3).sum(axis=0)[None]
    assert np.allclose(tape.gradient(total, state), np.broadcast_to(columns[None, :, :, None], (2, 4, 6, 3)), atol=1e-6)


def test_equal_layouts_need_no_layer() -> None:
    state = _state(GRID)
    assert resample(state, GRID, Layout((4, 6), (4, 6)), name="same") is state


def test_half_precision_stays_half() -> None:
    assert Resample(GRID, SMALL, dtype="bfloat16")(tf.cast(_state(GRID), "bfloat16")).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("shape", "patch_grid", "expected"),
    [
        ((None, 7), (), VECTOR),
        ((None, 4, 6, 7), (), GRID),
        ((None, 25, 7), (4, 6), PATCHES),
        ((None, 5, 7), (), SEQUENCE),
        ((None, 5, 7), (4, 6), SEQUENCE),
        ((None, 4, 6, 7), (9, 9), GRID),
    ],
)
def test_the_layout_of_a_state(shape: Any, patch_grid: Any, expected: Layout) -> None:
    assert layout_of(shape, patch_grid=patch_grid) == expected


@pytest.mark.parametrize("shape", [(None, None, 7), (None, 4, None, 7), (None, 2, 3, 4, 5)])
def test_a_state_of_unknown_shape_has_no_layout(shape: Any) -> None:
    with pytest.raises(ValueError, match="has no layout"):
        layout_of(shape)
