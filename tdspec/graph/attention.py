"""How self-attention is computed inside an XLA program.

In: nothing. Out: a context in which Keras's MultiHeadAttention of a state with itself takes query, key and value from
one product with their three kernels side by side. XLA on a CPU does not merge products that read the same matrix
(`tests/benchmarks/step.py --cases vit128-17-k0`: the step by hand has one product, and was 1.12 times as fast).
Leaves out: attention to something else, with masks, gates, windows or values of another width than keys, and its
subclasses, which stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
from keras import ops

from tdspec.graph.replacing import replaced

Tensor = Any


@contextmanager
def by_one_product() -> Iterator[None]:
    """While a graph is traced, self-attention makes query, key and value at once."""
    owner = keras.layers.MultiHeadAttention
    plain = owner.call

    def call(
        attention: keras.layers.MultiHeadAttention, query: Tensor, value: Tensor, *args: Any, **options: Any
    ) -> Any:
        return _attended(attention, partial(plain, attention), query, value, *args, **options)

    with replaced(owner, "call", call):
        yield


def _attended(
    attention: keras.layers.MultiHeadAttention,
    plain: Callable[..., Any],
    query: Tensor,
    value: Tensor,
    key: Tensor | None = None,
    *args: Any,
    training: bool | None = None,
    **options: Any,
) -> Any:
    """As the layer's own `call`, which this falls back to."""
    others = any(option is not None and option is not False for option in (*args, *options.values()))
    if others or not _is_of_itself(attention, query, value, key):
        return plain(query, value, key, *args, training=training, **options)
    query, key, value = _of_one_product(attention, query)
    scores = ops.matmul(query * attention._inverse_sqrt_key_dim, ops.transpose(key, (0, 1, 3, 2)))
    weights = ops.cast(ops.softmax(ops.cast(scores, "float32"), axis=-1), value.dtype)
    if attention._dropout:
        weights = attention._dropout_layer(weights, training=training)
    return attention.output_dense(ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3)))


def _of_one_product(attention: keras.layers.MultiHeadAttention, state: Tensor) -> list[Tensor]:
    """Query, key and value of a state (batch, positions, dim), each (batch, heads, positions, width of a head).

    They come apart once for all, heads before positions: products in that order need no copies, which XLA would make
    of each of the three by itself.
    """
    dense = (attention.query_dense, attention.key_dense, attention.value_dense)
    _, positions, dim = ops.shape(state)
    kernel = ops.concatenate([ops.reshape(layer.kernel, (dim, -1)) for layer in dense], axis=-1)
    heard = ops.matmul(ops.reshape(state, (-1, dim)), kernel)
    if attention.query_dense.bias is not None:
        heard = heard + ops.concatenate([ops.reshape(layer.bias, (-1,)) for layer in dense], axis=-1)
    heard = ops.reshape(heard, (-1, positions, len(dense), *attention.query_dense.kernel.shape[1:]))
    return ops.unstack(ops.transpose(heard, (2, 0, 3, 1, 4)), len(dense))


def _is_of_itself(attention: Any, query: Tensor, value: Tensor, key: Tensor | None) -> bool:
    """Whether one state is query, key and value, a sequence without a mask, and they are equally wide."""
    one = query is value and (key is None or key is query) and attention.value_dim == attention.key_dim
    plain = type(attention) is keras.layers.MultiHeadAttention and not attention._use_gate
    masked = getattr(query, "_keras_mask", None) is not None or attention._sliding_window is not None
    return one and plain and not masked and len(query.shape) == 3
