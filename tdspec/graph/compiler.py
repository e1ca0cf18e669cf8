"""The compiler: a spec becomes a Distiller.

In: a `Document`, and what its data source declares. Out: `Compiled`: the Distiller and the whole models it is made of,
with fresh weights; within a `keras.StatelessScope(initialize_variables=False)`, with none at all.
Leaves out: loading weights (`weights.py`), the plan (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import keras

from tdspec.errors import GraphError
from tdspec.graph import backbones
from tdspec.graph.backbones import Backbone, Column
from tdspec.graph.codecs import Codec, StateShape, decoder, encoder, identity_encoder
from tdspec.graph.cuts import CutPoint, Segments, clean_cuts, find_cut, split
from tdspec.graph.distances import TASK_LOSSES
from tdspec.graph.distiller import Distiller
from tdspec.graph.layouts import VECTOR, Layout
from tdspec.graph.methods import Conversation, Side, Term, comparisons, unfold
from tdspec.graph.models import ImageInput, WholeModel, assemble, units_of
from tdspec.spec import model as spec_model
from tdspec.spec.checks import CUT_METHODS, TERMS
from tdspec.spec.load import Document, load


class SourceFacts(Protocol):
    """What a data source declares: see `tdspec.data.info.SourceInfo`."""

    num_classes: int | None
    image_shape: tuple[int | None, int | None, int] | None


Describe = Callable[[Document], SourceFacts]


@dataclass(frozen=True)
class CutModel:
    """One side of a distillation: the whole model, and where it is cut (None where the method does not cut)."""

    whole: WholeModel
    points: tuple[CutPoint, ...]
    low: CutPoint | None
    high: CutPoint | None
    segments: Segments | None

    def state(self, point: CutPoint) -> StateShape:
        return StateShape(int(point.shape[-1] or 0), self.whole.layout(point.shape))


@dataclass(frozen=True)
class Compiled:
    """What a spec compiles to; `num_classes` is None for regression and binary tasks."""

    document: Document
    distiller: Distiller
    student: CutModel
    teacher: CutModel | None
    num_classes: int | None


@contextmanager
def placed(document: Document, key: str) -> Iterator[None]:
    """Turn a component's refusal into an error at the place of a key."""
    try:
        yield
    except GraphError as error:
        raise document.error(key, error.message, error.hint) from error


def _columns(features: Any) -> tuple[Column, ...]:
    return tuple(Column(name, item.type, item.size, item.dim, item.mean, item.std) for name, item in features.items())


def _mlp(backbone: spec_model.MlpBackbone, **image: Any) -> Backbone:
    if backbone.features:
        return backbones.mlp_on_columns(backbone.units, backbone.dropout, _columns(backbone.features))
    return backbones.mlp_on_image(backbone.units, backbone.dropout, **image)


# How each way of giving a backbone is built, and the key that errors are about.
BUILDERS: dict[type, tuple[str, Callable[..., Backbone]]] = {
    spec_model.ClassBackbone: ("class", lambda b, **image: backbones.hub_class(b.class_name, b.config, **image)),
    spec_model.PresetBackbone: ("preset", lambda b, **image: backbones.hub_preset(b.preset, **image)),
    spec_model.ApplicationBackbone: ("application", lambda b, **image: backbones.application(b.application, **image)),
    spec_model.FileBackbone: ("file", lambda b, **image: backbones.keras_file(b.file, **image)),
    spec_model.MlpBackbone: ("mlp", _mlp),
}


def num_classes_of(document: Document, facts: SourceFacts) -> int | None:
    """The number of classes of a spec's task, from the spec or the source; None where the task has none.

    Raises:
        SpecError: neither says.
    """
    task = document.spec.task
    if task.type not in ("classification", "multilabel"):
        return None
    if task.num_classes != "auto":
        return int(task.num_classes)
    if facts.num_classes is None:
        message = f"the source does not declare the classes of '{task.label}'"
        raise document.error("task.num_classes", message, "write task.num_classes: a number")
    return facts.num_classes


def whole_model(
    document: Document, side: str, describe: Describe, image_shape: tuple[int | None, ...] | None = None
) -> WholeModel:
    """The whole model of one side of a spec, with fresh weights.

    Args:
        side: "student" or "teacher".
        describe: what the source of a document declares; a teacher given by spec has a source of its own.
        image_shape: of the images it will read; without it, what the source declares.

    Raises:
        SpecError: the backbone or its head is refused.
    """
    part: Any = getattr(document.spec, side)
    backbone = part.backbone
    facts = describe(document)
    image_shape = image_shape or facts.image_shape
    if type(backbone) is spec_model.SpecBackbone:
        return _renamed(whole_model(load(backbone.spec), "student", describe, image_shape), side)
    key, build = BUILDERS[type(backbone)]
    size = None if part.input.size == "auto" else part.input.size
    with placed(document, f"{side}.backbone.{key}"):
        built = build(backbone, size=size, channels=part.input.channels)
    head = part.head if part.head in ("own", "none") else (part.head.pooling, part.head.dropout)
    units = None if head == "none" else units_of(document.spec.task.type, num_classes_of(document, facts))
    image = ImageInput(part.input.column, part.input.channels, part.input.scale, part.input.mean, part.input.std)
    with placed(document, f"{side}.head"):
        return assemble(
            built,
            image,
            image_shape=image_shape,
            head=None if head in ("own", "none") else head,
            units=units,
            batch_norm_epsilon=getattr(backbone, "batch_norm_epsilon", None),
            name=side,
        )


def _renamed(whole: WholeModel, name: str) -> WholeModel:
    whole.model.name = whole.graph.name = name
    return whole


def cut_model(document: Document, side: str, whole: WholeModel) -> CutModel:
    """One side cut where the spec says, or uncut where the method needs no states.

    Raises:
        SpecError: a cut is not clean, or does not exist.
    """
    points = clean_cuts(whole.graph, whole.features, own_head=whole.own_head and whole.has_prediction)
    if document.spec.method not in CUT_METHODS:
        return CutModel(whole, points, None, None, None)
    cut = getattr(document.spec, side).cut
    low, high = (_found(document, side, word, whole, points, getattr(cut, word)) for word in ("low", "high"))
    with placed(document, f"{side}.cut"):
        segments = split(whole.graph, low, high, prefix=side)
    return CutModel(whole, points, low, high, segments)


def _found(
    document: Document, side: str, word: str, whole: WholeModel, points: tuple[CutPoint, ...], wanted: int | str
) -> CutPoint:
    try:
        return find_cut(whole.graph, points, wanted)
    except GraphError as error:
        listing = f"`tdspec layers {document.source.file} --side {side}` lists the clean cuts"
        message = f"{error.message} in {whole.backbone.kind}" if error.message.startswith("no layer") else error.message
        hint = f"{error.hint} {listing}" if error.hint.endswith("?") else "; ".join(filter(None, (error.hint, listing)))
        raise document.error(f"{side}.cut.{word}", message, hint) from error


def terms_of(spec: spec_model.Spec) -> tuple[Term, ...]:
    """The terms of a spec's method that have a weight and something to compare."""
    terms = []
    for name in TERMS[spec.method]:
        loss: Any = getattr(spec.losses, name)
        target, prediction = comparisons(name, spec.communication.iterations)
        if not loss.weight or not target:
            continue
        distance, options = _distance(spec.task.type, name, loss)
        terms.append(Term(name, float(loss.weight), distance, target, prediction, options))
    return tuple(terms)


def _distance(task_type: str, name: str, loss: Any) -> tuple[str, dict[str, float]]:
    if name == "task":
        return TASK_LOSSES[task_type][0], {}
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


def _build(document: Document, describe: Describe) -> Compiled:
    spec = document.spec
    student = cut_model(document, "student", whole_model(document, "student", describe))
    terms = terms_of(spec)
    if {term.name for term in terms} <= {"task"}:
        student, teacher = CutModel(student.whole, student.points, None, None, None), None
    else:
        whole = whole_model(document, "teacher", describe)
        whole.model.trainable = whole.graph.trainable = False
        teacher = cut_model(document, "teacher", whole)
        _require_prediction(document, terms, teacher, student)
    if any(term.distance == "relative_l2" for term in terms) and spec.data.batch_size < 2:
        raise document.error("data.batch_size", "distance relative_l2 needs at least 2 examples in a batch")
    inputs = _joint_inputs(document, student, teacher)
    codecs: tuple[Codec | None, Codec | None] = (None, None)
    if student.segments is not None and teacher is not None:
        with placed(document, "communication"):
            codecs = _codecs(spec.communication, spec.method, terms, student, teacher)
    conversation = Conversation(
        inputs,
        _participant(student, codecs[0]),
        None if teacher is None else _participant(teacher, codecs[1]),
        teacher_asks_itself=spec.method == "one_way_control",
    )
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
        name="distiller",
    )
    return Compiled(document, distiller, student, teacher, num_classes_of(document, describe(document)))


def _participant(side: CutModel, codec: Codec | None) -> Side | keras.Model:
    return side.whole.model if side.segments is None else Side(side.segments, codec)


def _require_prediction(document: Document, terms: tuple[Term, ...], teacher: CutModel, student: CutModel) -> None:
    if not any(term.name == "logit" for term in terms):
        return
    own, wanted = (tuple(side.whole.model.output.shape) for side in (teacher, student))
    if not teacher.whole.has_prediction or own != wanted:
        message = f"the teacher's prediction has shape {own}, the student's {wanted}"
        raise document.error("losses.logit", message, "a logit loss needs a teacher of the same task and classes")


def _joint_inputs(document: Document, student: CutModel, teacher: CutModel | None) -> dict[str, keras.KerasTensor]:
    """One input for each column that either side reads."""
    wanted = dict(student.whole.model.input)
    for name, tensor in ({} if teacher is None else teacher.whole.model.input).items():
        if name in wanted and tuple(wanted[name].shape) != tuple(tensor.shape):
            shapes = f"{tuple(tensor.shape)}, the student {tuple(wanted[name].shape)}"
            raise document.error("teacher", f"the teacher reads '{name}' with shape {shapes}")
        wanted.setdefault(name, tensor)
    return {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in wanted.items()}
