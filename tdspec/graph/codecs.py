"""Codecs: encoders that turn a pair of states into a message, decoders that turn a message into a pair of states.

In: shapes and layouts of the states, width and layout of the message, the padding mask of a text. Out: a `Codec` of two
Keras models. `linear` and `mlp` work on the last axis, position by position; `transformer` also between the message's
positions. `ENCODERS` names the kinds a spec can choose.
Leaves out: what is said to whom (`methods.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tdspec.errors import GraphError
from tdspec.graph.layouts import Layout, are_tokens, resample
from tdspec.graph.transformer import transformer
from tdspec.graph.walk import nodes_between


@dataclass(frozen=True)
class StateShape:
    """A state: its width and its layout."""

    dim: int
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.layout.axes, self.dim)


@dataclass(frozen=True)
class Inner:
    """What stands before the last Dense layer of an encoder or decoder.

    Attributes:
        kind: a key of ENCODERS.
        hidden_dim: width between the two Dense layers of an mlp, and of a transformer.
        num_heads, num_layers: of a transformer.
    """

    kind: str
    hidden_dim: int
    num_heads: int
    num_layers: int


@dataclass(frozen=True)
class Codec:
    """E and D of one model (arXiv 2310.03188, section 3).

    Attributes:
        encode: [low, high] -> message; with the padding mask of a text third where it is needed.
        decode: message -> [low, high], or [low] where nothing asks for high; [message, mask] likewise.
    """

    encode: keras.Model
    decode: keras.Model


Tensor = Any
Layers = Callable[[Inner, Tensor, Layout, Tensor | None], Tensor]

# A hundredth of Keras's own start. What a decoder tells then begins near 0, which no state is far from by its own
# scale; at the usual start it is many times larger than most states, and its first errors drown the task.
TOLD_START = {"scale": 1e-4, "mode": "fan_avg", "distribution": "uniform"}


def _linear(inner: Inner, x: Tensor, layout: Layout, mask: Tensor | None) -> Tensor:
    return x


def _mlp(inner: Inner, x: Tensor, layout: Layout, mask: Tensor | None) -> Tensor:
    return keras.layers.Dense(inner.hidden_dim, activation="relu", name="hidden")(x)


def _transformer(inner: Inner, x: Tensor, layout: Layout, mask: Tensor | None) -> Tensor:
    if layout.num_positions == 1:
        message = "the encoder 'transformer' attends over the positions of a message, and the message is one vector"
        hint = "write encoder: {type: mlp}, or message: {positions: [h, w]}, or cut the student where it has positions"
        raise GraphError(message, hint)
    return transformer(
        x,
        mask if are_tokens(layout, mask) else None,
        hidden_dim=inner.hidden_dim,
        num_heads=inner.num_heads,
        num_layers=inner.num_layers,
    )


ENCODERS: dict[str, Layers] = {"linear": _linear, "mlp": _mlp, "transformer": _transformer}


def encoder(
    inner: Inner,
    states: tuple[StateShape, StateShape],
    message: StateShape,
    *,
    name: str,
    mask: Tensor | None = None,
) -> keras.Model:
    """E: resample both states to the message's positions, join their features, then `inner` up to the message's width.

    Args:
        inner: what stands between.
        states: low and high.
        message: what comes out.
        mask: (batch, length), an input of the distillation that tells the padding of its text; None: no text.

    Returns:
        A model [low, high] -> message (batch, ..., dim); or [low, high, mask] where padding would count.

    Raises:
        GraphError: `inner` needs positions, and the message has none.
    """
    entries, own_mask = _entries(states), _entry_like(mask)
    x = ENCODERS[inner.kind](inner, _joined(entries, states, message.layout, own_mask), message.layout, own_mask)
    return _model(entries, own_mask, keras.layers.Dense(message.dim, name="message")(x), name=name)


def identity_encoder(
    states: tuple[StateShape, StateShape], layout: Layout, *, name: str, mask: Tensor | None = None
) -> keras.Model:
    """E as the identity (FitNet): both states at the message's positions, joined; a model [low, high] -> message."""
    entries, own_mask = _entries(states), _entry_like(mask)
    return _model(entries, own_mask, _joined(entries, states, layout, own_mask), name=name)


def decoder(
    inner: Inner, states: tuple[StateShape, ...], message: StateShape, *, name: str, mask: Tensor | None = None
) -> keras.Model:
    """D: `inner` mirrored, one Dense layer for each state, each resampled to that state's positions.

    Args:
        inner: what stands between.
        states: low and high, or low alone.
        message: what goes in.
        mask: as for `encoder`.

    Returns:
        A model message -> [low, high], or [low]; or [message, mask] where padding would count.

    Raises:
        GraphError: `inner` needs positions, and the message has none.
    """
    entry, own_mask = keras.Input(message.shape, name="message"), _entry_like(mask)
    x = ENCODERS[inner.kind](inner, entry, message.layout, own_mask)
    outputs = []
    for state, word in zip(states, ("low", "high"), strict=False):
        start = keras.initializers.VarianceScaling(**TOLD_START)
        told = keras.layers.Dense(state.dim, kernel_initializer=start, name=word)(x)
        outputs.append(resample(told, message.layout, state.layout, name=f"message_to_{word}", mask=own_mask))
    return _model([entry], own_mask, outputs, name=name)


def _entries(states: tuple[StateShape, StateShape]) -> list[Tensor]:
    return [keras.Input(state.shape, name=word) for state, word in zip(states, ("low", "high"), strict=True)]


def _entry_like(mask: Tensor | None) -> Tensor | None:
    """An input of a codec, named as the input of the distillation that it is fed."""
    return None if mask is None else keras.Input(mask.shape[1:], dtype=mask.dtype, name=mask.name)


def _joined(
    entries: list[Tensor], states: tuple[StateShape, StateShape], layout: Layout, mask: Tensor | None
) -> Tensor:
    parts = [
        resample(entry, state.layout, layout, name=f"{word}_to_message", mask=mask)
        for entry, state, word in zip(entries, states, ("low", "high"), strict=True)
    ]
    return keras.layers.Concatenate(axis=-1, name="states")(parts)


def _model(entries: list[Tensor], mask: Tensor | None, outputs: Tensor | list[Tensor], *, name: str) -> keras.Model:
    """A model of these entries, and of the mask where the outputs depend on it."""
    ends: Sequence[Tensor] = keras.tree.flatten(outputs)
    made = {output for node in nodes_between(entries, ends) for output in node.outputs}
    used = [*entries, mask] if mask is not None and id(mask) in made else entries
    return keras.Model(used if len(used) > 1 else used[0], outputs, name=name)
