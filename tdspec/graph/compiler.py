"""The compiler: a spec becomes a Distiller.

In: a `Document`, and what its data source declares. Out: `Compiled`: the Distiller and the two sides it is made of,
with fresh weights; within a `keras.StatelessScope(initialize_variables=False)`, with none at all.
Leaves out: building and cutting a side (`sides.py`), loading weights (`weights.py`), the plan (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from tdspec.graph.codecs import Codec
from tdspec.graph.distiller import Distiller, TeacherParts
from tdspec.graph.methods import Conversation, Side, in_company, unfold
from tdspec.graph.predictions import TASK_LOSSES
from tdspec.graph.projection import OrthogonalProjection
from tdspec.graph.sides import CutModel, Describe, cut_model, num_classes_of, whole_model
from tdspec.graph.sides_text import check_texts
from tdspec.graph.speakers import Codecs, codecs_of
from tdspec.graph.terms import CONSTANT, Schedule, Term, comparisons
from tdspec.graph.walk import numbered_anew
from tdspec.spec import model as spec_model
from tdspec.spec.checks import LOGIT_TERMS, TERMS
from tdspec.spec.load import Document


@dataclass(frozen=True)
class CompiledTeacher:
    """A teacher that some term asks.

    Attributes:
        document: the spec in which it is the only teacher.
        side: its model, cut.
    """

    document: Document
    side: CutModel

    @property
    def name(self) -> str:
        """What it is called: "teacher" where it is no item of a list."""
        return self.document.name_of("teacher")


@dataclass(frozen=True)
class Compiled:
    """What a spec compiles to; `num_classes` is None for regression and binary tasks."""

    document: Document
    distiller: Distiller
    student: CutModel
    teachers: tuple[CompiledTeacher, ...]
    num_classes: int | None

    @property
    def teacher(self) -> CutModel | None:
        """The only teacher; None where there is none, or several."""
        return self.teachers[0].side if len(self.teachers) == 1 else None

    @property
    def alone(self) -> tuple[Compiled, ...]:
        """For each teacher the same, with that teacher as the only one."""
        return tuple(replace(self, document=teacher.document, teachers=(teacher,)) for teacher in self.teachers)

    @property
    def models(self) -> dict[str, CutModel]:
        """The student and each teacher, by name."""
        return {"student": self.student, **{teacher.name: teacher.side for teacher in self.teachers}}


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


POLICIES = {"float32": "float32", "mixed_bfloat16": "mixed_bfloat16"}


def build(document: Document, describe: Describe) -> Compiled:
    """Compile a spec with fresh weights drawn by its seed; the student's are the same for every method and teacher.

    Args:
        document: the spec.
        describe: what the source of a document declares.

    Raises:
        SpecError: anything in the graph is refused, at its place.
    """
    spec = document.spec
    keras.utils.set_random_seed(spec.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[spec.train.precision])
    try:
        return _build(document, describe)
    finally:
        keras.config.set_dtype_policy(before)


@numbered_anew()
def _build(document: Document, describe: Describe) -> Compiled:
    spec = document.spec
    student = cut_model(document, "student", whole_model(document, "student", describe))
    terms = terms_of(spec)
    teachers: tuple[CompiledTeacher, ...] = ()
    if {term.name for term in terms} <= {"task"}:
        student = CutModel(student.whole, student.points, None, None, None)
    else:
        teachers = tuple(_teacher(view, terms, student, describe) for view in document.teaching)
    inputs = _joint_inputs(document, student, teachers)
    codecs = codecs_of(document, terms, student, {teacher.name: teacher.side for teacher in teachers})
    projections = {teacher.name: _projection(terms, teacher) for teacher in teachers}
    tensors, spoken = _talks(document, terms, student, teachers, (inputs, codecs, projections))
    distiller = Distiller(
        inputs,
        tensors,
        spoken,
        task_type=spec.task.type,
        student=student.whole.model,
        student_segments=student.segments,
        teachers=tuple(_parts(teacher, codecs, projections[teacher.name]) for teacher in teachers),
        codecs=codecs.named,
        name="distiller",
    )
    return Compiled(document, distiller, student, teachers, num_classes_of(document, describe(document)))


def _talks(
    document: Document,
    terms: tuple[Term, ...],
    student: CutModel,
    teachers: tuple[CompiledTeacher, ...],
    means: tuple[Mapping[str, Any], Codecs, Mapping[str, OrthogonalProjection | None]],
) -> tuple[dict[str, keras.KerasTensor], tuple[Term, ...]]:
    """What all say to each other, and the terms about it; `means`: inputs, codecs, and projections by teacher."""
    inputs, codecs, projections = means
    if not teachers:
        return unfold(Conversation(inputs, _participant(student, None), None, teacher_asks_itself=False), terms), terms
    first: Conversation | None = None
    tensors: dict[str, keras.KerasTensor] = {}
    spoken: dict[str, Term] = {}
    for teacher in teachers:
        conversation = Conversation(
            inputs,
            _participant(student, codecs.student.get(teacher.name)),
            _participant(teacher.side, codecs.teachers.get(teacher.name)),
            teacher_asks_itself=document.spec.method == "one_way_control",
            projection=projections[teacher.name],
            detach=document.spec.communication.detach,
            teacher_name=teacher.name,
            first=first,
        )
        first = first or conversation
        asked = _masked(teacher.document, terms, conversation, student, teacher.side)
        said = unfold(conversation, asked)
        if teacher.document.teacher_index is not None:
            said, asked = in_company(conversation, said, asked, teacher.document.weight)
        tensors |= said
        spoken |= {term.name: term for term in asked}
    return tensors, tuple(spoken.values())


def _teacher(view: Document, terms: tuple[Term, ...], student: CutModel, describe: Describe) -> CompiledTeacher:
    """One teacher, frozen and cut; `view` is the spec in which it is the only one."""
    whole = whole_model(view, "teacher", describe)
    whole.model.trainable = whole.graph.trainable = False
    side = cut_model(view, "teacher", whole)
    _require_fit(view, terms, side, student)
    return CompiledTeacher(view, side)


def _parts(teacher: CompiledTeacher, codecs: Codecs, projection: OrthogonalProjection | None) -> TeacherParts:
    model, segments, learned = teacher.side.whole.model, teacher.side.segments, teacher.document.weight == "learned"
    return TeacherParts(teacher.name, model, segments, codecs.teachers.get(teacher.name), projection, learned)


def _masked(
    document: Document, terms: tuple[Term, ...], conversation: Conversation, student: CutModel, teacher: CutModel
) -> tuple[Term, ...]:
    """The terms that compare states of a text, told which positions are padding."""
    mask = student.whole.mask or teacher.whole.mask
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


def _projection(terms: tuple[Term, ...], teacher: CompiledTeacher) -> OrthogonalProjection | None:
    """From the student's high state to the teacher's width, where a term asks for it."""
    side = teacher.side
    if side.high is None or not any(term.name == "vkd" for term in terms):
        return None
    name = "student_projection" if teacher.document.teacher_index is None else f"student_projection_for_{teacher.name}"
    return OrthogonalProjection(side.state(side.high).dim, name=name)


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
        key = f"losses.{asking[0]}" if document.teacher_index is None else "teacher"
        raise document.error(key, message, "a logit loss needs a teacher of the same task and classes")


def _joint_inputs(
    document: Document, student: CutModel, teachers: tuple[CompiledTeacher, ...]
) -> dict[str, keras.KerasTensor]:
    """One input for each column that any model reads."""
    wanted = dict(student.whole.model.input)
    for teacher in teachers:
        for name, tensor in teacher.side.whole.model.input.items():
            if name in wanted and tuple(wanted[name].shape) != tuple(tensor.shape):
                other = "the student" if name in student.whole.model.input else "another teacher"
                shapes = f"{tuple(tensor.shape)}, {other} {tuple(wanted[name].shape)}"
                raise teacher.document.error("teacher", f"the teacher reads '{name}' with shape {shapes}")
            wanted.setdefault(name, tensor)
    return {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in wanted.items()}
