"""How a step reaches the processor: compiled by XLA as a whole, or in part, or not at all.

In: a `StepModel` (the Distiller) and a batch. Out: the model after one step.
Without a strategy the step is one XLA program: forward, terms, gradients, optimizer, running means. From within a
program replicas cannot talk, nor Keras's optimizers update a strategy's variables: under one, the forward pass and its
gradient are programs, pure functions of values, and the terms, which sum over the replicas, stay outside.
Leaves out: what a step does (`distiller.py`), how a function becomes a program (`programs.py`, `halves.py`).
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import keras
import tensorflow as tf
from absl import logging

from tdspec.errors import GraphError
from tdspec.graph.accumulation import InMicroBatches, Pure
from tdspec.graph.flops import CONVOLUTIONS
from tdspec.graph.halves import Uncuttable, in_halves
from tdspec.graph.programs import SOME_SIZE, Lowered, Program, Unfit, lowered, on_gpu

Tensor = Any
Made = TypeVar("Made")
# Features -> tensors of the graph by name.
Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
# FLOPs of a step of which a hundredth goes into calling its program, 0.8 ms on two cores. A loop over steps is called
# once, but in it XLA's code for the gradient of a convolution's kernel is 100 times as slow
# (tests/benchmarks/stacks.py).
SHORT = 10**10
# FLOPs within these are not counted.
LOOPS = frozenset({"While", "StatelessWhile"})
JIT_WORDS = ("auto", "on", "off")
SYNCHRONIZED = "the student's BatchNormalization sums over the replicas, which no XLA program can"


class Batch(NamedTuple):
    """Features by name; label (batch,) or (batch, classes); sample_weight (batch,) float32."""

    features: Mapping[str, Tensor]
    label: Tensor
    sample_weight: Tensor


class StepModel(Protocol):
    """What a step needs of a Distiller."""

    trained_variables: list[keras.Variable]
    student: keras.Model
    output: Mapping[str, keras.KerasTensor]
    teachers: Sequence[Any]  # whose `model` no step changes

    @property
    def variables(self) -> list[keras.Variable]: ...

    def __call__(self, features: Any, *, training: bool) -> Mapping[str, Tensor]: ...

    def update(self, batch: Batch, trained: Sequence[Tensor], forward: Forward) -> None:
        """One step, with the gradients of `trained`, which `forward` computes from."""


@dataclass(frozen=True)
class Xla:
    """What XLA makes of a step.

    Attributes:
        compiles: whether it runs by XLA.
        why_not: where XLA was asked for and does not compile it; else "".
        repeats: whether several steps do well in one program.
    """

    compiles: bool
    why_not: str = ""
    repeats: bool = False


class Step:
    """Runs a step in a replica's context.

    Args:
        model: whose step it is.
        jit: "auto": by XLA where that is possible, saying once where it is not; "on": or else an error; "off".
        accumulate_steps: micro-batches in which a replica's part of a batch passes the models.

    Attributes:
        xla: what came of the last kind of batch that was prepared.
    """

    def __init__(self, model: StepModel, jit: str, accumulate_steps: int = 1):
        if jit not in JIT_WORDS:
            raise ValueError(f"jit is '{jit}', expected one of {', '.join(JIT_WORDS)}")
        self._model, self._jit, self._accumulate_steps = model, jit, accumulate_steps
        trained = {id(variable) for variable in model.trained_variables}
        self._others = [variable for variable in model.variables if id(variable) not in trained]
        frozen = {id(variable) for teacher in model.teachers for variable in teacher.model.variables}
        self._state = [number for number, variable in enumerate(self._others) if id(variable) not in frozen]
        self._changed: list[keras.Variable] = []
        self._programs: dict[str, Program | None] = {}
        self.xla = Xla(False)

    def __call__(self, batch: Batch) -> None:
        """One step on this replica's part of a batch.

        Raises:
            GraphError: jit is "on", and XLA cannot compile the model.
        """
        strategy = tf.distribute.get_strategy()
        program = self.prepare(batch, strategy)
        if program is None:
            self._plain(batch)
        elif _is_default(strategy):
            program(batch)
        else:
            self._by_parts(batch, program)

    def prepare(self, batch: Batch, strategy: tf.distribute.Strategy) -> Program | None:
        """Find out what XLA makes of the step, once for each kind of batch.

        Args:
            batch: this replica's part of a batch, or its `tf.TensorSpec`s.
            strategy: under which the step will run.

        Returns:
            A program, or None where XLA makes nothing of it.

        Raises:
            GraphError: jit is "on", and XLA cannot compile the model.
        """
        if self._jit == "off":
            return None
        described = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), batch)
        key = str(tf.nest.flatten(described))
        if key not in self._programs:
            self._programs[key] = self._found(described, strategy)
        return self._programs[key]

    def _found(self, described: Batch, strategy: tf.distribute.Strategy) -> Program | None:
        if self._talks(strategy):
            reason, hint = SYNCHRONIZED, "write train.synchronize_batch_norm: false"
        else:
            try:
                return self._compiled(described, whole=_is_default(strategy))
            except Unfit as error:
                reason, hint = str(error), "write jit: auto, or jit: off"
        if self._jit == "on":
            raise GraphError(f"train.jit is on, but {reason}", hint)
        self.xla = Xla(False, f"the step runs without XLA: {reason}")
        logging.warning("%s", self.xla.why_not)
        return None

    def _talks(self, strategy: tf.distribute.Strategy) -> bool:
        """Whether replicas talk within the forward pass."""
        layers = self._model.student._flatten_layers()
        return strategy.num_replicas_in_sync > 1 and any(map(_sums_over_replicas, layers))

    def _compiled(self, batch: Batch, *, whole: bool) -> Program:
        if whole:
            program = _in_new_thread(lambda: self._whole(batch))
            self.xla = Xla(True, repeats=_repeats(program, batch))
            return program
        parts = _in_new_thread(lambda: self._parts(batch))
        self.xla = Xla(True)
        return parts

    def _lowered(self, function: Callable[..., Any], arguments: Any) -> Lowered:
        size = SOME_SIZE * self._accumulate_steps
        return lowered(function, arguments, size, where_faster=self._jit == "auto")

    def _whole(self, batch: Batch) -> Lowered:
        return self._lowered(lambda *given: self._plain(*given), (batch,))

    def _parts(self, batch: Batch) -> Program:
        groups = (self._model.trained_variables, self._others)
        values = [[tf.TensorSpec(variable.shape, variable.dtype) for variable in group] for group in groups]
        arguments = (*values, batch.features)
        program = self._lowered(self._forward, arguments)
        if self._accumulate_steps > 1:
            return program
        try:
            return in_halves(self._forward, arguments)
        except Uncuttable:
            return program

    def _plain(self, batch: Batch) -> None:
        if self._accumulate_steps > 1:
            self._by_parts(batch, self._forward)
            return
        self._model.update(batch, values_of(self._model.trained_variables), self._run_layers)

    def _run_layers(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self._model(features, training=True)

    def _by_parts(self, batch: Batch, program: Program) -> None:
        trained, others = (
            [tf.convert_to_tensor(value) for value in values_of(group)]
            for group in (self._model.trained_variables, self._others)
        )

        def forward(features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            tensors, changes = program(trained, others, features)
            for variable, value in zip(self._changed, changes, strict=True):
                variable.assign(value)
            return tensors

        self._model.update(batch, trained, forward)

    def _forward(
        self, trained: Sequence[Tensor], others: Sequence[Tensor], features: Mapping[str, Tensor]
    ) -> tuple[Mapping[str, Tensor], list[Tensor]]:
        """(values of variables, features) -> (tensors of the graph, new values of `_changed`); touches no variable."""
        # TensorFlow's gradient of a program, which a model with a loop has, is that of all its arguments.
        others, features = tf.nest.map_structure(tf.stop_gradient, (list(others), dict(features)))
        run: Pure = partial(self._run_once, others)
        if self._accumulate_steps > 1:
            dtypes = {name: tensor.dtype for name, tensor in self._model.output.items()}
            unrolled = self._talks(tf.distribute.get_strategy())
            run = InMicroBatches(run, self._accumulate_steps, dtypes, unrolled=unrolled)
        state = [others[number] for number in self._state]
        tensors, after = run(trained, state, features)
        changes = [
            (self._others[number], new)
            for number, old, new in zip(self._state, state, after, strict=True)
            if new is not old
        ]
        # Batch statistics, and the seeds of dropout.
        self._changed = [variable for variable, _ in changes]
        return tensors, [value for _, value in changes]

    def _run_once(
        self,
        others: Sequence[Tensor],
        trained: Sequence[Tensor],
        state: Sequence[Tensor],
        features: Mapping[str, Tensor],
    ) -> tuple[Mapping[str, Tensor], list[Tensor]]:
        """(all other values, trained values, those of the state, features) -> (tensors, the state's new values)."""
        known = [*zip(self._model.trained_variables, trained, strict=True), *zip(self._others, others, strict=True)]
        moving = [self._others[number] for number in self._state]
        with keras.StatelessScope([*known, *zip(moving, state, strict=True)]) as scope:
            tensors = self._run_layers(features)
        return tensors, [scope.get_current_value(variable) for variable in moving]


def part_of(spec: tf.TensorSpec, num_replicas: int) -> tf.TensorSpec:
    """What one replica gets of a batch."""
    size = spec.shape[0]
    return tf.TensorSpec([None if size is None else size // num_replicas, *spec.shape[1:]], spec.dtype)


def values_of(variables: Sequence[keras.Variable]) -> list[Tensor]:
    """What a tape watches."""
    return [variable.value for variable in variables]


def _repeats(program: Lowered, batch: Batch) -> bool:
    """Whether steps do well in one loop: they are short, can be stacked, and have nothing that is slow in a loop."""
    stackable = all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(batch))
    short = program.flops.total() < SHORT and not LOOPS & program.operations
    return stackable and short and not on_gpu() and not CONVOLUTIONS.keys() & program.operations


def _is_default(strategy: tf.distribute.Strategy) -> bool:
    """Whether it is what holds where no strategy was made; in a replica's context, of the strategy that runs it."""
    if tf.distribute.has_strategy():
        return False
    with strategy.scope():
        return not tf.distribute.has_strategy()


def _sums_over_replicas(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.synchronized and layer.trainable


@tf.autograph.experimental.do_not_convert
def _in_new_thread(task: Callable[[], Made]) -> Made:
    """Run a task outside the graph and the strategy in which this thread is; what it raises is raised here."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(task).result()
