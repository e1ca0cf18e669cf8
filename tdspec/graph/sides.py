"""One side of a distillation: the student or the teacher of a spec as a whole model, cut where the spec says.

In: a `Document`, and what its data source declares. Out: `CutModel`.
Leaves out: what the sides say to each other (`compiler.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tdspec.errors import GraphError
from tdspec.graph import backbones
from tdspec.graph.applications import application
from tdspec.graph.backbones import Backbone, Column
from tdspec.graph.codecs import StateShape
from tdspec.graph.cuts import CutPoint, Segments, clean_cuts, find_cut, split
from tdspec.graph.logits import with_classes, with_logits
from tdspec.graph.models import ImageInput, WholeModel, assemble, units_of
from tdspec.graph.places import placed
from tdspec.graph.repeats import traced_once
from tdspec.graph.sides_text import text_input
from tdspec.graph.walk import numbered_anew
from tdspec.spec import model as spec_model
from tdspec.spec.checks import CUT_METHODS, TALKING_METHODS
from tdspec.spec.load import Document, load


class SourceFacts(Protocol):
    """What a data source declares: see `tdspec.data.info.SourceInfo`."""

    @property
    def num_classes(self) -> int | None: ...

    @property
    def image_shape(self) -> tuple[int | None, int | None, int] | None: ...


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


def _columns(features: Any) -> tuple[Column, ...]:
    return tuple(Column(name, item.type, item.size, item.dim, item.mean, item.std) for name, item in features.items())


def _mlp(backbone: spec_model.MlpBackbone, **image: Any) -> Backbone:
    layers = (backbone.units, backbone.activation, backbone.dropout)
    if backbone.features:
        return backbones.mlp_on_columns(*layers, _columns(backbone.features))
    return backbones.mlp_on_image(*layers, **image)


# How each way of giving a backbone is built, and the key that errors are about.
BUILDERS: dict[type, tuple[str, Callable[..., Backbone]]] = {
    spec_model.ClassBackbone: ("class", lambda b, **image: backbones.hub_class(b.class_name, b.config, **image)),
    spec_model.PresetBackbone: ("preset", lambda b, **image: backbones.hub_preset(b.preset, **image)),
    spec_model.ApplicationBackbone: (
        "application",
        lambda b, **image: application(b.application, imagenet=b.weights == "imagenet", **image),
    ),
    spec_model.FileBackbone: ("file", lambda b, **image: backbones.keras_file(b.file, **image)),
    spec_model.MlpBackbone: ("mlp", _mlp),
}


# What a head's word builds: a probe is a plain head, whose weights `run/probe.py` fits.
HEADS: dict[Any, spec_model.Head | None] = {
    "own": None,
    "none": None,
    "probe": spec_model.Head("auto", dropout=0.0, bias=0.0),
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


@numbered_anew()
@traced_once()
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
    # a model given by spec reads the images of this spec's source, also where that does not declare their size
    image_shape = image_shape or facts.image_shape or (None, None, None)
    if type(backbone) is spec_model.SpecBackbone:
        whole = _renamed(whole_model(load(backbone.spec), "student", describe, image_shape), document.name_of(side))
        if side == "student":
            _require_units(document, whole, facts)
        return whole if side == "student" else _with_map(document, whole, facts)
    key, build = BUILDERS[type(backbone)]
    size = None if part.input.size == "auto" else part.input.size
    with placed(document, f"{side}.backbone.{key}"):
        built = build(backbone, size=size, channels=part.input.channels)
    text = text_input(document, side, built)
    head = HEADS[part.head] if isinstance(part.head, str) else part.head
    mapped = side == "teacher" and part.class_map is not None
    units = None if part.head == "none" else units_of(document.spec.task.type, num_classes_of(document, facts))
    image = ImageInput(part.input.column, part.input.channels, part.input.scale, part.input.mean, part.input.std)
    _require_pixels(document, side, built, image)
    with placed(document, f"{side}.head"):
        whole = assemble(
            built,
            image,
            text=text,
            image_shape=image_shape,
            head=head,
            units=int(built.model.outputs[0].shape[-1]) if mapped else units,
            batch_norm_epsilon=getattr(backbone, "batch_norm_epsilon", None),
            name=document.name_of(side),
        )
    if side == "teacher" and part.head == "own" and document.spec.task.type != "regression":
        whole = with_logits(whole)
    return _with_map(document, whole, facts) if side == "teacher" else whole


def _require_pixels(document: Document, side: str, built: Backbone, image: ImageInput) -> None:
    """A backbone that scales pixels itself must be given them as they are."""
    if built.scales_pixels and (image.scale, image.mean, image.std) != ((0, 255), (0,), (1,)):
        message = f"found other values than pixels 0 to 255, which {built.kind} scales itself"
        raise document.error(f"{side}.input", message, "write input.scale: [0, 255], without mean and std")


def _with_map(document: Document, teacher: WholeModel, facts: SourceFacts) -> WholeModel:
    """The teacher's classes as the student's, where the spec says which is which."""
    groups = None if document.spec.teacher is None else document.spec.teacher.class_map
    if groups is None:
        return teacher
    num_classes = num_classes_of(document, facts)
    assert num_classes is not None  # a class map is for a classification alone
    with placed(document, "teacher.class_map"):
        return with_classes(teacher, groups, num_classes)


def _require_units(document: Document, whole: WholeModel, facts: SourceFacts) -> None:
    units = units_of(document.spec.task.type, num_classes_of(document, facts))
    if tuple(whole.model.output.shape) != (None, units):
        message = f"its prediction has shape {tuple(whole.model.output.shape)}, the task needs (None, {units})"
        raise document.error("student.backbone.spec", message, "a student given by spec needs a spec of the same task")


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
    interprets = document.spec.method in TALKING_METHODS and document.spec.communication.iterations > 0
    if low.position == high.position and interprets:
        message = f"'{high.name}' is low too, expected at least one layer between them"
        raise document.error(
            f"{side}.cut.high", message, "an iteration runs the layers between; or write iterations: 0"
        )
    with placed(document, f"{side}.cut"):
        segments = split(whole.graph, low, high, prefix=document.name_of(side))
    return CutModel(whole, points, low, high, segments)


def _found(
    document: Document, side: str, word: str, whole: WholeModel, points: tuple[CutPoint, ...], wanted: int | str
) -> CutPoint:
    try:
        return find_cut(whole.graph, points, wanted)
    except GraphError as error:
        listing = f"`tdspec layers {document.source.file} --side {document.name_of(side)}` lists the clean cuts"
        message = f"{error.message} in {whole.backbone.kind}" if error.message.startswith("no layer") else error.message
        hint = f"{error.hint} {listing}" if error.hint.endswith("?") else "; ".join(filter(None, (error.hint, listing)))
        raise document.error(f"{side}.cut.{word}", message, hint) from error
