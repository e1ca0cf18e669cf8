"""What must hold of a compiled graph, tried on random weights and a few made-up examples.

In: a spec whose models are small. Out: nothing; or a refusal that names the model or the term.
Leaves out: real weights and data, which a run's preflight measures (`run/preflight.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tdspec.graph.compiler import Compiled, build
from tdspec.graph.own_terms import label_of
from tdspec.graph.sides import CutModel, Describe
from tdspec.spec.load import Document

NUM_EXAMPLES = 4
NUM_IDS = 3
MOST_PARAMETERS = 3_000_000
TOLERANCE = 1e-4

Tensors = Mapping[str, Any]


def reason_not_to_try(compiled: Compiled) -> str:
    """Why the graph of a spec is not tried on random weights; "" where it can be within seconds.

    Args:
        compiled: with or without weights.
    """
    count = sum(cut.whole.model.count_params() for cut in compiled.models.values())
    if count > MOST_PARAMETERS:
        return f"the models have {count:,} parameters"
    images = [name for name, x in compiled.distiller.input.items() if len(x.shape) == 4 and None in x.shape[1:]]
    return f"the size of '{images[0]}' is open" if images else ""


def check_invariants(document: Document, describe: Describe) -> None:
    """Refuse a graph in which a part does not do what it stands for.

    The parts of each model give what the model gives; no weight of a teacher is trained, and what it says of the data
    is constant; every term is finite and reaches something that is trained; every weight of the codecs, and of the
    student up to its high cut, is reached by a term.

    Args:
        document: the spec.
        describe: what its source declares.

    Raises:
        SpecError: says which.
    """
    compiled = build(document, describe, cached=False)
    features = {name: _examples(name, tensor) for name, tensor in compiled.distiller.input.items()}
    _check_parts(document, "student", compiled.student, features)
    for teacher in compiled.teachers:
        _check_parts(teacher.document, "teacher", teacher.side, features)
    _check_terms(compiled, features)


def _examples(name: str, tensor: keras.KerasTensor) -> tf.Tensor:
    """Made-up examples; integers are ids, of which 0 and 1 are in every table, but for the levels of an image."""
    random = np.random.default_rng(len(name))
    # a list of ids may have any length
    shape, dtype = (NUM_EXAMPLES, *(axis or NUM_IDS for axis in tensor.shape[1:])), str(tensor.dtype)
    if "float" in dtype:
        return tf.constant(random.normal(size=shape), dtype)
    if "mask" in name:
        return tf.ones(shape, dtype)
    return tf.constant(random.integers(0, 256 if dtype == "uint8" else 2, shape), dtype)


def _of(model: keras.Model, features: Tensors) -> Tensors:
    return {name: features[name] for name in model.input}


def _check_parts(document: Document, name: str, cut: CutModel, features: Tensors) -> None:
    """upper(middle(lower(x))) is the model."""
    if cut.segments is None:
        return
    state, parts = cut.segments.lower(_of(cut.segments.lower, features), training=False), cut.segments
    for part in (parts.middle, parts.upper):
        sides = [features[entry.name] for entry in part.inputs[1:]]
        state = part([state, *sides] if sides else state, training=False)
    whole = cut.whole.model(_of(cut.whole.model, features), training=False)
    found, wanted = (np.asarray(tensor, np.float32) for tensor in (state, whole))
    if not np.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE * max(1.0, float(np.abs(wanted).max()))):
        off = np.abs(found - wanted).max()
        message = f"the parts of {cut.whole.backbone.kind} do not give what it gives: {off:.3g} off"
        raise document.error(f"{name}.cut", message, "please report this; `tdspec layers` lists other cuts")


def _check_terms(compiled: Compiled, features: Tensors) -> None:
    distiller, document = compiled.distiller, compiled.document
    label = _examples("label", label_of(document.spec.task.type, compiled.num_classes))
    trained = distiller.trained_variables
    with tf.GradientTape(persistent=True) as tape:
        tensors = distiller(features, training=True)
        values = distiller.term_values(tensors, label, tf.ones(NUM_EXAMPLES))
        means = {name: tf.reduce_mean(value) for name, value in values.items()}
    _check_teachers(compiled, tensors, tape)
    reached: set[int] = set()
    for term in distiller.terms:
        key, mean = f"losses.{term.key}", means[term.name]
        if not np.isfinite(mean):
            raise document.error(key, f"the term is {float(mean)} on random weights and inputs", "please report this")
        found = _reached(tape, mean, trained)
        if not found:
            raise document.error(key, "nothing that is trained leads to the term", "let its gradient through")
        reached |= found
    student = distiller.student_segments
    parts = [] if student is None else [student.lower, student.middle]
    codecs = [model for codec in distiller.codecs.values() for model in (codec.encode, codec.decode)]
    asked = {id(variable) for variable in trained}
    for model in (*parts, *codecs):
        loose = [v.path for v in model.trainable_variables if id(v) in asked and id(v) not in reached]
        if loose:
            message = f"no term trains '{loose[0]}' of {model.name}"
            raise document.error("losses", message, "give another term a weight")


def _check_teachers(compiled: Compiled, tensors: Tensors, tape: tf.GradientTape) -> None:
    """What a teacher says of the data is constant, and none of its weights is trained."""
    trained = compiled.distiller.trained_variables
    trained_ids = {id(variable) for variable in trained}
    for teacher in compiled.teachers:
        own = [variable.path for variable in teacher.side.whole.model.variables if id(variable) in trained_ids]
        if own:
            raise teacher.document.error("teacher", f"its weight '{own[0]}' would be trained", "please report this")
        prefix = "" if teacher.document.teacher_index is None else f"{teacher.name}."
        for name in (f"{prefix}{word}" for word in ("teacher_low", "teacher_high", "teacher_prediction")):
            if name in tensors and _reached(tape, tensors[name], trained):
                raise teacher.document.error("teacher", f"'{name}' depends on what is trained", "please report this")


def _reached(tape: tf.GradientTape, tensor: Any, variables: Sequence[keras.Variable]) -> set[int]:
    """Ids of the variables that a gradient of a tensor flows to."""
    gradients = tape.gradient(tensor, [variable.value for variable in variables])
    return {id(variable) for variable, found in zip(variables, gradients, strict=True) if found is not None}
