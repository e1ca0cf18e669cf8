"""What the opening of a backbone cannot see from its layers alone, by the name of the class it holds for.

In: layers of libraries. Out: whether they are blocks, containers of blocks or positions, and how odd ones are run.
Leaves out: the general rules (`walk.py`), which hold for every class that is not named here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tdspec")
class FirstOutput(keras.layers.Layer):
    """A layer that gives a tuple, of which only the first is a tensor; weights are shared.

    Args:
        layer: what it runs.
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        options = {"training": training} if self.layer._call_has_training_arg else {}
        return self.layer(inputs, **options)[0]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FirstOutput:
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


@keras.saving.register_keras_serializable(package="tdspec")
class Traced(FirstOutput):
    """A layer that declares a wrong shape for what it gives, asked by running it; weights are shared."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        options = {"training": training} if self.layer._call_has_training_arg else {}
        return self.layer(inputs, **options)


def _deit_encoder(layer: Any, hidden_states: Any) -> tuple[Any, Any, Any]:
    """DeiT's blocks give (state, None), which no node can; nobody reads the encoder's other outputs."""
    for block in layer.encoder_layers:
        hidden_states = FirstOutput(block, name=block.name)(hidden_states)
    return layer.layer_norm(hidden_states), None, None


def _traced(layer: Any, inputs: Any) -> Any:
    """SigLIP's embedding declares one position too many: it has no class token."""
    return Traced(layer, name=layer.name)(inputs)


# Layers that cannot be nodes as they are, and how they are run instead.
OPENINGS: Mapping[str, Callable[..., Any]] = {"DeiTEncoder": _deit_encoder, "SigLIPVisionEmbedding": _traced}

# The role of a layer where its sublayers do not tell.
# block: one hidden layer, never opened. container: opened. positions: reads only the shape of its input.
ROLES: Mapping[str, str] = {
    "FirstOutput": "block",
    "FNetEncoder": "block",
    "DisentangledAttentionEncoder": "block",
    "DepthwiseConvBlock": "block",
    "InvertedResidualBlock": "block",
    "HGNetV2BasicLayer": "block",
    "HGNetV2Stage": "container",
    "HGNetV2Encoder": "container",
    "DINOV3RopePositionEmbedding": "positions",
    "PositionEmbedding": "positions",
    "SinePositionEncoding": "positions",
    "RelativeEmbedding": "positions",
    "ZerosLike": "positions",
    "OnesLike": "positions",
    "FullLike": "positions",
}


def role_of(operation: keras.Operation) -> str | None:
    """The role that an operation has by its class: "block", "container", "positions", or None for the general rules."""
    return ROLES.get(type(operation).__name__)
