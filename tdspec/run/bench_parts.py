"""The parts of a training step as programs of their own, each a real subset of the distillation's graph.

In: a `Compiled` with an optimizer, and a batch. Out: `Part`s: what each runs, and on what.
Every part gives back all that it computes, as a step hands its gradients on, so that no compiler leaves any out.
Leaves out: running and timing them (`bench_timing.py`), what is said about the times (`bench.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tdspec.graph.calls import Call, calls_of, codec_names
from tdspec.graph.compiler import Compiled
from tdspec.graph.distiller import Distiller
from tdspec.graph.step import Batch, values_of
from tdspec.graph.walk import nodes_between, nodes_of

Tensor = Any
Results = tuple[Tensor, list[Tensor]]
# Makes one computation wait for another without changing what it computes.
HARDLY = 1e-30


@dataclass(frozen=True)
class Part:
    """A part of a step.

    Attributes:
        name: "gradients", "student_forward", "student_gradients", "teacher", "interaction", "codecs" or "nothing".
        run: (a number that the last run gave, arguments) -> (a number, what was computed).
        arguments: tensors, in any structure.
    """

    name: str
    run: Callable[[Tensor, Any], Results]
    arguments: Any


def parts_of(compiled: Compiled, batch: Batch) -> tuple[Part, ...]:
    """The parts that a spec's step has.

    "gradients": forward, all terms, and their gradients: the step without optimizer and running means.
    "student_forward", "student_gradients": the student on the data, without and with its backward pass.
    "teacher": the teachers on the data. "interaction": the layers that run on decoded states, one call after the other,
    forward and backward. "codecs": every call of an encoder or a decoder, forward and backward. "nothing": what it
    costs to call a program.

    Args:
        compiled: with weights and optimizer.
        batch: of one replica.
    """
    distiller = compiled.distiller
    calls = _calls(compiled)
    student, teacher = (_ends(distiller, calls, kind) for kind in ("student", "teacher"))
    parts = [Part("gradients", partial(_gradients, distiller), batch)]
    on_data = _model(distiller, student)
    parts.append(Part("student_forward", partial(_forward, on_data), batch.features))
    parts.append(Part("student_gradients", partial(_with_backward, on_data, distiller), batch.features))
    if teacher:
        parts.append(Part("teacher", partial(_forward, _model(distiller, teacher)), batch.features))
    for kind in ("interaction", "codecs"):
        chosen = [call for call in calls if call.kind == kind]
        if chosen:
            parts.append(_calls_alone(distiller, kind, chosen, batch))
    return (*parts, Part("nothing", _linked, [tf.zeros(())]))


def _calls(compiled: Compiled) -> tuple[Call, ...]:
    segments = {name: name for name in compiled.models}
    segments |= {f"{name}_{part}": name for name in compiled.models for part in ("lower", "middle", "upper")}
    return calls_of(compiled.distiller, segments, codec_names(compiled.distiller))


def _read(distiller: Distiller) -> set[int]:
    """The ids of all tensors that something reads."""
    read = {tensor for node in nodes_of(distiller) for tensor in node.inputs}
    return read | {id(tensor) for tensor in distiller.outputs}


def _ends(distiller: Distiller, calls: Sequence[Call], kind: str) -> list[keras.KerasTensor]:
    """What the calls of a kind give that is read."""
    read = _read(distiller)
    return [tensor for call in calls if call.kind == kind for tensor in call.node.tensors if id(tensor) in read]


def _model(distiller: Distiller, ends: Sequence[keras.KerasTensor]) -> keras.Model:
    """The part of the graph from the features, by name, to some tensors."""
    made = {tensor for node in nodes_between(distiller.inputs, ends) for tensor in node.outputs}
    inputs = {name: tensor for name, tensor in distiller.input.items() if id(tensor) in made}
    return keras.Model(inputs, list(ends))


def _fed(model: keras.Model, features: Any) -> dict[str, Tensor]:
    return {name: features[name] for name in model.input}


def _objective(tensors: Iterable[Tensor]) -> Tensor:
    """Something that has a gradient everywhere."""
    return tf.add_n([tf.reduce_mean(tf.square(tf.cast(x, tf.float32))) for x in tensors])


def _linked(link: Tensor, results: Iterable[Any]) -> Results:
    """A number for the next run to wait for, and everything of this one; embeddings have sparse gradients."""
    return HARDLY + link, tf.nest.flatten([x for x in results if x is not None], expand_composites=True)


def _forward(model: keras.Model, link: Tensor, features: Any) -> Results:
    return _linked(link, keras.tree.flatten(model(_fed(model, features), training=True)))


def _with_backward(model: keras.Model, distiller: Distiller, link: Tensor, features: Any) -> Results:
    own = {id(variable) for variable in model.trainable_variables}
    trained = values_of([variable for variable in distiller.trained_variables if id(variable) in own])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(trained)
        value = _objective(keras.tree.flatten(model(_fed(model, features), training=True)))
    return _linked(link, [value, *tape.gradient(value, trained)])


def _gradients(distiller: Distiller, link: Tensor, batch: Batch) -> Results:
    """The step without its updates."""
    trained = values_of(distiller.trained_variables)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(trained)
        tensors = distiller(batch.features, training=True)
        values = distiller.term_values(tensors, batch.label, batch.sample_weight)
        terms = [distiller.weight_now(term) * ops.mean(values[term.name]) for term in distiller.terms]
        value = tf.add_n(terms)
    return _linked(link, [value, *tape.gradient(value, trained)])


def _calls_alone(distiller: Distiller, kind: str, calls: Sequence[Call], batch: Batch) -> Part:
    """Calls on the tensors that they read when the graph runs on the batch, which are handed in."""
    known = {id(tensor): batch.features[name] for name, tensor in distiller.input.items()}
    tensors = {id(tensor): tensor for node in nodes_of(distiller) for tensor in node.tensors}
    wanted = list(dict.fromkeys(name for call in calls for name in call.node.inputs if name not in known))
    model = _model(distiller, [tensors[name] for name in wanted])
    known |= dict(zip(wanted, keras.tree.flatten(model(_fed(model, batch.features), training=False)), strict=True))
    arguments = [[known[name] for name in call.node.inputs] for call in calls]
    return Part(kind, partial(_run_calls, distiller, calls, kind == "interaction"), arguments)


def _run_calls(
    distiller: Distiller, calls: Sequence[Call], one_by_one: bool, link: Tensor, arguments: Sequence[Sequence[Tensor]]
) -> Results:
    """Forward and backward of calls: to what is trained of what they read, and to their own trained weights.

    Args:
        distiller: whose calls they are.
        calls: of its graph.
        one_by_one: each waits for the one before, as iterations do.
        link: of the last run.
        arguments: by call what it reads.
    """
    used = {id(variable) for call in calls for variable in call.node.operation.trainable_variables}
    trained = values_of([variable for variable in distiller.trained_variables if id(variable) in used])
    moving, read = _trained_tensors(distiller), _read(distiller)
    watched = [
        x for call, given in zip(calls, arguments, strict=True) for i, x in zip(call.node.inputs, given, strict=True)
        if i in moving
    ]  # fmt: skip
    ends: list[Tensor] = []
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([*trained, *watched])
        for call, (state, *others) in zip(calls, arguments, strict=True):
            if one_by_one and ends:
                state += tf.cast(HARDLY * tf.reduce_mean(tf.cast(ends[-1], tf.float32)), state.dtype)
            results = call.node.call(dict(zip(call.node.inputs, (state, *others), strict=True)), _in_training)
            ends += [x for name, x in zip(call.node.outputs, results, strict=True) if name in read]
        value = _objective(ends)
    return _linked(link, [value, *tape.gradient(value, [*trained, *watched])])


def _in_training(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Call as the graph does in training; what is no model has its own word about the mode."""
    mode = {"training": True} if isinstance(operation, keras.Model) else {}
    return operation(*args, **kwargs, **mode)


def _trained_tensors(distiller: Distiller) -> set[int]:
    """The ids of the tensors through which gradients reach something that is trained."""
    trained = {id(variable) for variable in distiller.trained_variables}
    moving: set[int] = set()
    for node in nodes_of(distiller):
        own = getattr(node.operation, "trainable_variables", ())
        stops = type(node.operation).__name__ == "StopGradient"
        if not stops and (any(id(x) in trained for x in own) or moving.intersection(node.inputs)):
            moving.update(node.outputs)
    return moving
