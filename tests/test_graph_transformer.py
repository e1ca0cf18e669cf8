"""The encoder `transformer`: its equations, positions, padding, cost, and a spec that has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array, compiled, decode, encode, mlp, pixels, vit

from tdspec.errors import SpecError
from tdspec.graph.codecs import Inner, StateShape, decoder, encoder
from tdspec.graph.flops import count_flops
from tdspec.graph.layouts import VECTOR, Layout
from tdspec.graph.picture import draw
from tdspec.graph.plan import plan_of

LENGTH = 6
TOKENS, GRID = Layout((LENGTH,)), Layout((2, 3), (2, 3))
INNER = Inner("transformer", hidden_dim=8, num_heads=2, num_layers=2)
COUNTS = np.array([2, 6, 4])
PADDING = (np.arange(LENGTH) < COUNTS[:, None]).astype("int32")
ENCODER = {"type": "transformer", "hidden_dim": 8, "num_heads": 2}


def _pair(layout: Layout, masked: bool = False) -> tuple[keras.Model, keras.Model, list[Array]]:
    """E, D and two states, every weight of E and D random, biases and embeddings included."""
    states, message = (StateShape(5, layout), StateShape(7, layout)), StateShape(3, layout)
    mask = keras.Input((LENGTH,), dtype="int32", name="padding_mask") if masked else None
    tell = encoder(INNER, states, message, name="tell", mask=mask)
    hear = decoder(INNER, states, message, name="hear", mask=mask)
    random = np.random.default_rng(0)
    for model in (tell, hear):
        model.set_weights([random.normal(size=weight.shape, scale=0.5) for weight in model.get_weights()])
    return tell, hear, [random.normal(size=(3, *state.shape)).astype("float32") for state in states]


@pytest.mark.parametrize("layout", [TOKENS, GRID], ids=["sequence", "grid"])
def test_values_are_those_of_the_equations(layout: Layout) -> None:
    tell, hear, values = _pair(layout)
    said = tell(values)
    np.testing.assert_allclose(said, encode(tell, *values), atol=1e-4)
    for found, expected in zip(hear(said), decode(hear, np.asarray(said)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_values_with_padding_are_those_of_the_equations() -> None:
    tell, hear, values = _pair(TOKENS, masked=True)
    said = tell([*values, PADDING])
    np.testing.assert_allclose(said, encode(tell, *values, PADDING), atol=1e-4)
    for found, expected in zip(
        hear([said, tf.constant(PADDING)]), decode(hear, np.asarray(said), PADDING), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def _through(tell: keras.Model, hear: keras.Model, values: list[Array]) -> tuple[Array, list[Array], list[Array]]:
    """What is told at the tokens that count; the gradient of its sum of squares at the inputs and at all weights."""
    entries, mask = [tf.constant(value) for value in values], tf.constant(PADDING)
    variables = [variable.value for model in (tell, hear) for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(entries)
        low, high = hear([tell([*entries, mask]), mask])
        told = tf.concat([low, high], axis=-1) * tf.cast(PADDING, "float32")[..., None]
        loss = tf.reduce_sum(tf.square(told))
    to_entries, to_weights = tape.gradient(loss, [entries, variables])
    return told.numpy(), [g.numpy() for g in to_entries], [g.numpy() for g in to_weights]


def test_padding_is_never_attended_to() -> None:
    """To the last bit: a masked key's share is 0, whatever stands there."""
    tell, hear, values = _pair(TOKENS, masked=True)
    behind = np.random.default_rng(9).normal(size=(3, LENGTH, 1), scale=30).astype("float32")
    changed = [np.where(PADDING[..., None] == 1, value, behind) for value in values]
    one, two = _through(tell, hear, values), _through(tell, hear, changed)
    np.testing.assert_array_equal(one[0], two[0])
    for before, after in zip((*one[1], *one[2]), (*two[1], *two[2]), strict=True):
        np.testing.assert_array_equal(before, after)
    for gradient in one[1]:
        assert np.all(gradient[PADDING == 0] == 0) and np.any(gradient[PADDING == 1])
    # the bias of all keys shifts every score alike
    assert sum(not np.any(np.abs(gradient) > 1e-4) for gradient in one[2]) == 2 * INNER.num_layers


def test_positions_look_at_each_other_and_know_their_place() -> None:
    tell, _, values = _pair(TOKENS)
    said = np.asarray(tell(values))
    moved = [value.copy() for value in values]
    moved[0][:, 2] += 1.0
    assert np.all(np.any(np.asarray(tell(moved)) != said, axis=(0, 2)))
    backwards = np.asarray(tell([value[:, ::-1] for value in values]))[:, ::-1]
    assert np.abs(backwards - said).max() > 0.1


def test_parameters_and_flops_are_those_of_the_closed_form() -> None:
    tell, hear, _ = _pair(GRID)
    positions, width, layers = LENGTH, INNER.hidden_dim, INNER.num_layers
    block = 4 * (width**2 + width) + 2 * 4 * width**2 + 5 * width + 2 * 2 * width
    inside = layers * block + positions * width + 2 * width
    assert tell.count_params() == (12 * width + width) + inside + (width * 3 + 3)
    assert hear.count_params() == (3 * width + width) + inside + (width * 12 + 12)
    # 2 FLOPs a multiply-add: projections, MLP, and positions x positions twice
    flops = layers * (4 * 2 * positions * width**2 + 2 * 2 * positions * 4 * width**2 + 2 * 2 * positions**2 * width)
    assert sum(count_flops(tell)) == flops + 2 * positions * (12 * width + width * 3)
    assert sum(count_flops(hear)) == flops + 2 * positions * (3 * width + width * 12)


def _compiled(folder: Path, **sections: Any) -> Any:
    options = {"teacher": vit(num_layers=3), "student": vit(hidden_dim=6), **sections}
    options.setdefault("communication", {"message": {"dim": 4}, "encoder": ENCODER, "iterations": 1})
    return compiled(folder, options.pop("method", "talking"), **options)


def test_plan_and_picture_without_a_weight(tmp_path: Path) -> None:
    with keras.StatelessScope(initialize_variables=False):
        found = _compiled(tmp_path)
        plan = plan_of(found)
    assert all(variable._value is None for variable in found.distiller.variables)
    assert {codec["type"] for codec in plan["codecs"]} == {"transformer"}
    assert plan["totals"]["parameters"]["codecs"] == sum(codec["parameters"] for codec in plan["codecs"])
    told = next(codec for codec in plan["codecs"] if codec["name"] == "student_codec.encode")
    positions, width = 5, 8
    inside = 2 * positions * (12 * width + 4 * width) + 12 * 2 * positions * width**2 + 4 * positions**2 * width
    assert told["flops"] == inside
    assert "transformer ·" in draw(plan)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_every_weight_of_it_is_trained(tmp_path: Path, precision: str) -> None:
    train = {"precision": precision}
    losses = {"interaction": {"distance": "l2"}, "message_consistency": {"distance": "relative_l2"}}
    distiller = _compiled(tmp_path, train=train, losses=losses).distiller
    distiller.compile(keras.optimizers.Adam(0.001))
    codecs = [
        getattr(side, part)
        for side in (distiller.student_codec, distiller.teacher_codec)
        for part in ("encode", "decode")
    ]
    before = [variable.numpy() for model in codecs for variable in model.trainable_variables]
    history = distiller.fit({"image": pixels(16)}, np.arange(16) % 10, batch_size=8, epochs=1, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    after = [variable for model in codecs for variable in model.trainable_variables]
    still = [variable.path for old, variable in zip(before, after, strict=True) if np.array_equal(old, variable)]
    assert all("key/bias" in path for path in still), still


def test_a_grid_from_a_vector(tmp_path: Path) -> None:
    """A student whose states are vectors may talk on a grid that the spec gives."""
    communication = {"message": {"dim": 4, "positions": [2, 2]}, "encoder": ENCODER}
    found = _compiled(tmp_path, student=mlp(5, 4), communication=communication).distiller
    assert tuple(found.output["student_message"].shape) == (None, 2, 2, 4)


def test_a_message_that_is_a_vector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        _compiled(tmp_path, student=mlp(5, 4))
    (found,) = caught.value.diagnostics
    assert found.key == "communication.encoder.type" and found.place.line > 1
    assert "attends over the positions of a message, and the message is one vector" in found.message
    assert "type: mlp" in found.hint and "positions: [h, w]" in found.hint


def test_neither_is_a_vector_among_the_components() -> None:
    state = StateShape(4, VECTOR)
    with pytest.raises(Exception, match="one vector"):
        encoder(INNER, (state, state), state, name="tell")
