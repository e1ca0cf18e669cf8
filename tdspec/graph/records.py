"""What a Distiller logs: running means of its terms, and the figure its task is judged by.

In: the terms' values on a batch, in a replica's context. Out: Keras metrics, which sum over replicas when read.
Leaves out: computing the values (`distiller.py`), writing them down (`run/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tdspec.graph.step import Batch
from tdspec.graph.terms import Term

Tensor = Any


def _accuracy() -> keras.metrics.Metric:
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _binary_accuracy() -> keras.metrics.Metric:
    return keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)


def _rmse() -> keras.metrics.Metric:
    return keras.metrics.RootMeanSquaredError(name="rmse")


# The figure a task is judged by, and whether more is better.
TASK_METRICS: dict[str, tuple[Callable[[], keras.metrics.Metric], bool]] = {
    "classification": (_accuracy, True),
    "regression": (_rmse, False),
    "binary": (_binary_accuracy, True),
    "multilabel": (_binary_accuracy, True),
}


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
        self._means = {name: keras.metrics.Mean(name=name) for name in ("loss", *(term.name for term in terms))}
        make_metric, self.more_is_better = TASK_METRICS[task_type]
        self.task_metric = make_metric()
        self._task_mean = self._means.get("task") or keras.metrics.Mean(name="task")

    @property
    def all(self) -> list[keras.metrics.Metric]:
        """Of the objective, of each term, of the task's loss, and the task's figure."""
        means = {id(mean): mean for mean in (*self._means.values(), self._task_mean)}
        return [*means.values(), self.task_metric]

    def trained(self, values: Mapping[str, Tensor], share: Tensor, batch: Batch, prediction: Tensor) -> None:
        """Add a batch of training.

        Args:
            values: by term, (batch,) float32, weighted already where the term needs the label.
            share: this replica's part of the objective, a scalar.
            batch: of this replica.
            prediction: (batch, ...) of the student.
        """
        weight = batch.sample_weight
        self._means["loss"].update_state(share * num_replicas())
        for name, value in values.items():
            if name in self._labelled:
                # the mean weighs by count, so hand it the sum over the weights
                self._means[name].update_state(value / ops.where(weight > 0, weight, 1.0), weight)
            else:
                self._means[name].update_state(value)
        self.task_metric.update_state(batch.label, prediction, weight)

    def tested(self, value: Tensor, batch: Batch, prediction: Tensor) -> None:
        """Add a batch of evaluation; `value` is the task's loss, (batch,)."""
        self._task_mean.update_state(value, batch.sample_weight)
        self.task_metric.update_state(batch.label, prediction, batch.sample_weight)

    def of_training(self) -> dict[str, Tensor]:
        """By name, what `trained` counts."""
        return {metric.name: metric.result() for metric in (*self._means.values(), self.task_metric)}

    def of_test(self) -> dict[str, Tensor]:
        """By name, what `tested` counts."""
        return {metric.name: metric.result() for metric in (self._task_mean, self.task_metric)}


def num_replicas() -> int:
    """How many replicas there are, in the context of one or outside."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)
