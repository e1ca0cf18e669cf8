"""FLOPs: against what the textbook counts, and without a single weight."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import tensorflow as tf
from keras_hub.models import ViTBackbone

from tdspec.graph.flops import count_flops, flops_by_type
from tdspec.graph.walk import functional, nodes_of, opened

LAYERS = keras.layers


def _of(shape: tuple[int | None, ...], layer: Any) -> int:
    entry = keras.Input(shape)
    model = keras.Model(entry, layer(entry))
    counts = count_flops(model)
    assert len(counts) == len(nodes_of(model)) and counts[0] == 0
    return counts[1]


@pytest.mark.parametrize(
    ("shape", "layer", "expected"),
    [
        ((7,), LAYERS.Dense(5), 2 * 7 * 5),
        ((4, 7), LAYERS.Dense(5), 2 * 4 * 7 * 5),
        ((3, 4, 7), LAYERS.EinsumDense("abcd,de->abce", output_shape=(3, 4, 5)), 2 * 12 * 7 * 5),
        ((3, 4, 7), lambda x: keras.ops.einsum("...d,...d->...", x, x), 2 * 12 * 7),
        ((3, 4, 7), lambda x: keras.ops.einsum("b...d,b...d->b...", x, x), 2 * 12 * 7),
        ((8, 8, 3), LAYERS.Conv2D(5, 3, padding="same"), 2 * 64 * 9 * 3 * 5),
        ((8, 8, 3), LAYERS.Conv2D(5, 3, strides=2, padding="same"), 2 * 16 * 9 * 3 * 5),
        ((8, 8, 3), LAYERS.Conv2D(5, (2, 4)), 2 * (7 * 5) * 8 * 3 * 5),
        ((8, 8, 4), LAYERS.Conv2D(6, 3, groups=2, padding="same"), 2 * 64 * 9 * 2 * 6),
        ((8, 8, 3), LAYERS.Conv2DTranspose(5, 3, strides=2, padding="same"), 2 * 64 * 9 * 3 * 5),
        ((10, 3), LAYERS.Conv1D(5, 3, padding="same"), 2 * 10 * 3 * 3 * 5),
        ((8, 8, 3), LAYERS.DepthwiseConv2D(3, padding="same"), 2 * 64 * 9 * 3),
        ((8, 8, 3), LAYERS.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 2 * 64 * 9 * 6),
        ((8, 8, 3), LAYERS.SeparableConv2D(5, 3, padding="same"), 2 * 64 * 9 * 3 + 2 * 64 * 3 * 5),
        ((8, 8, 3), LAYERS.ReLU(), 0),
        ((8, 8, 3), LAYERS.BatchNormalization(), 0),
    ],
)
def test_layers(shape: tuple[int, ...], layer: Any, expected: int) -> None:
    assert _of(shape, layer) == expected


def test_gradients_of_a_convolution_cost_what_it_costs_by_type() -> None:
    @tf.function(autograph=False)
    def called(images: Any, kernel: Any) -> Any:
        return tf.nn.conv2d(images, kernel, 2, "SAME")

    def gradients(images: Any, kernel: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((images, kernel))
            sizes = tf.reduce_sum(called(images, kernel))
        return tape.gradient(sizes, (images, kernel))

    described = (tf.TensorSpec((4, 8, 8, 3)), tf.TensorSpec((3, 3, 3, 5)))
    graph = tf.function(gradients, autograph=False).get_concrete_function(*described).graph
    found = flops_by_type(graph.get_operations())
    cost = 2 * (4 * 16) * 9 * 3 * 5
    assert found == {"Conv2D": cost, "Conv2DBackpropInput": cost, "Conv2DBackpropFilter": cost}


def test_tensors_of_unknown_rank_count_for_nothing() -> None:
    described = (tf.TensorSpec(None), tf.TensorSpec(None))
    graph = tf.function(lambda a, b: tf.matmul(a, b), autograph=False).get_concrete_function(*described).graph
    assert any("MatMul" in op.type for op in graph.get_operations())
    assert flops_by_type(graph.get_operations()) == {}


def test_attention() -> None:
    """Three projections in and one out, positions x positions twice for each head."""
    entry = keras.Input((6, 8))
    model = keras.Model(entry, LAYERS.MultiHeadAttention(num_heads=2, key_dim=4)(entry, entry))
    assert sum(count_flops(model)) == 4 * (2 * 6 * 8 * 8) + 2 * (2 * 6 * 6 * 8)


def test_an_open_size_counts_as_one() -> None:
    assert _of((None, None, 3), LAYERS.Conv2D(5, 1)) == 2 * 3 * 5


def test_a_nested_model_counts_in_its_node() -> None:
    inner = keras.Sequential([keras.Input((7,)), LAYERS.Dense(5), LAYERS.Dense(3)])
    assert _of((7,), inner) == 2 * (7 * 5 + 5 * 3)


def test_a_layer_called_twice_counts_twice() -> None:
    entry = keras.Input((7,))
    layer = LAYERS.Dense(7)
    assert count_flops(keras.Model(entry, layer(layer(entry)))) == (0, 98, 98)


def test_vit_base_without_a_weight() -> None:
    """ViT-B/32 at 224: 8.8 GFLOPs, as two for each of the 4.4 G multiply-adds that its authors' tables give."""
    with keras.StatelessScope(initialize_variables=False):
        model = ViTBackbone(
            num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, patch_size=32, image_shape=(224, 224, 3)
        )
        entry = keras.Input((224, 224, 3))
        graph = functional(entry, opened(entry, model(entry)))
        counts = count_flops(graph)
    tokens, width = 50, 768
    block = 4 * 2 * tokens * width**2 + 2 * 2 * tokens**2 * width + 2 * 2 * tokens * width * 3072
    patches = 2 * 49 * 32 * 32 * 3 * width
    assert sum(counts) == 12 * block + patches
    assert sum(counts) == pytest.approx(8.8e9, rel=0.01)
    assert sorted(counts)[-12:] == [block] * 12
    assert all(variable._value is None for variable in model.variables)
