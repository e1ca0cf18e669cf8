"""The compiler: a spec becomes a Distiller.

In: a `Document`, and what its data source declares. Out: `Compiled`: the Distiller and the two sides it is made of,
with fresh weights; within a `keras.StatelessScope(initialize_variables=False)`, with none at all.
Leaves out: building and cutting a side (`sides.py`), loading weights (`weights.py`), the plan (`plan.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras

from tdspec.graph.codecs import Codec, Inner, StateShape, decoder, encoder, identity_encoder
from tdspec.graph.distiller import Distiller
from tdspec.graph.layouts import VECTOR, Layout
from tdspec.graph.methods import Conversation, Side, unfold
from tdspec.graph.own_terms import NONE, Own, check_distances, check_names, label_of
from tdspec.graph.padding import check_layouts, told_padding
from tdspec.graph.places import placed
from tdspec.graph.predictions import TASK_LOSSES
from tdspec.graph.projection import OrthogonalProjection
from tdspec.graph.sides import CutModel, Describe, cut_model, num_classes_of, whole_model
from tdspec.graph.sides_text import check_texts
from tdspec.graph.terms import CONSTANT, DISTANCES, Schedule, Term, comparisons
from tdspec.graph.walk import numbered_anew
from tdspec.spec import model as spec_model
from tdspec.spec.checks import CUT_METHODS, LOGIT_TERMS, MESSAGE_METHODS, TALKING_METHODS, TERMS
from tdspec.spec.load import Document


@dataclass(frozen=True)
class Compiled:
    """What a spec compiles to; `num_classes` is None for regression and binary tasks, `own` what Python added to it."""

    document: Document
    distiller: Distiller
    student: CutModel
    teacher: CutModel | None
    num_classes: int | None
    own: Own = NONE


def terms_of(spec: spec_model.Spec) -> tuple[Term, ...]:
    """The terms of a spec's method that have a weight and something to compare."""
    terms = []
    for name in TERMS[spec.method]:
        loss: Any = getattr(spec.losses, name)
        target, prediction = comparisons(name, spec.communication.iterations)
        if not loss.weight or not target:
            continue
        distance, options = _distance(spec.task.type, name, loss)
        schedule = CONSTANT if name == "task" else Schedule(loss.schedule, loss.warmup)
        term = Term(name, float(loss.weight), distance, target, prediction, options, schedule=schedule)
        if isinstance(loss, spec_model.StateLoss):
            term = replace(term, detach=loss.detach)
        if name == "interaction" and spec.losses.interaction.iteration_weights:
            # low and high of one iteration weigh the same
            weights = tuple(weight for weight in spec.losses.interaction.iteration_weights for _ in range(2))
            term = replace(term, pair_weights=weights)
        terms.append(replace(term, given={"label": ("label",)}) if name == "nkd" else term)
    return tuple(terms)


# How each term is measured where the spec leaves no choice, and the words of its loss that are the distance's options.
FIXED_DISTANCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "dist": ("dist", ("temperature", "intra")),
    "nkd": ("nkd", ("temperature", "non_target")),
    "vkd": ("standardized_l2", ()),
    "relational": ("relational", ("distances", "angles")),
    "attention": ("attention", ()),
    "manifold": ("manifold", ("intra", "inter")),
}


def _distance(task_type: str, name: str, loss: Any) -> tuple[str, dict[str, float]]:
    if name == "task":
        return TASK_LOSSES[task_type][0], {}
    if name in FIXED_DISTANCES:
        distance, options = FIXED_DISTANCES[name]
        return distance, {option: float(getattr(loss, option)) for option in options}
    if name != "logit":
        return loss.distance, {}
    if loss.distance == "l2" or (loss.distance == "auto" and task_type == "regression"):
        return "l2", {}
    kind = "kl" if task_type == "classification" else "binary_kl"
    return kind, {"temperature": float(loss.temperature)}


def _message_layout(positions: Any, student: CutModel) -> Layout:
    if positions == "vector":
        return VECTOR
    if positions == "auto":
        return student.state(student.high).layout  # type: ignore[arg-type]
    return Layout(tuple(positions), tuple(positions))


def _codecs_of(
    document: Document,
    terms: tuple[Term, ...],
    student: CutModel,
    teacher: CutModel,
    mask: keras.KerasTensor | None,
) -> tuple[Codec, Codec] | tuple[None, None]:
    """E and D of both sides where the method has messages."""
    if document.spec.method not in MESSAGE_METHODS:
        return None, None
    with placed(document, "communication.encoder.type"):
        return _codecs(document.spec, terms, student, teacher, mask)


def _codecs(
    spec: spec_model.Spec,
    terms: tuple[Term, ...],
    student: CutModel,
    teacher: CutModel,
    mask: keras.KerasTensor | None,
) -> tuple[Codec, Codec]:
    """E and D of both sides; FitNet's E_h is the identity, and then a message is the teacher's states."""
    student_states, teacher_states = ((side.state(side.low), side.state(side.high)) for side in (student, teacher))  # type: ignore[arg-type]
    chosen = spec.communication.encoder
    inner = Inner(chosen.type, chosen.hidden_dim, chosen.num_heads, chosen.num_layers)
    layout = _message_layout(spec.communication.message.positions, student)
    message = StateShape(spec.communication.message.dim, layout)
    teacher_encode = encoder(inner, teacher_states, message, name="teacher_codec_encode", mask=mask)
    if spec.method == "fitnet":
        message = StateShape(sum(state.dim for state in teacher_states), layout)
        teacher_encode = identity_encoder(teacher_states, layout, name="teacher_codec_encode", mask=mask)
    # e'_h enters only L_SC; without it nothing would train that half of the teacher's decoder.
    heard = teacher_states if any("teacher_high_told" in term.names for term in terms) else teacher_states[:1]
    return (
        Codec(
            encoder(inner, student_states, message, name="student_codec_encode", mask=mask),
            decoder(inner, student_states, message, name="student_codec_decode", mask=mask),
        ),
        Codec(teacher_encode, decoder(inner, heard, message, name="teacher_codec_decode", mask=mask)),
    )


POLICIES = {"float32": "float32", "mixed_bfloat16": "mixed_bfloat16"}


def build(document: Document, describe: Describe, own: Own = NONE) -> Compiled:
    """Compile a spec with fresh weights drawn by its seed; the student's are the same for every method and teacher.

    Args:
        document: the spec.
        describe: what the source of a document declares.
        own: terms and distances that a user adds.

    Raises:
        SpecError: anything in the graph is refused, at its place.
        GraphError: a term of the user's own is refused.
    """
    spec = document.spec
    keras.utils.set_random_seed(spec.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[spec.train.precision])
    try:
        return _build(document, describe, own)
    finally:
        keras.config.set_dtype_policy(before)


@numbered_anew()
def _build(document: Document, describe: Describe, own: Own) -> Compiled:
    spec = document.spec
    terms = (*terms_of(spec), *own.terms)
    student, teacher = _sides(document, describe, terms)
    inputs = _joint_inputs(document, student, teacher)
    mask = _padding_mask(document, inputs, student, teacher)
    codecs = (None, None) if teacher is None else _codecs_of(document, terms, student, teacher, mask)
    projection = _projection(terms, teacher)
    conversation = Conversation(
        inputs,
        _participant(student, codecs[0]),
        None if teacher is None else _participant(teacher, codecs[1]),
        teacher_asks_itself=spec.method == "one_way_control",
        projection=projection,
        detach=spec.communication.detach,
        mask=mask,
    )
    num_classes = num_classes_of(document, describe(document))
    terms = _settled(spec, own, terms, conversation, num_classes)
    distiller = Distiller(
        inputs,
        unfold(conversation, terms),
        terms,
        task_type=spec.task.type,
        student=student.whole.model,
        teacher=None if teacher is None else teacher.whole.model,
        student_segments=student.segments,
        teacher_segments=None if teacher is None else teacher.segments,
        student_codec=codecs[0],
        teacher_codec=codecs[1],
        projection=projection,
        distances={**DISTANCES, **own.distances},
        name="distiller",
    )
    return Compiled(document, distiller, student, teacher, num_classes, own)


def _sides(document: Document, describe: Describe, terms: tuple[Term, ...]) -> tuple[CutModel, CutModel | None]:
    """Both models, cut; no teacher, and an uncut student, where only the labels are asked."""
    student = cut_model(document, "student", whole_model(document, "student", describe))
    if {term.name for term in terms} <= {"task"} or document.spec.teacher is None:
        return CutModel(student.whole, student.points, None, None, None), None
    whole = whole_model(document, "teacher", describe)
    whole.model.trainable = whole.graph.trainable = False
    teacher = cut_model(document, "teacher", whole)
    _require_fit(document, terms, teacher, student)
    return student, teacher


def _settled(
    spec: spec_model.Spec, own: Own, terms: tuple[Term, ...], conversation: Conversation, num_classes: int | None
) -> tuple[Term, ...]:
    """The terms, a user's own checked against the tensors there are, those of a text told its padding."""
    check_names(own, conversation, spec.communication.iterations if spec.method in TALKING_METHODS else 0)
    if conversation.mask is not None:
        terms = told_padding(terms, conversation, conversation.mask)
    check_distances(own, terms, conversation, label_of(spec.task.type, num_classes))
    return terms


def _padding_mask(
    document: Document, inputs: dict[str, keras.KerasTensor], student: CutModel, teacher: CutModel | None
) -> keras.KerasTensor | None:
    """The input that tells the padding of the text whose states are compared; None where no such state is."""
    mask = next((side.whole.mask for side in (student, teacher) if side is not None and side.whole.mask), "")
    if not mask or teacher is None or document.spec.method not in CUT_METHODS:
        return None
    layouts = {
        f"{side}.cut.{word}": cut.state(getattr(cut, word)).layout
        for side, cut in (("teacher", teacher), ("student", student))
        for word in ("low", "high")
    }
    if document.spec.method in MESSAGE_METHODS:
        positions = document.spec.communication.message.positions
        layouts["communication.message.positions"] = _message_layout(positions, student)
    check_layouts(document, layouts, inputs[mask])
    return inputs[mask]


# Distances that compare an example with the others of its batch.
ACROSS_THE_BATCH = ("relative_l2", "standardized_l2", "dist", "relational", "manifold")


def _require_batch(document: Document, terms: tuple[Term, ...]) -> None:
    across = [term.distance for term in terms if term.distance in ACROSS_THE_BATCH]
    if across and document.spec.data.batch_size < 2:
        raise document.error("data.batch_size", f"distance {across[0]} needs at least 2 examples in a batch")


def _participant(side: CutModel, codec: Codec | None) -> Side | keras.Model:
    if side.segments is None or side.low is None or side.high is None:
        return side.whole.model
    return Side(side.segments, (side.state(side.low).layout, side.state(side.high).layout), codec)


def _projection(terms: tuple[Term, ...], teacher: CutModel | None) -> OrthogonalProjection | None:
    """From the student's high state to the teacher's width, where a term asks for it."""
    if teacher is None or teacher.high is None or not any(term.name == "vkd" for term in terms):
        return None
    return OrthogonalProjection(teacher.state(teacher.high).dim, name="student_projection")


def _require_positions(document: Document, student: CutModel) -> None:
    for word, point in (("low", student.low), ("high", student.high)):
        if point is not None and not student.state(point).layout.axes:
            message = f"'{point.name}' is one vector, expected positions, since the method compares maps over them"
            raise document.error(f"student.cut.{word}", message, "cut where the state is a sequence or a grid")


def _require_fit(document: Document, terms: tuple[Term, ...], teacher: CutModel, student: CutModel) -> None:
    _require_batch(document, terms)
    check_texts(document, student.whole, teacher.whole)
    if any(term.name == "attention" for term in terms):
        _require_positions(document, student)
    asking = [term.name for term in terms if term.name in LOGIT_TERMS]
    if not asking:
        return
    own, wanted = (tuple(side.whole.model.output.shape) for side in (teacher, student))
    if not teacher.whole.has_prediction or own != wanted:
        message = f"the teacher's prediction has shape {own}, the student's {wanted}"
        raise document.error(
            f"losses.{asking[0]}", message, "a logit loss needs a teacher of the same task and classes"
        )


def _joint_inputs(document: Document, student: CutModel, teacher: CutModel | None) -> dict[str, keras.KerasTensor]:
    """One input for each column that either side reads."""
    wanted = dict(student.whole.model.input)
    for name, tensor in ({} if teacher is None else teacher.whole.model.input).items():
        if name in wanted and tuple(wanted[name].shape) != tuple(tensor.shape):
            shapes = f"{tuple(tensor.shape)}, the student {tuple(wanted[name].shape)}"
            raise document.error("teacher", f"the teacher reads '{name}' with shape {shapes}")
        wanted.setdefault(name, tensor)
    return {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in wanted.items()}
