"""Codecs: shapes across layouts, what is computed, what each kind has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import decode, encode

from tdspec.graph.codecs import ENCODERS, Inner, StateShape, decoder, encoder, identity_encoder
from tdspec.graph.layouts import VECTOR, Layout
from tdspec.spec.schema import schema

GRID, PATCHES = Layout((4, 6), (4, 6)), Layout((7,), (2, 3), 1)
LAYOUTS = [VECTOR, GRID, PATCHES, Layout((5,))]
POSITIONWISE = ["linear", "mlp"]


def inner(kind: str) -> Inner:
    return Inner(kind, hidden_dim=4, num_heads=2, num_layers=1)


def _states(low: StateShape, high: StateShape) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.normal(size=(3, *state.shape)).astype("float32") for state in (low, high)]


@pytest.mark.parametrize(
    ("kind", "message_layout"),
    [(kind, layout) for kind in ENCODERS for layout in LAYOUTS if (kind, layout) != ("transformer", VECTOR)],
)
@pytest.mark.parametrize("high_layout", LAYOUTS)
def test_there_and_back_over_layouts(kind: str, message_layout: Layout, high_layout: Layout) -> None:
    states = StateShape(5, GRID), StateShape(6, high_layout)
    message = StateShape(2, message_layout)
    tell = encoder(inner(kind), states, message, name="tell")
    hear = decoder(inner(kind), states, message, name="hear")
    said = tell(_states(*states))
    assert said.shape == (3, *message.shape)
    assert [tuple(state.shape) for state in hear(said)] == [(3, 4, 6, 5), (3, *states[1].shape)]


@pytest.mark.parametrize("kind", POSITIONWISE)
@pytest.mark.parametrize("layout", [VECTOR, Layout((5,))])
def test_values_are_those_of_the_equations(kind: str, layout: Layout) -> None:
    states = StateShape(5, layout), StateShape(6, layout)
    message = StateShape(2, layout)
    tell = encoder(inner(kind), states, message, name="tell")
    hear = decoder(inner(kind), states, message, name="hear")
    values = _states(*states)
    said = tell(values)
    assert np.allclose(said, encode(tell, *values), atol=1e-5)
    for found, expected in zip(hear(said), decode(hear, np.asarray(said)), strict=True):
        assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
def test_what_a_decoder_tells_starts_near_zero_and_is_not_zero(kind: str) -> None:
    states = StateShape(5, Layout((5,))), StateShape(6, Layout((5,)))
    hear = decoder(inner(kind), states, StateShape(8, Layout((5,))), name="hear")
    # loud messages: at Keras's own start they would be told by states as loud
    for told in hear(10.0 * np.random.default_rng(0).normal(size=(64, 5, 8)).astype("float32")):
        assert 0.0 < np.std(told) < 0.5


def test_positions_do_not_mix_where_layouts_agree() -> None:
    layout = Layout((5,))
    states = StateShape(3, layout), StateShape(3, layout)
    tell = encoder(inner("mlp"), states, StateShape(2, layout), name="tell")
    values = _states(*states)
    changed = [value.copy() for value in values]
    changed[0][:, 2] += 1.0
    moved = np.any(np.asarray(tell(values)) != np.asarray(tell(changed)), axis=(0, 2))
    assert moved.tolist() == [False, False, True, False, False]


def test_the_identity_puts_states_side_by_side() -> None:
    states = StateShape(2, VECTOR), StateShape(3, VECTOR)
    model = identity_encoder(states, VECTOR, name="tell")
    values = _states(*states)
    assert not model.variables
    assert np.array_equal(model(values), np.concatenate(values, axis=1))


def test_a_decoder_without_high_has_one_output() -> None:
    hear = decoder(inner("mlp"), (StateShape(5, VECTOR),), StateShape(2, VECTOR), name="hear")
    assert [layer.name for layer in hear.layers] == ["message", "hidden", "low"]
    assert tuple(tf.nest.flatten(hear(np.zeros((3, 2), "float32")))[0].shape) == (3, 5)


def test_each_kind_has_its_layers() -> None:
    states, message = (StateShape(5, VECTOR), StateShape(6, VECTOR)), StateShape(2, VECTOR)
    counts = {
        kind: (
            encoder(inner(kind), states, message, name="tell").count_params(),
            decoder(inner(kind), states, message, name="hear").count_params(),
        )
        for kind in POSITIONWISE
    }
    assert counts["linear"] == (11 * 2 + 2, 2 * 11 + 11)
    assert counts["mlp"] == (11 * 4 + 4 + 4 * 2 + 2, 2 * 4 + 4 + 4 * 11 + 11)


def test_the_schema_offers_these_kinds() -> None:
    assert schema()["$defs"]["encoder"]["properties"]["type"]["enum"] == list(ENCODERS)
