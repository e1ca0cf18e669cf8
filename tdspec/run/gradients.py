"""How strongly each term pulls at the student, measured on a batch; nothing is trained, and no variable changes.

In: a compiled Distiller and global batches. Out: `Pull`s, shares of the gradient, factors that balance the terms.
Terms are measured without their weights: one whose weight is 0 just now is not dead.
Leaves out: what is said about them (`preflight.py`, `diagnostics.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tdspec.graph.across import sum_over_replicas
from tdspec.graph.distiller import Distiller
from tdspec.graph.records import num_examples

# A term that hardly pulls at all is not made the loudest.
LARGEST_FACTOR = 1e6
PARTS = ("low", "high")  # of the student


@dataclass(frozen=True)
class Pull:
    """One term on a batch, before its weight.

    Attributes:
        value: its mean over the batch.
        low, high: norm of its gradient in the student's lower and middle part.
        anywhere: norm of its gradient in all that is trained.
    """

    value: float
    low: float
    high: float
    anywhere: float

    @property
    def student(self) -> float:
        """Norm of its gradient in the student's lower and middle part together."""
        return math.hypot(self.low, self.high)

    @property
    def is_finite(self) -> bool:
        return all(math.isfinite(number) for number in (self.value, self.low, self.high, self.anywhere))


def student_parts(distiller: Distiller) -> tuple[list[keras.Variable], list[keras.Variable]]:
    """The trained variables of the student's low and high layers; of a student that is not cut, the two halves."""
    segments = distiller.student_segments
    if segments is not None:
        return list(segments.lower.trainable_variables), list(segments.middle.trainable_variables)
    variables = list(distiller.student.trainable_variables)
    half = (len(variables) + 1) // 2
    return variables[:half], variables[half:]


class PullMeter:
    """Measures the terms of a Distiller in training mode, dropout and batch statistics included.

    Args:
        distiller: compiled and built in the strategy's scope.
        strategy: what it was made under.
    """

    def __init__(self, distiller: Distiller, strategy: tf.distribute.Strategy):
        self.names = tuple(term.name for term in distiller.terms)
        self._strategy = strategy
        parts = [{id(variable) for variable in part} for part in student_parts(distiller)]
        trained = distiller.trained_variables
        self._members = [*([id(variable) in part for variable in trained] for part in parts), [True] * len(trained)]
        self._connected: dict[str, bool] = {}
        # Leaving a scope gives values to the variables that have none, of models that were only looked at. Here, since
        # within a function it would count as making variables, for which TensorFlow traces the function twice.
        with keras.StatelessScope():
            pass

        def on_replica(batch: Any) -> tf.Tensor:
            features, label, sample_weight = batch
            sample_weight = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
            # What a forward pass would change (batch statistics, the seeds of dropout) stays in the scope.
            with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
                tensors = distiller(features, training=True)
                values = distiller.term_values(tensors, label, sample_weight)
                # This replica's part of each mean.
                means = {
                    term.name: ops.sum(values[term.name]) / num_examples(term, sample_weight)
                    for term in distiller.terms
                }
            rows = []
            for name in self.names:
                gradients = tape.gradient(means[name], [variable.value for variable in trained])
                self._connected[name] = any(gradient is not None for gradient in gradients)
                rows.append(tf.concat([sum_over_replicas(means[name][None])[None], self._norms(gradients)], axis=0))
            return tf.stack(rows)

        @tf.function
        def measure(batch: Any) -> tf.Tensor:
            results = strategy.run(tf.autograph.experimental.do_not_convert(on_replica), args=(batch,))
            return strategy.experimental_local_results(results)[0]

        self._measure = measure

    def _norms(self, gradients: Sequence[Any]) -> tf.Tensor:
        """Norms over low, high and everything, of the gradients that all replicas add up to."""
        # One tensor has one order of adding up; tf.add_n begins with whichever of its inputs is free first.
        squares = tf.stack([tf.zeros(()) if gradient is None else _square(gradient) for gradient in gradients])
        return tf.sqrt(tf.reduce_sum(tf.where(self._members, squares, 0.0), axis=1))

    def __call__(self, batch: Any) -> dict[str, Pull]:
        """The pull of each term on a global batch (features, label, sample_weight)."""
        table = np.asarray(self._measure(batch).numpy(), np.float64)
        return {name: Pull(*map(float, row)) for name, row in zip(self.names, table, strict=True)}

    def is_connected(self, name: str) -> bool:
        """Whether the graph leads from a term to anything that is trained; known after the first batch."""
        return self._connected[name]


def _square(gradient: Any) -> tf.Tensor:
    """The squared norm of a gradient, of which each replica has a part; embeddings have sparse ones."""
    whole = sum_over_replicas(tf.convert_to_tensor(gradient)[None])
    return tf.reduce_sum(tf.square(tf.cast(whole, tf.float32)))


def mean_pull(pulls: Sequence[Mapping[str, Pull]]) -> dict[str, Pull]:
    """The mean of each number over batches."""
    return {
        name: Pull(*(float(np.mean([getattr(pull[name], key) for pull in pulls])) for key in Pull.__annotations__))
        for name in pulls[0]
    }


def weights_now(distiller: Distiller) -> dict[str, float]:
    """The factor of each term at this step of its schedule."""
    return {term.name: float(ops.convert_to_numpy(distiller.weight_now(term))) for term in distiller.terms}


def full_weights(distiller: Distiller) -> dict[str, float]:
    """The factor of each term where its schedule is at its highest: its weight, times what balances it."""
    return {term.name: term.weight * float(distiller.term_factors[term.name].numpy()) for term in distiller.terms}


def shares(pulls: Mapping[str, Pull], weights: Mapping[str, float], part: str) -> dict[str, float]:
    """Each term's share of the gradient in a part ("low", "high", "student"); they add up to 1, or are all 0."""
    norms = {name: weights[name] * float(getattr(pull, part)) for name, pull in pulls.items()}
    total = sum(norms.values())
    return {name: norm / total if total > 0 else 0.0 for name, norm in norms.items()}


def balancing_factors(pulls: Mapping[str, Pull]) -> dict[str, float]:
    """The factor of each term with which it pulls at the student as strongly as the task's loss does.

    Terms without a gradient there keep 1. The weights then say what they seem to say: how strongly a term pulls.
    """
    task = pulls["task"].student
    factors = {}
    for name, pull in pulls.items():
        factor = task / pull.student if pull.student > 0 and task > 0 else 1.0
        factors[name] = float(np.float32(min(factor, LARGEST_FACTOR)))
    return factors


def set_term_factors(distiller: Distiller, factors: Mapping[str, float]) -> None:
    """Set the factors beside the weights of the terms."""
    for name, factor in factors.items():
        distiller.term_factors[name].assign(factor)


def first_batches(batches: tf.data.Dataset, strategy: tf.distribute.Strategy, most: int) -> list[Any]:
    """The first global batches of a dataset as the strategy distributes them, kept in memory."""
    distributed: Iterable[Any] = strategy.experimental_distribute_dataset(batches.take(most))
    return list(distributed)
