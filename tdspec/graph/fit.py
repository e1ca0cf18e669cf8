"""Whether the models of a spec can give what its terms compare.

In: cut models and terms. Out: the mask of a text's padding where states of texts are compared; or a refusal at the
place of the key that decides. Leaves out: what one model alone is refused for (`sides.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import keras

from tdspec.graph.padding import check_layouts
from tdspec.graph.sides import CutModel
from tdspec.graph.sides_text import check_texts
from tdspec.graph.speakers import message_layout
from tdspec.graph.terms import Term
from tdspec.spec.checks import CUT_METHODS, LOGIT_TERMS, MESSAGE_METHODS
from tdspec.spec.load import Document


def require_batch(document: Document, terms: tuple[Term, ...], across: Collection[str]) -> None:
    """Refuse batches of one example where a term compares it with others.

    Args:
        document: the spec.
        terms: of the spec, and a user's own.
        across: the distances that do.

    Raises:
        SpecError: names the first such distance.
    """
    found = [term.distance for term in terms if term.distance in across]
    if found and document.spec.data.batch_size < 2:
        raise document.error("data.batch_size", f"distance {found[0]} needs at least 2 examples in a batch")


def require_fit(document: Document, terms: tuple[Term, ...], teacher: CutModel, student: CutModel) -> None:
    """Refuse a teacher that does not fit the student and the terms.

    Args:
        document: the spec in which it is the only teacher.
        terms: of the spec.
        teacher, student: cut.

    Raises:
        SpecError: says what differs.
    """
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


def _require_positions(document: Document, student: CutModel) -> None:
    for word, point in (("low", student.low), ("high", student.high)):
        if point is not None and not student.state(point).layout.axes:
            message = f"'{point.name}' is one vector, expected positions, since the method compares maps over them"
            raise document.error(f"student.cut.{word}", message, "cut where the state is a sequence or a grid")


def padding_mask(
    inputs: Mapping[str, keras.KerasTensor], student: CutModel, teachers: Sequence[tuple[Document, CutModel]]
) -> keras.KerasTensor | None:
    """The input that tells the padding of the text whose states are compared; None where no such state is.

    Args:
        inputs: of the graph, by name.
        student: cut.
        teachers: each with the spec in which it is the only one.

    Raises:
        SpecError: a state or a message is neither the text's tokens nor one vector.
    """
    mask = next((side.whole.mask for side in (student, *(cut for _, cut in teachers)) if side.whole.mask), "")
    if not mask or not any(document.spec.method in CUT_METHODS for document, _ in teachers):
        return None
    for document, teacher in teachers:
        layouts = {
            f"{side}.cut.{word}": cut.state(getattr(cut, word)).layout
            for side, cut in (("teacher", teacher), ("student", student))
            for word in ("low", "high")
        }
        if document.spec.method in MESSAGE_METHODS:
            positions = document.spec.communication.message.positions
            layouts["communication.message.positions"] = message_layout(positions, student)
        check_layouts(document, layouts, inputs[mask])
    return inputs[mask]
