"""What a Distiller logs: running means of its terms, and the figure its task is judged by.

In: the terms' values on a batch, in a replica's context. Out: Keras metrics, which sum over replicas when read.
Leaves out: computing the values (`distiller.py`), writing them down (`run/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tdspec.graph.across import REPLICAS
from tdspec.graph.step import Batch
from tdspec.graph.terms import Term
from tdspec.spec.figures import FIGURES, MORE_IS_BETTER

Tensor = Any


# What computes the figure of each task.
TASK_METRICS: dict[str, Callable[..., keras.metrics.Metric]] = {
    "classification": keras.metrics.SparseCategoricalAccuracy,
    "regression": keras.metrics.RootMeanSquaredError,
    "binary": partial(keras.metrics.BinaryAccuracy, threshold=0.0),
    "multilabel": partial(keras.metrics.BinaryAccuracy, threshold=0.0),
}


class Sums(keras.metrics.Metric):
    """The sums behind several running means, in two variables: to update each by itself is what a small step waits for.

    Args:
        names: of the means.
    """

    def __init__(self, names: Sequence[str]):
        super().__init__(name="sums")
        self.names = tuple(names)
        self.totals = self.add_variable((len(names),), "zeros", name="totals")
        self.counts = self.add_variable((len(names),), "zeros", name="counts")

    def update_state(self, found: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Add totals and counts, scalars, to the means that are named."""
        pairs = {name: (0.0, 0.0) for name in self.names} | dict(found)
        for variable, added in zip((self.totals, self.counts), zip(*pairs.values(), strict=True), strict=True):
            variable.assign_add(ops.stack([ops.cast(value, "float32") for value in added]))

    def result(self) -> dict[str, Tensor]:
        """All means by name, totals over counts; 0 before the first. Each variable is read once, for all of them."""
        means = ops.unstack(ops.divide_no_nan(self.totals, self.counts), len(self.names))
        return dict(zip(self.names, means, strict=True))


class Mean(keras.metrics.Metric):
    """One of the means, for those who read metrics one by one; updated through `sums`."""

    def __init__(self, sums: Sums, name: str):
        super().__init__(name=name)
        self.sums = sums

    def result(self) -> Tensor:
        """The mean."""
        return self.sums.result()[self.name]

    def reset_state(self) -> None:
        """Start anew, as all others of the same sums do."""
        self.sums.reset_state()


class Records:
    """The running means of a run's objective.

    Args:
        terms: the objective.
        task_type: "classification", "regression", "binary" or "multilabel".

    Attributes:
        task_metric: the figure the task is judged by.
        more_is_better: of that figure.
    """

    def __init__(self, terms: tuple[Term, ...], task_type: str):
        self._labelled = frozenset(term.name for term in terms if term.needs_label)
        self._names = ("loss", *(term.name for term in terms))
        self._sums = Sums(tuple(dict.fromkeys((*self._names, "task"))))
        self._means = {name: Mean(self._sums, name) for name in self._sums.names}
        figure = FIGURES[task_type]
        self.task_metric, self.more_is_better = TASK_METRICS[task_type](name=figure), MORE_IS_BETTER[figure]

    @property
    def all(self) -> list[keras.metrics.Metric]:
        """Of the objective, of each term, of the task's loss, and the task's figure."""
        return [*self._means.values(), self.task_metric]

    def trained(self, values: Mapping[str, Tensor], share: Tensor, batch: Batch, prediction: Tensor) -> None:
        """Add a batch of training.

        Args:
            values: by term, (batch,) float32, weighted already where the term needs the label.
            share: this replica's part of the objective, a scalar.
            batch: of this replica.
            prediction: (batch, ...) of the student.
        """
        weight = ops.sum(batch.sample_weight)
        examples = ops.sum(ops.ones_like(batch.sample_weight))
        found = {
            name: (ops.sum(value), weight if name in self._labelled else examples) for name, value in values.items()
        }
        self._sums.update_state({"loss": (share * num_replicas(), 1.0), **found})
        self.task_metric.update_state(batch.label, prediction, batch.sample_weight)

    def tested(self, value: Tensor, batch: Batch, prediction: Tensor) -> None:
        """Add a batch of evaluation; `value` is the task's loss, (batch,)."""
        weight = batch.sample_weight
        self._sums.update_state({"task": (ops.sum(value * weight), ops.sum(weight))})
        self.task_metric.update_state(batch.label, prediction, weight)

    def of_training(self) -> dict[str, Tensor]:
        """By name, what `trained` counts."""
        means = self._sums.result()
        return {name: means[name] for name in self._names} | {self.task_metric.name: self.task_metric.result()}

    def of_test(self) -> dict[str, Tensor]:
        """By name, what `tested` counts."""
        return {"task": self._sums.result()["task"], self.task_metric.name: self.task_metric.result()}


def num_replicas() -> int:
    """How many replicas there are, in the context of one or outside."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def num_examples(term: Term, sample_weight: Tensor) -> Tensor:
    """How many examples of all replicas the mean of a term is over; a scalar above 0."""
    counted = sample_weight if term.needs_label else ops.ones_like(sample_weight)
    return ops.maximum(REPLICAS.sum(counted), keras.config.epsilon())
