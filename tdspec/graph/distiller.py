"""The Distiller: the distillation graph as a Keras model with its own training step.

In: a functional graph from features to the tensors that terms compare, and the terms. Out: a `keras.Model` for `fit`,
or for the loop of `run/`, under any tf.distribute strategy.
Leaves out: building the graph (`compiler.py`), optimizers, checkpoints and the loop over epochs (`run/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tdspec.graph.across import REPLICAS
from tdspec.graph.codecs import Codec
from tdspec.graph.cuts import Segments
from tdspec.graph.distances import Distance
from tdspec.graph.predictions import TASK_LOSSES
from tdspec.graph.records import Records, num_examples, num_replicas
from tdspec.graph.step import Batch, Forward, Step, Xla, part_of
from tdspec.graph.terms import DISTANCES, NOTHING, Schedule, Term

Tensor = Any

# The share of a run that is done, from 0 to 1, and that of its warm-up -> the factor of a weight.
SCHEDULES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "linear_warmup": lambda done, warmup: ops.minimum(done / warmup, 1.0),
    "cosine": lambda done, warmup: 0.5 * (1.0 + ops.cos(np.pi * ops.minimum(done, 1.0))),
}


@dataclass(frozen=True)
class TeacherParts:
    """What a Distiller knows of a teacher.

    Attributes:
        name: "teacher", or what one of several is called.
        model: features -> prediction or features, frozen.
        segments: the model in three parts; None where it is not cut.
        codec: its E and D; None where the method has none.
        projection: of the student's high state; None where the method has none.
        has_learned_weight: whether the weight of its terms is trained.
    """

    name: str
    model: keras.Model
    segments: Segments | None
    codec: Codec | None
    projection: keras.layers.Layer | None
    has_learned_weight: bool = False


NOBODY = TeacherParts("", None, None, None, None)


class Distiller(keras.Model):
    """A student being distilled.

    `fit` trains the student and the codecs on every term at once, with one forward pass of each model a step.
    `evaluate` and `predict` run the student alone and change nothing.

    Args:
        inputs: named keras.Inputs.
        tensors: what the terms compare, by name, and "student_prediction".
        terms: the objective.
        task_type: "classification", "regression", "binary" or "multilabel".
        student: features -> prediction; what is evaluated and exported.
        student_segments: the student in three parts; None where it is not cut.
        teachers: none, one, or several.
        codecs: E and D of everybody, by name: "student_codec", "teacher_codec".
        distances: by name, those that the terms are measured by.

    Attributes:
        teacher, teacher_segments, teacher_codec, projection: of the only teacher; None without one.
        term_factors: by term a scalar beside its weight, 1 unless the terms are balanced.
        teacher_scales: by teacher whose weight is learned, the scalar s of exp(-s) * L + s, where L is the sum of its
            terms (arXiv 1705.07115, equation 7 times 2, with s = log sigma^2). It starts at 0, which
            is weight 1, and has its minimum at s = log L.
    """

    def __init__(
        self,
        inputs: Mapping[str, keras.KerasTensor],
        tensors: Mapping[str, keras.KerasTensor],
        terms: tuple[Term, ...],
        *,
        task_type: str,
        student: keras.Model,
        student_segments: Segments | None,
        teachers: tuple[TeacherParts, ...],
        codecs: Mapping[str, Codec],
        distances: Mapping[str, Distance] = DISTANCES,
        name: str,
    ):
        super().__init__(inputs=dict(inputs), outputs=dict(tensors), name=name)
        self.terms = terms
        self.task_type = task_type
        self.student = student
        self.teachers, self.codecs = teachers, dict(codecs)
        only = teachers[0] if len(teachers) == 1 else NOBODY
        self.teacher = only.model
        self.student_segments, self.teacher_segments = student_segments, only.segments
        self.student_codec, self.teacher_codec = self.codecs.get("student_codec"), only.codec
        self.projection = only.projection
        self.total_steps: int | None = None
        self._step: Step | None = None
        self.term_factors = {
            term.name: keras.Variable("ones", (), dtype="float32", trainable=False, name=f"{term.name}_factor")
            for term in terms
        }
        self.teacher_scales = {teacher.name: _scale(teacher.name) for teacher in teachers if teacher.has_learned_weight}
        self._features = tuple(student.input)
        self._distances = {term.name: self._distance(term, distances) for term in terms}
        self._records = Records(terms, task_type)
        self.task_metric, self.more_is_better = self._records.task_metric, self._records.more_is_better
        trained = [v for operation in self.operations for v in getattr(operation, "trainable_variables", ())]
        self.trained_variables = list({id(v): v for v in (*trained, *self.teacher_scales.values())}.values())

    def _distance(self, term: Term, distances: Mapping[str, Distance]) -> Callable[..., Tensor]:
        function = TASK_LOSSES[self.task_type][1] if term.name == "task" else distances[term.distance]
        return partial(function, across=REPLICAS, **term.options)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The mean of each term, of the whole objective, and the task's figure, in the order they are logged."""
        return self._records.all

    def compile(
        self,
        optimizer: Any = "adam",
        *,
        total_steps: int | None = None,
        jit: str = "off",
        accumulate_steps: int = 1,
        **options: Any,
    ) -> None:
        """Configure training; losses and metrics are the spec's and cannot be given.

        Args:
            optimizer: a Keras optimizer.
            total_steps: how many steps the run will have; needed where a term's weight has a schedule.
            jit, accumulate_steps: see `step.py`. Keras's own `jit_compile` stays off.
            options: `run_eagerly` and `steps_per_execution`, as for keras.Model.
        """
        scheduled = [term.name for term in self.terms if term.schedule.type != "constant"]
        if scheduled and total_steps is None:
            raise ValueError(f"the weight of '{scheduled[0]}' has a schedule: expected total_steps, received None")
        self.total_steps = total_steps
        super().compile(optimizer=optimizer, jit_compile=False, **options)
        if self.teacher_scales:
            # decay would pull a learned weight towards 1
            inner: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            inner.exclude_from_weight_decay(var_list=list(self.teacher_scales.values()))
        self.optimizer.build(self.trained_variables)
        self._step = Step(self, jit, accumulate_steps)

    def term_values(self, tensors: Mapping[str, Tensor], label: Tensor, sample_weight: Tensor) -> dict[str, Tensor]:
        """Every term of a batch before its weight, one value an example.

        Args:
            tensors: what calling the Distiller returns.
            label: (batch,) or (batch, classes).
            sample_weight: (batch,); weighs the terms that need the label.

        Returns:
            By name, (batch,) float32; the mean over the examples of all replicas is the term.
        """
        known = {**tensors, "label": label}
        values = {}
        for term in self.terms:
            value = sum(self._pair_values(term, known))
            values[term.name] = value * sample_weight if term.needs_label else value
        return values

    def _pair_values(self, term: Term, known: Mapping[str, Tensor]) -> list[Tensor]:
        """The distance of each pair of a term, times the pair's weight."""
        distance, values = self._distances[term.name], []
        weights = term.pair_weights or (1.0,) * len(term.target)
        for index, (target, prediction, weight) in enumerate(zip(term.target, term.prediction, weights, strict=True)):
            pair = [
                ops.stop_gradient(known[name]) if term.detach == end else known[name]
                for end, name in (("target", target), ("prediction", prediction))
            ]
            given = {keyword: known[names[index]] for keyword, names in term.given.items() if names[index] != NOTHING}
            values.append(weight * distance(*pair, **given))
        return values

    def weight_now(self, term: Term) -> Tensor:
        """The factor of a term at this step: its weight, times what balances it, its schedule's, its teacher's."""
        return self._weight(term, self.teacher_scales)

    def _weight(self, term: Term, scales: Mapping[str, Tensor]) -> Tensor:
        weight = term.weight * self.term_factors[term.name] * self._scheduled(term.schedule)
        return weight * ops.exp(-scales[term.teacher]) if term.teacher in scales else weight

    def _scheduled(self, schedule: Schedule) -> Tensor | float:
        """The factor of a weight at this step, from 0 to 1."""
        if schedule.type == "constant":
            return 1.0
        done = ops.cast(self.optimizer.iterations, "float32") / float(self.total_steps or 1)
        return SCHEDULES[schedule.type](done, schedule.warmup)

    def _loss_share(self, values: Mapping[str, Tensor], sample_weight: Tensor, scales: Mapping[str, Tensor]) -> Tensor:
        """This replica's part of the objective; the parts of all replicas add up to it.

        The optimizer adds gradients up over replicas, so each term is divided by what all replicas hold.
        """
        shares = [
            self._weight(term, scales) * ops.sum(values[term.name]) / num_examples(term, sample_weight)
            for term in self.terms
        ]
        # exp(-s) is in the weight; + s is there once, not once a replica
        shares += [scale / num_replicas() for scale in scales.values()]
        return sum(shares)

    def prepare(self, element_spec: Any, strategy: tf.distribute.Strategy) -> Xla:
        """Find out what XLA makes of the step, before the first one.

        Args:
            element_spec: of the global batches (features, label, sample_weight).
            strategy: under which the steps will run.

        Raises:
            GraphError: `jit` is "on", and XLA cannot compile the model.
        """
        part = partial(part_of, num_replicas=strategy.num_replicas_in_sync)
        features, label, sample_weight = tf.nest.map_structure(part, element_spec)
        weight = tf.TensorSpec(sample_weight.shape[:1], "float32")
        step = self._compiled_step()
        step.prepare(Batch(features, label, weight), strategy)
        return step.xla

    def _compiled_step(self) -> Step:
        if self._step is None:
            raise ValueError("the Distiller has no optimizer yet: call its compile first")
        return self._step

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """One step on a batch (features, label) or (features, label, sample_weight); returns the running means."""
        self._compiled_step()(_unpacked(data))
        return self._records.of_training()

    def update(self, batch: Batch, trained: Sequence[Tensor], forward: Forward) -> None:
        """One step: forward, the terms, their gradients, the optimizer, the running means.

        Args:
            batch: of this replica.
            trained: what `forward` computes from, one for each of `trained_variables`.
            forward: features -> the tensors that the terms compare.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            # Only these: no gradient of the teacher's weights, and of its pass on the data no activation is kept.
            tape.watch(trained)
            tensors = forward(batch.features)
            values = self.term_values(tensors, batch.label, batch.sample_weight)
            share = self._loss_share(values, batch.sample_weight, self._scales_among(trained))
            scaled = self.optimizer.scale_loss(share)
        pairs = zip(tape.gradient(scaled, trained), self.trained_variables, strict=True)
        self.optimizer.apply_gradients([(gradient, variable) for gradient, variable in pairs if gradient is not None])
        self._records.trained(values, share, batch, tensors["student_prediction"])

    def _scales_among(self, trained: Sequence[Tensor]) -> dict[str, Tensor]:
        """The scales of the teachers as a tape watches them."""
        # they are the last of `trained_variables`
        return dict(zip(self.teacher_scales, trained[len(trained) - len(self.teacher_scales) :], strict=True))

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """The student alone on a batch: the task's loss and figure."""
        batch = _unpacked(data)
        prediction = self.predict_step(data)
        value = TASK_LOSSES[self.task_type][1](batch.label, prediction)
        self._records.tested(value, batch, prediction)
        return self._records.of_test()

    def predict_step(self, data: Any) -> Tensor:
        """The student's prediction for a batch of features."""
        features, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.student({name: features[name] for name in self._features}, training=False)


def _scale(name: str) -> keras.Variable:
    return keras.Variable("zeros", (), dtype="float32", name=f"{name}_scale")


def _unpacked(data: Any) -> Batch:
    features, label, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is None:
        sample_weight = ops.ones((ops.shape(label)[0],), "float32")
    return Batch(features, label, ops.reshape(ops.cast(sample_weight, "float32"), (-1,)))
