"""Keras optimizers from plain arguments, the same on any number of replicas.

In: the words of `train.optimizer` and the number of steps. Out: a `keras.optimizers.Optimizer`, not yet built.
Leaves out: the all-reduce of the update itself, which Keras's optimizers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tdspec.graph.records import num_replicas


class ReplicaInvariant:
    """Makes an optimizer compute the same on any number of replicas. Mixed in before a Keras optimizer.

    Two things depend on the replicas in Keras itself. `global_clipnorm` clips each replica's share of the gradient
    before the shares are summed; here the norm is that of the sum. And an embedding's gradient comes in slices, which
    Adam squares one by one: two slices of one row count as two rows, and which slices meet depends on the replicas;
    here slices are summed into whole gradients first.

    Attributes:
        max_norm: the largest norm of the whole gradient; 0: no limit.
    """

    max_norm = 0.0

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        """Update the variables; `grads` are this replica's share, whose sum over the replicas is the gradient."""
        dense = [None if grad is None else tf.convert_to_tensor(grad) for grad in grads]
        if self.max_norm:
            scale = _clip_scale([grad for grad in dense if grad is not None], self.max_norm)
            dense = [None if grad is None else grad * tf.cast(scale, grad.dtype) for grad in dense]
        super().apply(dense, trainable_variables)  # type: ignore[misc]


class InOneProgram:
    """Updates all variables of a replica in one program of XLA. Mixed in before a Keras optimizer.

    Keras sums each gradient over the replicas by itself, and runs a dozen operations for each variable.

    Attributes:
        jit: whether it does; else as Keras does.
    """

    jit = False
    weight_decay: float | None

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        keras_own: Any = super()
        if not self.jit:
            keras_own._apply_weight_decay(variables)

    def _all_reduce_sum_gradients(self, grads_and_vars: Iterable[Any]) -> list[Any]:
        keras_own: Any = super()
        if not self.jit or num_replicas() == 1:
            return list(keras_own._all_reduce_sum_gradients(grads_and_vars))
        gradients, variables = zip(*grads_and_vars, strict=True)
        # a gradient need not know its shape
        shapes = [variable.shape for variable in variables]
        parts = tf.split(_summed_over_replicas(gradients), [shape.num_elements() for shape in shapes])
        return [(tf.reshape(part, shape), var) for part, shape, var in zip(parts, shapes, variables, strict=True)]

    def _distributed_tf_update_step(
        self, distribution: tf.distribute.Strategy, grads_and_vars: Sequence[Any], learning_rate: Any
    ) -> None:
        keras_own: Any = super()
        if not self.jit:
            keras_own._distributed_tf_update_step(distribution, grads_and_vars, learning_rate)
            return

        def on_one_replica(_: tf.Variable, pairs: Sequence[Any], rate: Any) -> None:
            gradients, variables = zip(*pairs, strict=True)

            def update(gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
                for gradient, variable in zip(gradients, variables, strict=True):
                    if self.weight_decay and keras_own._use_weight_decay(variable):
                        variable.assign_sub(variable * tf.cast(rate * self.weight_decay, variable.dtype))
                    keras_own.update_step(gradient, variable, rate)

            tf.function(update, autograph=False, jit_compile=True)(gradients, tf.convert_to_tensor(rate))

        first_variable = grads_and_vars[0][1]
        distribution.extended.update(first_variable, on_one_replica, args=(grads_and_vars, learning_rate), group=False)


class Adam(ReplicaInvariant, InOneProgram, keras.optimizers.Adam):
    """Keras's Adam."""


class AdamW(ReplicaInvariant, InOneProgram, keras.optimizers.AdamW):
    """Keras's AdamW."""


class SGD(ReplicaInvariant, InOneProgram, keras.optimizers.SGD):
    """Keras's SGD."""


class LossScale(keras.optimizers.LossScaleOptimizer):
    """Scales the loss so that float16 can hold its gradients; leaves a step out where a gradient is not finite.

    Keras asks the first replica whether gradients are finite; here they are shares, and each replica has its own.
    """

    def check_finite(self, grads: Sequence[Any]) -> Any:
        """Whether the gradients of all replicas are finite."""
        finite = super().check_finite(grads)
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return finite
        broken = tf.cast(tf.logical_not(finite), tf.float32)
        return tf.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, broken), 0.0)


OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


def _constant(learning_rate: float, total_steps: int) -> Any:
    return learning_rate


def _cosine(learning_rate: float, total_steps: int) -> Any:
    return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=total_steps)


SCHEDULES = {"constant": _constant, "cosine": _cosine}


def make_optimizer(
    *,
    type: str,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
    global_clipnorm: float,
    schedule: str,
    total_steps: int,
    jit: bool,
) -> keras.optimizers.Optimizer:
    """Build an optimizer; call it in the strategy's scope.

    Args:
        type: a key of `OPTIMIZERS`.
        learning_rate: the first learning rate.
        weight_decay: decoupled weight decay; 0: none.
        momentum: of sgd, which alone has one; 0: none.
        global_clipnorm: largest norm of the whole gradient; 0: no limit.
        schedule: a key of `SCHEDULES`.
        total_steps: steps of the whole run, over which the schedule stretches.
        jit: whether XLA compiles the update.
    """
    # Without a name, Keras counts the optimizers of the process, and a checkpoint's names would depend on the count.
    arguments: dict[str, Any] = {"name": type, "learning_rate": SCHEDULES[schedule](learning_rate, total_steps)}
    if type == "sgd":
        arguments["momentum"] = momentum
    # Keras's AdamW has a decay of its own unless told otherwise, and refuses None.
    if weight_decay or type == "adamw":
        arguments["weight_decay"] = weight_decay
    optimizer = OPTIMIZERS[type](**arguments)
    optimizer.max_norm, optimizer.jit = global_clipnorm, jit
    return optimizer


def _clip_scale(shares: list[tf.Tensor], max_norm: float) -> tf.Tensor:
    """The factor that brings the gradient's norm down to `max_norm`: a float32 scalar, NaN for an infinite norm."""
    own = [tf.cast(share, tf.float32) for share in shares] if num_replicas() == 1 else [_summed_over_replicas(shares)]
    norm = tf.linalg.global_norm(own)
    # max_norm / max(norm, max_norm); the second summand is 0, or NaN for a norm that is infinite or NaN.
    return max_norm / tf.maximum(norm, max_norm) + (norm - norm)


def _summed_over_replicas(shares: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sums over the replicas of tensors, in a row of float32, by one message instead of one for each."""
    packed = tf.concat([tf.cast(tf.reshape(share, [-1]), tf.float32) for share in shares], axis=0)
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, packed)
