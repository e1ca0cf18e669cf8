"""The compiler: a spec becomes a Distiller.

In: a `Document`, and what its data source declares. Out: `Compiled`: the Distiller and the two sides it is made of,
with fresh weights; within a `keras.StatelessScope(initialize_variables=False)`, with none at all.
Leaves out: building and cutting a side (`sides.py`), loading weights (`weights.py`), the plan (`plan.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import keras

from tdspec.graph.cached import KEPT, read_inputs, stand_ins, states_model
from tdspec.graph.codecs import Codec, StateShape, decoder, encoder, identity_encoder
from tdspec.graph.distiller import Distiller
from tdspec.graph.layouts import VECTOR, Layout
from tdspec.graph.methods import Conversation, Side, unfold
from tdspec.graph.places import placed
from tdspec.graph.predictions import TASK_LOSSES
from tdspec.graph.projection import OrthogonalProjection
from tdspec.graph.sides import CutModel, Describe, cut_model, num_classes_of, whole_model
from tdspec.graph.sides_text import check_texts
from tdspec.graph.terms import CONSTANT, Schedule, Term, comparisons
from tdspec.graph.walk import numbered_anew
from tdspec.spec import model as spec_model
from tdspec.spec.checks import LOGIT_TERMS, MESSAGE_METHODS, TERMS
from tdspec.spec.load import Document


@dataclass(frozen=True)
class Compiled:
    """What a spec compiles to; `num_classes` is None for regression and binary tasks.

    `cached` names the inputs of the distiller that are kept tensors of the teacher: what `teacher_states` gives.
    """

    document: Document
    distiller: Distiller
    student: CutModel
    teacher: CutModel | None
    num_classes: int | None
    cached: tuple[str, ...]

    def teacher_states(self) -> keras.Model:
        """The model from what the teacher reads to the tensors named in `cached`, float32."""
        teacher = cast(CutModel, self.teacher)
        return states_model(_participant(teacher, None), teacher.whole.model.input, self.cached)


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
    document: Document, terms: tuple[Term, ...], student: CutModel, teacher: CutModel
) -> tuple[Codec, Codec] | tuple[None, None]:
    """E and D of both sides where the method has messages."""
    if document.spec.method not in MESSAGE_METHODS:
        return None, None
    with placed(document, "communication"):
        return _codecs(document.spec.communication, document.spec.method, terms, student, teacher)


def _codecs(
    communication: spec_model.Communication, method: str, terms: tuple[Term, ...], student: CutModel, teacher: CutModel
) -> tuple[Codec, Codec]:
    """E and D of both sides; FitNet's E_h is the identity, and then a message is the teacher's states."""
    student_states, teacher_states = ((side.state(side.low), side.state(side.high)) for side in (student, teacher))  # type: ignore[arg-type]
    kind, options = communication.encoder.type, {"hidden_dim": communication.encoder.hidden_dim}
    layout = _message_layout(communication.message.positions, student)
    message = StateShape(communication.message.dim, layout)
    teacher_encode = encoder(kind, teacher_states, message, name="teacher_codec_encode", **options)
    if method == "fitnet":
        message = StateShape(sum(state.dim for state in teacher_states), layout)
        teacher_encode = identity_encoder(teacher_states, layout, name="teacher_codec_encode")
    # e'_h enters only L_SC; without it nothing would train that half of the teacher's decoder.
    heard = teacher_states if any(term.name == "state_consistency" for term in terms) else teacher_states[:1]
    return (
        Codec(
            encoder(kind, student_states, message, name="student_codec_encode", **options),
            decoder(kind, student_states, message, name="student_codec_decode", **options),
        ),
        Codec(teacher_encode, decoder(kind, heard, message, name="teacher_codec_decode", **options)),
    )


POLICIES = {"float32": "float32", "mixed_bfloat16": "mixed_bfloat16"}


def build(document: Document, describe: Describe, *, cached: bool = True) -> Compiled:
    """Compile a spec with fresh weights drawn by its seed; the student's are the same for every method and teacher.

    Args:
        document: the spec.
        describe: what the source of a document declares.
        cached: where the spec has a cache, what it keeps of the teacher comes in as inputs; else it is never used.

    Raises:
        SpecError: anything in the graph is refused, at its place.
    """
    spec = document.spec
    keras.utils.set_random_seed(spec.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[spec.train.precision])
    try:
        return _build(document, describe, document.spec.data.teacher_cache if cached else None)
    finally:
        keras.config.set_dtype_policy(before)


@numbered_anew()
def _build(document: Document, describe: Describe, cache: spec_model.TeacherCache | None) -> Compiled:
    spec = document.spec
    terms = terms_of(spec)
    student, teacher = _sides(document, describe, terms)
    inputs = _joint_inputs(document, student, teacher)
    codecs = (None, None) if teacher is None else _codecs_of(document, terms, student, teacher)
    projection = _projection(terms, teacher)
    listener = None if teacher is None else _participant(teacher, codecs[1])
    kept = {} if cache is None or listener is None else stand_ins(listener, cache.dtype)
    conversation = Conversation(
        {**inputs, **kept},
        _participant(student, codecs[0]),
        listener,
        teacher_asks_itself=spec.method == "one_way_control",
        projection=projection,
        detach=spec.communication.detach,
    )
    terms = _masked(document, terms, conversation, student, teacher)
    tensors = unfold(conversation, terms)
    if kept:
        inputs = read_inputs({**inputs, **kept}, tensors, tuple(student.whole.model.input))
    distiller = Distiller(
        inputs,
        tensors,
        terms,
        task_type=spec.task.type,
        student=student.whole.model,
        teacher=None if teacher is None else teacher.whole.model,
        student_segments=student.segments,
        teacher_segments=None if teacher is None else teacher.segments,
        student_codec=codecs[0],
        teacher_codec=codecs[1],
        projection=projection,
        name="distiller",
    )
    cached = tuple(name for name in KEPT if name in kept and name in inputs)
    return Compiled(document, distiller, student, teacher, num_classes_of(document, describe(document)), cached)


def _sides(document: Document, describe: Describe, terms: tuple[Term, ...]) -> tuple[CutModel, CutModel | None]:
    """The student and the frozen teacher, which is None where no term asks for it."""
    student = cut_model(document, "student", whole_model(document, "student", describe))
    if {term.name for term in terms} <= {"task"}:
        return CutModel(student.whole, student.points, None, None, None), None
    whole = whole_model(document, "teacher", describe)
    whole.model.trainable = whole.graph.trainable = False
    teacher = cut_model(document, "teacher", whole)
    _require_fit(document, terms, teacher, student)
    return student, teacher


def _masked(
    document: Document, terms: tuple[Term, ...], conversation: Conversation, student: CutModel, teacher: CutModel | None
) -> tuple[Term, ...]:
    """The terms that compare states of a text, told which positions are padding."""
    mask = next((side.whole.mask for side in (student, teacher) if side is not None and side.whole.mask), "")
    state_terms = [term for term in terms if term.name not in {"task", *LOGIT_TERMS}]
    if not mask or not state_terms:
        return terms
    num_positions = conversation.inputs[mask].shape[1]
    shapes = [tuple(conversation[name].shape) for term in state_terms for name in (*term.target, *term.prediction)]
    if any(len(shape) != 3 or shape[1] != num_positions for shape in shapes):
        message = "a text's states are compared token by token: elsewhere padding would count"
        hint = "write message.positions: auto, and cut both models where their states are sequences"
        raise document.error("communication.message.positions", message, hint)
    return tuple(
        replace(term, given={**term.given, "mask": (mask,) * len(term.target)}) if term in state_terms else term
        for term in terms
    )


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
