"""The heart of a training step: one forward pass, the terms and their gradients, as a pure function that XLA compiles.

In: a `StepModel` (the Distiller) and a batch. Out: an `Outcome`; what a forward pass changes, it has changed.
With one replica all of it is one XLA program. Replicas cannot talk from within one: with several, the forward pass and
its gradient are XLA programs, and the terms, which sum over the replicas, stay outside.
Leaves out: what the terms are (`terms.py`), the optimizer and the metrics (`distiller.py`).
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf
from absl import logging

from tdspec.errors import GraphError
from tdspec.graph.reasons import first_sentence

Tensor = Any
Program = Callable[..., Any]
JIT_WORDS = ("auto", "on", "off")
# A size that is not known when a model is tried: any will do, as long as it is one.
SOME_SIZE = 2
SYNCHRONIZED = "the student's BatchNormalization sums over the replicas, which no XLA program can"


class Batch(NamedTuple):
    """Features by name; label (batch,) or (batch, classes); sample_weight (batch,) float32."""

    features: Mapping[str, Tensor]
    label: Tensor
    sample_weight: Tensor


class Outcome(NamedTuple):
    """Of one replica: gradients of its share of the objective, one a trained variable, None where there is none.

    Attributes:
        gradients: of `scale` times the share.
        values: each term before its weight, (batch,).
        share: a scalar; the shares of all replicas add up to the objective.
        prediction: the student's.
    """

    gradients: Sequence[Tensor | None]
    values: Mapping[str, Tensor]
    share: Tensor
    prediction: Tensor


class StepModel(Protocol):
    """What a step needs of a Distiller."""

    trained_variables: list[keras.Variable]

    @property
    def variables(self) -> list[keras.Variable]: ...

    @property
    def student(self) -> keras.Model: ...

    def __call__(self, features: Any, training: bool) -> Mapping[str, Tensor]: ...

    def term_values(
        self, tensors: Mapping[str, Tensor], label: Tensor, sample_weight: Tensor
    ) -> Mapping[str, Tensor]: ...

    def loss_share(
        self, values: Mapping[str, Tensor], weights: Mapping[str, Tensor], sample_weight: Tensor
    ) -> Tensor: ...


class Step:
    """Runs the heart of a step in a replica's context, compiled by XLA or not.

    Args:
        model: whose step it is.
        jit: "auto": by XLA where that is possible, saying once where it is not; "on": or else an error; "off".
    """

    def __init__(self, model: StepModel, jit: str):
        if jit not in JIT_WORDS:
            raise ValueError(f"jit is '{jit}', expected one of {', '.join(JIT_WORDS)}")
        self._model, self._jit = model, jit
        trained = {id(variable) for variable in model.trained_variables}
        self._others = [variable for variable in model.variables if id(variable) not in trained]
        self._changed: list[keras.Variable] = []
        self._programs: dict[Any, Program | None] = {}

    def __call__(self, batch: Batch, weights: Mapping[str, Tensor], scale: Tensor) -> Outcome:
        """One forward pass and its gradients.

        Args:
            batch: of this replica.
            weights: the factor of each term at this step.
            scale: what the share is multiplied by before its gradient is taken, for formats with few exponents.

        Raises:
            GraphError: jit is "on", and XLA cannot compile the model.
        """
        num_replicas = _num_replicas()
        program = self.prepare(batch, weights, scale, num_replicas=num_replicas)
        trained = [tf.convert_to_tensor(variable.value) for variable in self._model.trained_variables]
        if program is None:
            # Not in a stateless scope: what the pass changes, it changes itself.
            return self._gradients(trained_values(self._model), batch, weights, scale, self._run_layers)
        others = [tf.convert_to_tensor(variable.value) for variable in self._others]
        if num_replicas == 1:
            outcome, changes = program(trained, others, batch, weights, scale)
        else:
            kept: list[Tensor] = []

            def run(features: Any) -> Mapping[str, Tensor]:
                tensors, changed = program(trained, others, features)
                kept.extend(changed)
                return tensors

            outcome, changes = self._gradients(trained, batch, weights, scale, run), kept
        for variable, value in zip(self._changed, changes, strict=True):
            variable.assign(value)
        return outcome

    def _run_layers(self, features: Any) -> Mapping[str, Tensor]:
        return self._model(features, training=True)

    def _gradients(
        self,
        trained: Sequence[Tensor],
        batch: Batch,
        weights: Mapping[str, Tensor],
        scale: Tensor,
        forward: Callable[[Any], Mapping[str, Tensor]],
    ) -> Outcome:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            # Only these: no gradient of the teacher's weights, no activation of its pass on the data is kept.
            tape.watch(trained)
            tensors = forward(batch.features)
            values = self._model.term_values(tensors, batch.label, batch.sample_weight)
            share = self._model.loss_share(values, weights, batch.sample_weight)
            scaled = share * scale
        # Embeddings have sparse gradients; as whole ones they are the same with XLA and without.
        gradients = [
            None if gradient is None else tf.convert_to_tensor(gradient) for gradient in tape.gradient(scaled, trained)
        ]
        return Outcome(gradients, values, share, tensors["student_prediction"])

    def _whole(
        self,
        trained: Sequence[Tensor],
        others: Sequence[Tensor],
        batch: Batch,
        weights: Mapping[str, Tensor],
        scale: Tensor,
    ) -> tuple[Outcome, list[Tensor]]:
        """(values of variables, batch) -> (outcome, new values of `_changed`); reads and writes no variable."""
        with self._scope(trained, others) as scope:
            outcome = self._gradients(trained, batch, weights, scale, self._run_layers)
            return outcome, self._changes(scope, others)

    def _forward(
        self, trained: Sequence[Tensor], others: Sequence[Tensor], features: Any
    ) -> tuple[Mapping[str, Tensor], list[Tensor]]:
        """(values of variables, features) -> (tensors of the graph, new values of `_changed`)."""
        with self._scope(trained, others) as scope:
            return self._run_layers(features), self._changes(scope, others)

    def _scope(self, trained: Sequence[Tensor], others: Sequence[Tensor]) -> keras.StatelessScope:
        variables = [*self._model.trained_variables, *self._others]
        return keras.StatelessScope(list(zip(variables, [*trained, *others], strict=True)))

    def _changes(self, scope: keras.StatelessScope, others: Sequence[Tensor]) -> list[Tensor]:
        """The new values of what the pass has changed: batch statistics, the seeds of dropout."""
        pairs = [(variable, scope.get_current_value(variable)) for variable in self._others]
        changes = [(variable, new) for (variable, new), old in zip(pairs, others, strict=True) if new is not old]
        self._changed = [variable for variable, _ in changes]
        return [new for _, new in changes]

    def prepare(self, batch: Any, weights: Any, scale: Any, *, num_replicas: int) -> Program | None:
        """Find out what XLA makes of the step, which `__call__` does not ask again for such a batch.

        Args:
            batch, weights, scale: as for `__call__`, or their `tf.TensorSpec`s.
            num_replicas: of the strategy.

        Returns:
            A program, or None where XLA makes nothing of it.

        Raises:
            GraphError: jit is "on", and XLA cannot compile the model.
        """
        if self._jit == "off":
            return None
        described = tf.nest.map_structure(_spec_of, (batch, dict(weights), scale))
        key = f"{num_replicas == 1} {tf.nest.flatten(described)}"
        if key not in self._programs:
            self._programs[key] = self._found(described, alone=num_replicas == 1)
        return self._programs[key]

    def _found(self, described: tuple[Batch, Any, Any], *, alone: bool) -> Program | None:
        reason, hint = self._hindrance(alone=alone), "write train.synchronize_batch_norm: false"
        if not reason:
            program, reason = self._tried(described, alone=alone)
            hint = "write jit: auto, or jit: off"
        if not reason:
            return program
        if self._jit == "on":
            raise GraphError(f"train.jit is on, but {reason}", hint)
        logging.warning("the step runs without XLA: %s", reason)
        return None

    def _hindrance(self, *, alone: bool) -> str:
        layers = self._model.student._flatten_layers()
        return "" if alone or not any(map(_sums_over_replicas, layers)) else SYNCHRONIZED

    def _tried(self, described: tuple[Batch, Any, Any], *, alone: bool) -> tuple[Program | None, str]:
        """The program, or why there is none."""
        batch, weights, scale = described
        groups = (self._model.trained_variables, self._others)
        values = [[tf.TensorSpec(variable.shape, variable.dtype) for variable in group] for group in groups]
        arguments = (*values, batch, weights, scale) if alone else (*values, batch.features)
        try:
            return _in_new_thread(lambda: _lowered(self._whole if alone else self._forward, arguments)), ""
        except (tf.errors.OpError, NotImplementedError) as error:
            return None, f"XLA cannot compile the model: {first_sentence(error)}"


def trained_values(model: StepModel) -> list[Tensor]:
    """The variables that are trained, as a tape watches them."""
    return [variable.value for variable in model.trained_variables]


def _num_replicas() -> int:
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def _sums_over_replicas(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.synchronized and layer.trainable


def _spec_of(tensor: Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _with_known_shape(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec([SOME_SIZE if axis is None else axis for axis in spec.shape], spec.dtype)


def _lowered(function: Callable[..., Any], arguments: Any) -> Program:
    """A function of arguments as described, to be compiled by XLA when it first runs; here XLA only translates it.

    Raises:
        OpError: XLA cannot.
    """

    def on_flat(*tensors: Tensor) -> Any:
        return function(*tf.nest.pack_sequence_as(arguments, tensors))

    described = tf.nest.flatten(arguments)
    known = [_with_known_shape(spec) for spec in described]
    compiled = tf.function(on_flat, autograph=False, jit_compile=True)
    compiled.experimental_get_compiler_ir(*known)(stage="hlo")
    concrete = compiled.get_concrete_function(*described)
    return lambda *values: concrete(*tf.nest.flatten(values))


def _in_new_thread(task: Callable[[], Program]) -> Program:
    """Run a task outside the graph and the strategy in which this thread is; what it raises is raised here."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(task).result()
