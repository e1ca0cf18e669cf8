"""What the processes of a multi-worker run agree on, and what the first of them, the chief, does for all.

In: a strategy. Out: a `Team`; without several workers it is a team of one, to whom everything comes for free.
All workers call the same methods in the same order: each is a collective operation, and one that only some start
never ends. Leaves out: who the workers are (`cluster.py`), the steps (`loop.py`).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tdspec.errors import RunError, TdspecError
from tdspec.run.cluster import CHIEF_ENDED, read_cluster

Value = TypeVar("Value")
Array = NDArray[Any]
# Texts are sent in arrays of few different sizes, since each size builds a graph of its own.
SMALLEST_TEXT = 64
# What TensorFlow raises where a worker is gone, at once or when it has missed some heartbeats; or it says so.
GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError, tf.errors.CancelledError)
ABORTED = "Collective ops is aborted"


@dataclass(frozen=True)
class Team:
    """The workers of a run, and this one's place among them.

    Attributes:
        strategy: under which they train.
        index: of this worker; the chief's is 0.
        size: how many there are.
    """

    strategy: tf.distribute.Strategy
    index: int
    size: int

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that writes the run folder; where there is only one, it is."""
        return self.index == 0

    def as_chief(self, task: Callable[[], Value]) -> Value:
        """Let the chief do something that the others learn of.

        Args:
            task: done by the chief alone; returns what JSON can say, and starts nothing collective.

        Returns:
            What it returned, on every worker.

        Raises:
            TdspecError: what it raised, on every worker.
        """
        if self.size == 1:
            return task()
        failure: TdspecError | None = None
        outcome: Any = None
        if self.is_chief:
            try:
                outcome = {"value": task()}
            except TdspecError as error:
                failure = error
                outcome = {"error": error.message, "hint": error.hint}
        said = json.loads(self.exchange(json.dumps(outcome))[0])
        if failure is not None:
            raise failure
        if "error" in said:
            raise RunError(f"{CHIEF_ENDED}: {said['error']}", said["hint"])
        value: Value = said["value"]
        return value

    def chief_first(self, task: Callable[[], Value]) -> Value:
        """Do something on every worker, by the chief before the others, who find what it has downloaded."""
        done: list[Value] = []
        self.as_chief(lambda: done.append(task()))
        return done[0] if done else task()

    def exchange(self, text: str) -> list[str]:
        """Tell every worker a text.

        Returns:
            What each of them told, in their order.
        """
        if self.size == 1:
            return [text]
        data = np.frombuffer(text.encode(), np.uint8)
        lengths = np.zeros(self.size)
        lengths[self.index] = len(data)
        lengths = self._total(lengths)
        room = SMALLEST_TEXT
        while room < lengths.max():
            room *= 2
        rows = np.zeros((self.size, room))
        rows[self.index, : len(data)] = data
        rows = self._total(rows)
        return [bytes(row[: int(length)].astype(np.uint8)).decode() for row, length in zip(rows, lengths, strict=True)]

    def agree(self, number: int, *, stop: bool) -> tuple[int, bool]:
        """The chief's number, and whether any worker wants to stop."""
        if self.size == 1:
            return number, stop
        total = self._total(np.array([number * self.is_chief, stop], np.float64))
        return int(total[0]), bool(total[1])

    def share(self, variables: Sequence[keras.Variable]) -> None:
        """Give every worker the chief's values of variables, the same ones in the same order on all."""
        if self.size == 1:
            return
        for variable in variables:
            # Numbers that floats of 32 bits cannot hold: counts of steps, seeds.
            is_float = keras.backend.is_float_dtype(variable.dtype) and variable.dtype != "float64"
            value = np.asarray(keras.ops.convert_to_numpy(variable)).astype("float32" if is_float else "float64")
            total = self._total(value if self.is_chief else np.zeros_like(value))
            if not self.is_chief:
                variable.assign(tf.cast(total, variable.dtype))

    def refuse_differences(self, **hashes: str) -> None:
        """Compare what must be the same everywhere.

        Args:
            hashes: of this worker, by what is compared.

        Raises:
            RunError: another than the chief has something else; on every worker.
        """
        told = [json.loads(text) for text in self.exchange(json.dumps(hashes))]
        for index, others in enumerate(told):
            wrong = [name for name, value in others.items() if value != told[0][name]]
            if wrong:
                message = f"worker {index} and the chief differ in their {wrong[0]}"
                raise RunError(message, "give every worker the same spec, the same data and the same versions")

    def refuse_uneven(self, batch_size: int) -> None:
        """Refuse batches that several workers cannot share out evenly.

        Raises:
            RunError: `batch_size` is no multiple of all their devices.
        """
        num_replicas = self.strategy.num_replicas_in_sync
        if self.size > 1 and batch_size % num_replicas:
            message = f"data.batch_size is {batch_size}, expected a multiple of {num_replicas}, the workers' devices"
            raise RunError(message, f"write {batch_size + num_replicas - batch_size % num_replicas}")

    def _total(self, values: Array) -> Array:
        """The sum over the workers, float32 or float64."""
        return _summing(self.strategy, self.size)(tf.constant(values)).numpy()

    @contextmanager
    def lost_is_an_error(self) -> Iterator[None]:
        """Turn what TensorFlow raises where another worker is gone into a RunError that says so."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.size == 1 or not (isinstance(error, GONE) or ABORTED in str(error)):
                raise
            raise RunError(
                f"worker {self.index} of {self.size} stops, since another one has ended",
                "what ended it is in its own output; start all of them again with --resume",
            ) from error


def team_of(strategy: tf.distribute.Strategy) -> Team:
    """The team that trains under a strategy."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return Team(strategy, 0, 1)
    cluster = read_cluster(os.environ)
    return Team(strategy, cluster.index, len(cluster.addresses))


@functools.cache
def _summing(strategy: tf.distribute.Strategy, size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """An array of each worker -> their sum, exact where all but one are 0."""
    num_local = strategy.num_replicas_in_sync // size

    def on_replica(values: tf.Tensor) -> tf.Tensor:
        context: Any = tf.distribute.get_replica_context()
        # One replica speaks for its worker.
        speaks = tf.equal(context.replica_id_in_sync_group % num_local, 0)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(speaks, values, tf.zeros_like(values)))

    @tf.function(autograph=False)
    def total(values: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(strategy.run(on_replica, args=(values,)))[0]

    return total
