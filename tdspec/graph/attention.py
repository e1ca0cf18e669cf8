"""How self-attention is computed inside an XLA program.

In: nothing. Out: a context in which Keras's MultiHeadAttention of a state with itself takes query, key and value from
one product with their three kernels side by side. XLA on a CPU does not merge products that read the same matrix
(`tests/benchmarks/step.py --cases vit128-17-k0`: the step by hand has one product, and was 1.12 times as fast).
Leaves out: attention to something else, with masks, gates or windows, and its subclasses, which stay as they are.
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
    dense = (attention.query_dense, attention.key_dense, attention.value_dense)
    # (input, heads, width of a head) side by side: the products of one head stay together
    kernel = ops.concatenate([layer.kernel for layer in dense], axis=-1)
    heard = ops.einsum("btd,dhw->bthw", query, kernel)
    if attention.query_dense.bias is not None:
        heard = heard + ops.concatenate([layer.bias for layer in dense], axis=-1)
    widths = [layer.kernel.shape[-1] for layer in dense]
    three = ops.split(heard, [widths[0], widths[0] + widths[1]], axis=-1)
    output, _ = attention._compute_attention(*three, None, training)
    return attention.output_dense(output)


def _is_of_itself(attention: Any, query: Tensor, value: Tensor, key: Tensor | None) -> bool:
    """Whether one state is query, key and value, a sequence without a mask."""
    one = query is value and (key is None or key is query)
    plain = type(attention) is keras.layers.MultiHeadAttention and not attention._use_gate
    masked = getattr(query, "_keras_mask", None) is not None or attention._sliding_window is not None
    return one and plain and not masked and len(query.shape) == 3
