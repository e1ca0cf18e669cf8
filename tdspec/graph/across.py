"""What a distance may learn of the examples that are not its own: sums over the whole batch, and all of its rows.

In: tensors of this replica's examples. Out: `Across`, on one device (`ALONE`) or over replicas (`REPLICAS`).
Leaves out: what is computed with it (`distances.py`, `relations.py`, `predictions.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from keras import ops

Tensor = Any

# Keeps a quotient finite where what divides is 0; far below the square of any real deviation.
TINY = 1e-12


@dataclass(frozen=True)
class Across:
    """How a distance reaches the whole batch.

    Attributes:
        sum: (batch, ...) -> (...), over the examples of all replicas.
        gather: (batch, ...) -> (all examples, ...), in one order on every replica.
    """

    sum: Callable[[Tensor], Tensor]
    gather: Callable[[Tensor], Tensor]

    def mean(self, values: Tensor) -> Tensor:
        """Mean of (batch, ...) over all examples."""
        ones = ops.ones_like(values[(slice(None), *[slice(0, 1)] * (len(values.shape) - 1))])
        return self.sum(values) / ops.maximum(self.sum(ones), TINY)


def _sum(values: Tensor) -> Tensor:
    return ops.sum(values, axis=0)


def _context() -> Any:
    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context


def sum_over_replicas(values: Tensor) -> Tensor:
    """Sum (batch, ...) over the batch and over all replicas, gradient included."""
    context = _context()
    total = _sum(values)
    return total if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, total)


def gather_over_replicas(values: Tensor) -> Tensor:
    """The rows of all replicas, gradient included."""
    context = _context()
    return values if context is None else context.all_gather(values, axis=0)


ALONE = Across(_sum, lambda values: values)
REPLICAS = Across(sum_over_replicas, gather_over_replicas)
