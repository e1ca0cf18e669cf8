"""The compiler: a spec becomes a Distiller.

In: a `Document`, and what its data source declares. Out: `Compiled`: the Distiller and the models it is made of,
with fresh weights; within a `keras.StatelessScope(initialize_variables=False)`, with none at all.
Leaves out: building and cutting a model (`sides.py`), the terms (`objective.py`), what does not fit (`fit.py`), loading
weights (`weights.py`), the plan (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import keras

from tdspec.graph.cached import KEPT, read_inputs, stand_ins, states_model
from tdspec.graph.codecs import Codec
from tdspec.graph.distiller import Distiller, TeacherParts
from tdspec.graph.fit import padding_mask, require_batch, require_fit
from tdspec.graph.methods import Conversation, Side, in_company, unfold
from tdspec.graph.models import set_synchronized
from tdspec.graph.objective import terms_of
from tdspec.graph.own_terms import NONE, Own, check_distances, check_names, label_of
from tdspec.graph.padding import told_padding
from tdspec.graph.projection import OrthogonalProjection
from tdspec.graph.sides import CutModel, Describe, cut_model, num_classes_of, whole_model
from tdspec.graph.speakers import Codecs, codecs_of
from tdspec.graph.terms import ACROSS_THE_BATCH, DISTANCES, Term
from tdspec.graph.walk import numbered_anew
from tdspec.spec.checks import CONTROL_METHODS, TALKING_METHODS
from tdspec.spec.load import Document
from tdspec.spec.model import TeacherCache


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
    """What a spec compiles to.

    Attributes:
        document: the spec.
        distiller: the graph.
        student: cut where a term compares its states.
        teachers: those that some term asks.
        num_classes: None for regression and binary tasks.
        own: what Python added to the spec.
        cached: names the inputs of the distiller that are kept tensors of the teacher: what `teacher_states` gives.
    """

    document: Document
    distiller: Distiller
    student: CutModel
    teachers: tuple[CompiledTeacher, ...]
    num_classes: int | None
    own: Own = NONE
    cached: tuple[str, ...] = ()

    def teacher_states(self) -> keras.Model:
        """The model from what the teacher reads to the tensors named in `cached`, float32."""
        teacher = cast(CutModel, self.teacher)
        return states_model(_speaker(teacher, None), teacher.whole.model.input, self.cached)

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


# "auto" is decided when a run starts.
POLICIES = {
    "float32": "float32",
    "mixed_bfloat16": "mixed_bfloat16",
    "mixed_float16": "mixed_float16",
    "auto": "float32",
}


def build(
    document: Document, describe: Describe, own: Own = NONE, *, cached: bool = True, precision: str = ""
) -> Compiled:
    """Compile a spec with fresh weights drawn by its seed; the student's are the same for every method and teacher.

    Args:
        document: the spec.
        describe: what the source of a document declares.
        own: terms and distances that a user adds.
        cached: where the spec has a cache, what it keeps of the teacher comes in as inputs; else it is never used.
        precision: a key of POLICIES; "": the spec's.

    Raises:
        SpecError: anything in the graph is refused, at its place.
    """
    spec = document.spec
    keras.utils.set_random_seed(spec.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[precision or spec.train.precision])
    try:
        return _build(document, describe, own, document.spec.data.teacher_cache if cached else None)
    finally:
        keras.config.set_dtype_policy(before)


@numbered_anew()
def _build(document: Document, describe: Describe, own: Own, cache: TeacherCache | None) -> Compiled:
    terms = (*terms_of(document.spec), *own.terms)
    require_batch(document, terms, ACROSS_THE_BATCH | own.across)
    student, teachers = _models(document, describe, terms)
    num_classes = num_classes_of(document, describe(document))
    inputs = _joint_inputs(document, student, teachers)
    mask = padding_mask(inputs, student, [(teacher.document, teacher.side) for teacher in teachers])
    codecs = codecs_of(document, terms, student, {teacher.name: teacher.side for teacher in teachers}, mask)
    projections = {teacher.name: _projection(terms, teacher) for teacher in teachers}
    # a spec with a cache has one teacher
    kept = {} if cache is None or not teachers else stand_ins(_speaker(teachers[0].side, None), cache.dtype)
    label = label_of(document.spec.task.type, num_classes)
    talk = _Talk(document, student, {**inputs, **kept}, mask, codecs, projections, own, label)
    tensors, spoken = talk.with_all(teachers, terms)
    if kept:
        inputs = read_inputs(talk.inputs, tensors, tuple(student.whole.model.input))
    distiller = Distiller(
        inputs,
        tensors,
        spoken,
        task_type=document.spec.task.type,
        student=student.whole.model,
        student_segments=student.segments,
        teachers=tuple(_parts(teacher, codecs, projections[teacher.name]) for teacher in teachers),
        codecs=codecs.named,
        distances={**DISTANCES, **own.distances},
        name="distiller",
    )
    cached = tuple(name for name in KEPT if name in kept and name in inputs)
    return Compiled(document, distiller, student, teachers, num_classes, own, cached)


def _models(
    document: Document, describe: Describe, terms: tuple[Term, ...]
) -> tuple[CutModel, tuple[CompiledTeacher, ...]]:
    """All models, cut; no teacher, and an uncut student, where only the labels are asked."""
    student = cut_model(document, "student", whole_model(document, "student", describe))
    set_synchronized(student.whole.model, document.spec.train.synchronize_batch_norm)
    if {term.name for term in terms} <= {"task"} or not document.teaching:
        return CutModel(student.whole, student.points, None, None, None), ()
    return student, tuple(_teacher(view, terms, student, describe) for view in document.teaching)


def _teacher(view: Document, terms: tuple[Term, ...], student: CutModel, describe: Describe) -> CompiledTeacher:
    """One teacher, frozen and cut; `view` is the spec in which it is the only one."""
    whole = whole_model(view, "teacher", describe)
    whole.model.trainable = whole.graph.trainable = False
    side = cut_model(view, "teacher", whole)
    require_fit(view, terms, side, student)
    return CompiledTeacher(view, side)


@dataclass(frozen=True)
class _Talk:
    """What the conversations with all teachers have in common."""

    document: Document
    student: CutModel
    inputs: Mapping[str, keras.KerasTensor]
    mask: keras.KerasTensor | None
    codecs: Codecs
    projections: Mapping[str, OrthogonalProjection | None]
    own: Own
    label: keras.KerasTensor

    def with_all(
        self, teachers: tuple[CompiledTeacher, ...], terms: tuple[Term, ...]
    ) -> tuple[dict[str, keras.KerasTensor], tuple[Term, ...]]:
        """What is said, by name, and the terms about it."""
        if not teachers:
            alone = Conversation(self.inputs, _speaker(self.student, None), None, teacher_asks_itself=False)
            asked = self._checked(alone, terms)
            return unfold(alone, asked), asked
        first: Conversation | None = None
        tensors: dict[str, keras.KerasTensor] = {}
        spoken: dict[str, Term] = {}
        for teacher in teachers:
            conversation = self._with(teacher, first)
            first = first or conversation
            asked = self._checked(conversation, terms)
            said = unfold(conversation, asked)
            if teacher.document.teacher_index is not None:
                said, asked = in_company(conversation, said, asked, teacher.document.weight)
            tensors |= said
            spoken |= {term.name: term for term in asked}
        return tensors, tuple(spoken.values())

    def _with(self, teacher: CompiledTeacher, first: Conversation | None) -> Conversation:
        return Conversation(
            self.inputs,
            _speaker(self.student, self.codecs.student.get(teacher.name)),
            _speaker(teacher.side, self.codecs.teachers.get(teacher.name)),
            teacher_asks_itself=self.document.spec.method in CONTROL_METHODS,
            projection=self.projections[teacher.name],
            detach=self.document.spec.communication.detach,
            mask=self.mask,
            teacher_name=teacher.name,
            first=first,
            recomputes=self.document.spec.train.remat == "iterations",
        )

    def _checked(self, conversation: Conversation, terms: tuple[Term, ...]) -> tuple[Term, ...]:
        """The terms, a user's own checked against the tensors there are, those of a text told its padding."""
        spec = self.document.spec
        check_names(self.own, conversation, spec.communication.iterations if spec.method in TALKING_METHODS else 0)
        if self.mask is not None:
            terms = told_padding(terms, conversation, self.mask)
        check_distances(self.own, terms, conversation, self.label)
        return terms


def _parts(teacher: CompiledTeacher, codecs: Codecs, projection: OrthogonalProjection | None) -> TeacherParts:
    model, segments, learned = teacher.side.whole.model, teacher.side.segments, teacher.document.weight == "learned"
    return TeacherParts(teacher.name, model, segments, codecs.teachers.get(teacher.name), projection, learned)


def _speaker(side: CutModel, codec: Codec | None) -> Side | keras.Model:
    if side.segments is None or side.low is None or side.high is None:
        return side.whole.model
    return Side(side.segments, (side.state(side.low).layout, side.state(side.high).layout), codec)


def _projection(terms: tuple[Term, ...], teacher: CompiledTeacher) -> OrthogonalProjection | None:
    """From the student's high state to the teacher's width, where a term asks for it."""
    side = teacher.side
    if side.high is None or not any("student_high_projected" in term.names for term in terms):
        return None
    name = "student_projection" if teacher.document.teacher_index is None else f"student_projection_for_{teacher.name}"
    return OrthogonalProjection(side.state(side.high).dim, name=name)


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
