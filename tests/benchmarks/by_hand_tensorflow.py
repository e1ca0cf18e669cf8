"""The benchmarks' step by hand in TensorFlow: one program of forward, backward and AdamW on the variables.

In: a compiled case and a batch. Out: calls that run steps, and the loss.
Leaves out: the objective (`by_hand.py`, `by_hand_conv.py`).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from by_hand_conv import weights_and_objective
from step_cases import Case, ConvCase

from tdspec.run.stacks import HEIGHT, on_one_batch


class TensorFlow:
    """The objective's operations."""

    def dense(self, x: Any, kernel: Any, bias: Any) -> Any:
        # one product of two matrices, whatever the number of axes
        flat = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), kernel) + bias
        return tf.reshape(flat, (*x.shape[:-1], kernel.shape[-1]))

    def layer_norm(self, x: Any, gamma: Any, beta: Any) -> Any:
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + 1e-6) * gamma + beta

    def split_heads(self, x: Any, heads: int) -> list[Any]:
        batch, positions, width = x.shape
        x = tf.reshape(x, (batch, positions, 3, heads, width // 3 // heads))
        return tf.unstack(tf.transpose(x, (2, 0, 3, 1, 4)))

    def attention(self, query: Any, key: Any, value: Any) -> Any:
        scores = tf.matmul(query * query.shape[-1] ** -0.5, key, transpose_b=True)
        heard = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), (0, 2, 1, 3))
        return tf.reshape(heard, (*heard.shape[:2], -1))

    def gelu(self, x: Any) -> Any:
        # by erf: XLA takes longer for the erfc of tf.nn.gelu
        return 0.5 * x * (1.0 + tf.math.erf(x * 0.5**0.5))

    def relu(self, x: Any) -> Any:
        return tf.nn.relu(x)

    def join(self, *parts: Any) -> Any:
        return tf.concat(parts, axis=-1)

    def patches(self, image: Any, patch: int) -> Any:
        x = tf.cast(image, tf.float32) / 255.0
        batch, height, width, channels = x.shape
        if not patch:
            return tf.reshape(x, (batch, -1))
        x = tf.reshape(x, (batch, height // patch, patch, width // patch, patch, channels))
        return tf.reshape(tf.transpose(x, (0, 1, 3, 2, 4, 5)), (batch, -1, patch * patch * channels))

    def with_token(self, x: Any, token: Any, positions: Any) -> Any:
        return tf.concat([tf.repeat(token, x.shape[0], axis=0), x], axis=1) + positions

    def constant(self, x: Any) -> Any:
        return tf.stop_gradient(x)

    def cross_entropy(self, logits: Any, label: Any) -> Any:
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits))

    def as_float(self, image: Any) -> Any:
        return tf.cast(image, tf.float32)

    def conv(self, x: Any, kernel: Any, stride: int) -> Any:
        x, padding = self._padded(x, kernel.shape[0], stride)
        return tf.nn.conv2d(x, kernel, stride, padding)

    def depthwise(self, x: Any, kernel: Any, stride: int) -> Any:
        x, padding = self._padded(x, kernel.shape[0], stride)
        return tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), padding)

    def _padded(self, x: Any, kernel_size: int, stride: int) -> tuple[Any, str]:
        """As much on both sides, which is what TensorFlow does itself with a stride of 1."""
        if stride == 1 or kernel_size == 1:
            return x, "SAME"
        both = (kernel_size // 2,) * 2
        return tf.pad(x, ((0, 0), both, both, (0, 0))), "VALID"

    def relu6(self, x: Any) -> Any:
        return tf.nn.relu6(x)

    def batch_norm(self, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        normal, found_mean, found_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=(), variance=(), epsilon=1e-5, is_training=True
        )
        for known, found in ((mean, found_mean), (variance, found_variance)):
            known.assign_sub((known - found) * 0.1)
        return normal

    def max_pool(self, x: Any) -> Any:
        x, padding = self._padded(x, 3, 2)
        return tf.nn.max_pool2d(x, 3, 2, padding)

    def resize(self, x: Any, size: int) -> Any:
        return x if x.shape[1] == size else tf.image.resize(x, (size, size))

    def mean_position(self, x: Any) -> Any:
        return tf.reduce_mean(x, axis=(1, 2))

    def relative_l2(self, target: Any, prediction: Any) -> Any:
        spread = target - tf.reduce_mean(target, axis=0)
        return tf.reduce_sum(tf.square(target - prediction)) / tf.reduce_sum(tf.square(spread))


class Stepper:
    """Takes steps on one batch; `run(n)` runs n of them in one call of a graph."""

    def __init__(self, compiled: Any, case: Case | ConvCase, batch: Any, rate: float = 0.001):
        arrays, objective = weights_and_objective(compiled, case)
        self._frozen = {
            "teacher": [tf.constant(array) for array in arrays.pop("teacher")],
            "moving": [tf.Variable(array) for array in arrays.pop("moving")],
        }
        self._weights = {owner: [tf.Variable(array) for array in found] for owner, found in arrays.items()}
        self._flat = tf.nest.flatten(self._weights)
        self._moments = [[tf.Variable(tf.zeros_like(variable)) for variable in self._flat] for _ in range(2)]
        self._count, self._mean = tf.Variable(0.0), tf.Variable(0.0)
        self._objective, self._rate = objective(TensorFlow(), case), rate
        # XLA takes 25 times as long for depthwise convolutions on a CPU
        jit = not isinstance(case, ConvCase)
        self.loss = tf.function(lambda: self._loss(batch), jit_compile=jit, autograph=False)

        # short steps: several in one program, as tdspec has them
        short = not isinstance(case, ConvCase) and case.is_mlp
        self.run = on_one_batch(self._step, batch, HEIGHT) if short else self._one_by_one(batch, jit)

    def _one_by_one(self, batch: Any, jit: bool) -> Any:
        step = tf.function(lambda: self._step(batch), jit_compile=jit, autograph=False)

        @tf.function
        def run(num_steps: Any) -> None:
            for _ in tf.range(num_steps):
                step()

        return run

    def _loss(self, batch: Any) -> Any:
        features, label, _ = batch
        return self._objective(features["image"], label, {**self._weights, **self._frozen})

    def _step(self, batch: Any) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._flat)
            loss = self._loss(batch)
        gradients = tape.gradient(loss, self._flat)
        self._count.assign_add(1.0)
        self._mean.assign_add((loss - self._mean) / self._count)
        rate = self._rate * tf.sqrt(1.0 - 0.999**self._count) / (1.0 - 0.9**self._count)
        for variable, gradient, first, second in zip(self._flat, gradients, *self._moments, strict=True):
            first.assign_add((gradient - first) * 0.1)
            second.assign_add((tf.square(gradient) - second) * 0.001)
            variable.assign_sub(rate * first / (tf.sqrt(second) + 1e-7))
