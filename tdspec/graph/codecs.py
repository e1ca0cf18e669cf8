"""Codecs: encoders that turn a pair of states into a message, decoders that turn a message into a pair of states.

In: shapes and layouts of the states, width and layout of the message. Out: a `Codec` of two Keras models, which work on
the last axis, position by position. `ENCODERS` names the kinds a spec can choose.
Leaves out: what is said to whom (`methods.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from tdspec.graph.layouts import Layout, resample


@dataclass(frozen=True)
class StateShape:
    """A state: its width and its layout."""

    dim: int
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.layout.axes, self.dim)


@dataclass(frozen=True)
class Codec:
    """E and D of one model (arXiv 2310.03188, section 3).

    Attributes:
        encode: [low, high] -> message.
        decode: message -> [low, high], or [low] where nothing asks for high.
    """

    encode: keras.Model
    decode: keras.Model


Layers = Callable[[keras.KerasTensor], keras.KerasTensor]


def _linear(hidden_dim: int) -> Layers:
    return lambda x: x


def _mlp(hidden_dim: int) -> Layers:
    return keras.layers.Dense(hidden_dim, activation="relu", name="hidden")


# What stands before the last Dense layer of an encoder or decoder.
ENCODERS: dict[str, Callable[[int], Layers]] = {"linear": _linear, "mlp": _mlp}


def encoder(
    kind: str, states: tuple[StateShape, StateShape], message: StateShape, *, hidden_dim: int, name: str
) -> keras.Model:
    """E: resample both states to the message's positions, join their features, then `kind` up to the message's width.

    Args:
        kind: a key of ENCODERS.
        states: low and high.
        message: what comes out.
        hidden_dim: width between the two Dense layers of an mlp.

    Returns:
        A model [low, high] -> message (batch, ..., dim).
    """
    low, high, joined = _joined(states, message.layout)
    x = ENCODERS[kind](hidden_dim)(joined)
    return keras.Model([low, high], keras.layers.Dense(message.dim, name="message")(x), name=name)


def identity_encoder(states: tuple[StateShape, StateShape], layout: Layout, *, name: str) -> keras.Model:
    """E as the identity (FitNet): both states at the message's positions, joined; a model [low, high] -> message."""
    low, high, joined = _joined(states, layout)
    return keras.Model([low, high], joined, name=name)


def _joined(
    states: tuple[StateShape, StateShape], layout: Layout
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    low, high = (keras.Input(state.shape, name=word) for state, word in zip(states, ("low", "high"), strict=True))
    parts = [
        resample(entry, state.layout, layout, name=f"{word}_to_message")
        for entry, state, word in zip((low, high), states, ("low", "high"), strict=True)
    ]
    return low, high, keras.layers.Concatenate(axis=-1, name="states")(parts)


def decoder(
    kind: str, states: tuple[StateShape, ...], message: StateShape, *, hidden_dim: int, name: str
) -> keras.Model:
    """D: `kind` mirrored, one Dense layer for each state, each resampled to that state's positions.

    Args:
        kind: a key of ENCODERS.
        states: low and high, or low alone.
        message: what goes in.
        hidden_dim: width between the two Dense layers of an mlp.

    Returns:
        A model message -> [low, high], or [low].
    """
    entry = keras.Input(message.shape, name="message")
    x = ENCODERS[kind](hidden_dim)(entry)
    outputs = [
        resample(keras.layers.Dense(state.dim, name=word)(x), message.layout, state.layout, name=f"message_to_{word}")
        for state, word in zip(states, ("low", "high"), strict=False)
    ]
    return keras.Model(entry, outputs, name=name)
