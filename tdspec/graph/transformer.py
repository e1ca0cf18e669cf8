"""The inner layers of a codec that let the positions of a message look at each other.

In: (batch, ..., d) with one or two axes of positions, and which of them are padding. Out: (batch, ..., hidden_dim).
Leaves out: joining states before, the Dense layers of message and states after (`codecs.py`).
"""

from __future__ import annotations

from math import prod
from typing import Any

import keras
from keras import ops

# Width of the inner Dense layer over that of the block (Vaswani 2017, arXiv 1706.03762, section 3.3).
MLP_RATIO = 4


class PositionEmbedding(keras.layers.Layer):
    """Adds a trained vector to each position.

    Attention alone would not know one position from another. The vectors are learned, as in ViT and BERT, because a
    message has a fixed number of positions, and they may be a grid, or patches behind a class token: a sinusoid along
    one axis tells neither rows from columns nor a class token from a patch.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.embedding = self.add_weight(
            shape=input_shape[1:], initializer=keras.initializers.TruncatedNormal(stddev=0.02), name="embedding"
        )

    def call(self, x: Any) -> Any:
        return x + ops.cast(self.embedding, x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


def transformer(
    x: keras.KerasTensor, mask: keras.KerasTensor | None, *, hidden_dim: int, num_heads: int, num_layers: int
) -> keras.KerasTensor:
    """Dense to `hidden_dim`, position embeddings, pre-norm blocks (Xiong 2020, arXiv 2002.04745), a last norm.

    Args:
        x: (batch, ..., d).
        mask: (batch, positions) of 0 for padding, which nothing attends to; None: all count.
        hidden_dim: width of the blocks, a multiple of `num_heads`.
        num_heads: of the attention.
        num_layers: number of blocks.

    Returns:
        (batch, ..., hidden_dim).
    """
    axes = tuple(x.shape[1:-1])
    x = keras.layers.Dense(hidden_dim, name="hidden")(x)
    if len(axes) > 1:
        x = keras.layers.Reshape((prod(axes), hidden_dim), name="positions")(x)
    x = PositionEmbedding(name="position_embedding")(x)
    # (batch, 1, positions): every position attends to the same ones
    attended = None if mask is None else ops.expand_dims(ops.cast(mask, "bool"), 1)
    for number in range(1, num_layers + 1):
        x = _block(x, attended, num_heads=num_heads, name=f"block_{number}")
    x = _norm("norm")(x)
    return keras.layers.Reshape((*axes, hidden_dim), name="grid")(x) if len(axes) > 1 else x


def _block(x: keras.KerasTensor, attended: keras.KerasTensor | None, *, num_heads: int, name: str) -> keras.KerasTensor:
    """x + attention(norm(x)), then x + mlp(norm(x))."""
    hidden_dim = x.shape[-1]
    attention = keras.layers.MultiHeadAttention(num_heads, hidden_dim // num_heads, name=f"{name}_attention")
    normed = _norm(f"{name}_attention_norm")(x)
    x = keras.layers.Add(name=f"{name}_attended")([x, attention(normed, normed, attention_mask=attended)])
    inner = keras.layers.Dense(MLP_RATIO * hidden_dim, activation="gelu", name=f"{name}_mlp_inner")
    outer = keras.layers.Dense(hidden_dim, name=f"{name}_mlp_outer")
    told = outer(inner(_norm(f"{name}_mlp_norm")(x)))
    return keras.layers.Add(name=f"{name}_output")([x, told])


def _norm(name: str) -> keras.layers.Layer:
    return keras.layers.LayerNormalization(epsilon=1e-6, name=name)
