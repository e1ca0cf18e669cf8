"""What a spec says of the text its models read, checked against the backbones that were built.

In: a `Document` and a side's backbone. Out: the side's `TextInput`, or None where it reads no text.
Leaves out: what only the words themselves tell (`spec/checks_models.py`), reading texts (`data/text.py`).
"""

from __future__ import annotations

from typing import Any

from tdspec.graph.backbones import Backbone
from tdspec.graph.models import WholeModel
from tdspec.graph.places import placed
from tdspec.graph.text import TextInput, check_inputs, difference, fitting_tokenizer, reads_text, settled_length
from tdspec.graph.tokenizers import tokenizer_folder
from tdspec.graph.weights import presets_of
from tdspec.spec.checks_models import IMAGE_WORDS, TEXT_WORDS
from tdspec.spec.load import Document
from tdspec.spec.paths import OWN_TOKENIZER
from tdspec.spec.schema import default_at


def text_input(document: Document, side: str, backbone: Backbone) -> TextInput | None:
    """Where the tokens of a side come from; None where its backbone reads no text.

    Args:
        document: the spec.
        side: "student" or "teacher", not given by another spec.
        backbone: what was built for it.

    Raises:
        SpecError: a word of `input` does not fit the backbone, or a tokenizer is missing.
    """
    part: Any = getattr(document.spec, side)
    is_text = reads_text(backbone.model)
    _refuse_unused(document, side, backbone.kind, is_text)
    if not is_text:
        return None
    if part.input.column == default_at((side, "input", "column")):
        message = f"found nothing, {backbone.kind} reads a text, expected the column that holds it"
        raise document.error(f"{side}.input.column", message, "write input: {column: NAME, length: 128}")
    with placed(document, f"{side}.backbone"):
        check_inputs(backbone.model, backbone.kind)
    with placed(document, f"{side}.input.length"):
        length = None if part.input.length == "auto" else part.input.length
        length = settled_length(backbone.model, backbone.kind, length)
    with placed(document, f"{side}.input.tokenizer"):
        folder = str(tokenizer_folder(_named_tokenizer(document, side, backbone.kind)))
        tokenizer = fitting_tokenizer(backbone.model, backbone.kind, folder)
    return TextInput(part.input.column, length, folder, tokenizer.identity)


def _named_tokenizer(document: Document, side: str, kind: str) -> str:
    part: Any = getattr(document.spec, side)
    if part.input.tokenizer != OWN_TOKENIZER:
        return str(part.input.tokenizer)
    presets = presets_of(part.backbone)
    if not presets:
        message = f"found nothing, {kind} reads a text and comes without a tokenizer, expected a preset that holds one"
        raise document.error(f"{side}.input.tokenizer", message, "write input.tokenizer: with the teacher's preset")
    return presets[0]


def _refuse_unused(document: Document, side: str, kind: str, is_text: bool) -> None:
    """Refuse words of images for a text, and words of texts for anything else."""
    words = document.values[side]["input"]
    for word in IMAGE_WORDS if is_text else TEXT_WORDS:
        if words[word] != default_at((side, "input", word)):
            reads, other = ("a text", "an image") if is_text else ("no text", "a text")
            message = f"found a word about {other}, {kind} reads {reads}"
            raise document.error(f"{side}.input.{word}", message, "delete it")


def check_texts(document: Document, student: WholeModel, teacher: WholeModel | None) -> None:
    """Refuse models that cannot share one tokenization, and changes of images where there is none.

    Raises:
        SpecError: says what differs.
    """
    sides = [side for side in (student, teacher) if side is not None]
    if document.spec.data.augment and all(side.text is not None for side in sides):
        message = "found changes of images for models that read no image, expected none"
        raise document.error("data.augment", message, "delete augment")
    if student.text is None or teacher is None or teacher.text is None:
        return
    found = difference(student.text, teacher.text)
    if found is not None:
        word, message, hint = found
        raise document.error(f"student.input.{word}", message, hint)
