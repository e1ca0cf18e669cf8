"""Layouts, and the linear maps between them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tdspec.graph.codecs import StateShape, decoder, encoder
from tdspec.graph.layouts import VECTOR, Layout, Resample, interpolation, layout_of

VECTOR_STATE = StateShape(3, VECTOR)
TOKENS = StateShape(5, Layout((17,), (4, 4), 1))
REGISTERS = StateShape(5, Layout((6,), (2, 2), 2))
GRID = StateShape(4, Layout((6, 3), (6, 3)))
TEXT = StateShape(2, Layout((7,)))
STATES = [VECTOR_STATE, TOKENS, REGISTERS, GRID, TEXT]


def test_layouts_of_shapes() -> None:
    assert layout_of((None, 8)) == VECTOR
    assert layout_of((None, 4, 6, 8)) == Layout((4, 6), (4, 6))
    assert layout_of((None, 17, 8), patch_grid=(4, 4)) == Layout((17,), (4, 4), 1)
    assert layout_of((None, 7, 8)) == Layout((7,))
    with pytest.raises(ValueError, match="has no layout"):
        layout_of((None, None, 8))


@pytest.mark.parametrize(
    ("source", "target"), [((4, 4), (8, 8)), ((12, 9), (5, 7)), ((7, 3), (7, 4)), ((1, 1), (3, 2))]
)
def test_grids_are_resized_bilinearly(source: tuple[int, int], target: tuple[int, int]) -> None:
    state = np.random.default_rng(0).normal(size=(2, *source, 3)).astype("float32")
    moved = Resample(Layout(source, source), Layout(target, target))(state)
    np.testing.assert_allclose(moved, tf.image.resize(state, target), rtol=1e-5, atol=1e-5)


def test_interpolation_keeps_constants() -> None:
    for source, target in ((3, 8), (9, 4), (5, 5)):
        np.testing.assert_allclose(interpolation(source, target).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(interpolation(5, 5), np.eye(5, dtype="float32"))


@pytest.mark.parametrize("source", STATES)
@pytest.mark.parametrize("target", STATES)
def test_every_map_keeps_constants_and_gives_the_shape(source: StateShape, target: StateShape) -> None:
    state = np.full((2, *source.layout.axes, 3), 2.5, "float32")
    moved = Resample(source.layout, target.layout)(state)
    assert tuple(moved.shape) == (2, *target.layout.axes, 3)
    np.testing.assert_allclose(moved, 2.5, rtol=1e-5)


def test_prefix_tokens_stay_apart() -> None:
    state = np.zeros((1, 17, 1), "float32")
    state[:, 0] = 9
    longer = Resample(Layout((17,), (4, 4), 1), Layout((5,), (2, 2), 1))(state)
    np.testing.assert_allclose(longer[0, :, 0], [9, 0, 0, 0, 0])
    without = Resample(Layout((17,), (4, 4), 1), Layout((2, 2), (2, 2)))(state)
    np.testing.assert_allclose(without, 0)


def test_vectors_are_means_and_are_broadcast() -> None:
    state = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    np.testing.assert_allclose(Resample(Layout((7,)), VECTOR)(state), state.mean(axis=1), rtol=1e-4, atol=1e-6)
    vector = state[:, 0]
    spread = Resample(VECTOR, Layout((7,)))(vector)
    np.testing.assert_allclose(spread, np.repeat(vector[:, None], 7, axis=1), rtol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("message", STATES)
def test_codecs_map_any_pair_to_any_message_and_back(kind: str, message: StateShape) -> None:
    pair = (GRID, TOKENS)
    encode = encoder(kind, pair, message, hidden_dim=8, name="encode")
    decode = decoder(kind, pair, message, hidden_dim=8, name="decode")
    low, high = (np.ones((2, *state.shape), "float32") for state in pair)
    said = encode([low, high])
    assert tuple(said.shape) == (2, *message.shape)
    assert [tuple(state.shape) for state in decode(said)] == [(2, *state.shape) for state in pair]
