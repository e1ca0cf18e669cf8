"""Backbones that read text: what they are fed, which output is the sequence, and pooling that never sees padding.

In: a functional model that reads `token_ids` and `padding_mask`, and where its text comes from. Out: `TextInput`, the
model from ids to its sequence, pooling steps. Leaves out: tokenizers (`tokenizers.py`), the head's Dense layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import ops

from tdspec.errors import GraphError
from tdspec.graph.tokenizers import Tokenizer, read_tokenizer

IDS, MASK, SEGMENTS = "token_ids", "padding_mask", "segment_ids"
SEQUENCE = "sequence_output"
LOWEST = -3.0e38  # below every feature that is finite in float32

Step = Callable[[keras.KerasTensor], keras.KerasTensor]


@dataclass(frozen=True)
class TextInput:
    """Where a model's tokens come from.

    Attributes:
        column: of the data, which holds the texts.
        length: tokens of an example, start, end and padding included.
        folder: of the preset whose tokenizer is used.
        identity: of that tokenizer; see `tokenizers.Tokenizer`.
    """

    column: str
    length: int
    folder: str
    identity: str


def reads_text(model: keras.Model) -> bool:
    """Whether a functional model reads tokens."""
    return isinstance(model.input, dict) and IDS in model.input


def check_inputs(model: keras.Model, kind: str) -> None:
    """Refuse a text backbone that wants more than one text, or cannot tell padding from it.

    Raises:
        GraphError: says which input is missing or unknown.
    """
    unknown = [name for name in model.input if name not in (IDS, MASK, SEGMENTS)]
    if unknown:
        raise GraphError(f"{kind} reads '{unknown[0]}' beside '{IDS}', expected a backbone of one text")
    if MASK not in model.input:
        hint = "choose a backbone with a padding mask, such as BertBackbone"
        raise GraphError(f"{kind} takes no padding mask, so that padding would count as text", hint)


def settled_length(model: keras.Model, kind: str, length: int | None) -> int:
    """The number of tokens a model is fed.

    Args:
        model: a text backbone.
        kind: what a person calls it.
        length: what the spec says; None: as many as the backbone takes.

    Raises:
        GraphError: it takes fewer, or nothing says how many.
    """
    fixed = model.input[IDS].shape[1]
    longest = fixed or getattr(model, "max_sequence_length", None)
    if length is None and longest is None:
        raise GraphError(f"{kind} takes texts of any length, expected a number of tokens", "write input.length: 128")
    if length is not None and fixed is not None and length != fixed:
        raise GraphError(f"found {length}, {kind} reads exactly {fixed} tokens", f"write input.length: {fixed}")
    if length is not None and longest is not None and length > longest:
        message = f"found {length}, the max_sequence_length of {kind} is {longest}"
        raise GraphError(message, f"write input.length: {longest} or less, or raise the config's")
    return int(length or longest or 0)


def fitting_tokenizer(model: keras.Model, kind: str, folder: str) -> Tokenizer:
    """The tokenizer of a preset, whose every id the model has an embedding for.

    Raises:
        GraphError: it cannot be read, or has more ids.
    """
    tokenizer = read_tokenizer(folder)
    known = getattr(model, "vocabulary_size", None)
    if known is not None and known < tokenizer.vocabulary_size:
        message = f"the tokenizer has {tokenizer.vocabulary_size:,} ids, the vocabulary_size of {kind} is {known:,}"
        raise GraphError(message, f"write vocabulary_size: {tokenizer.vocabulary_size} in its config")
    return tokenizer


def sequence_model(model: keras.Model, kind: str) -> keras.Model:
    """The model up to its sequence of states; BERT's pooled output is left out with the layer that only it needs.

    Raises:
        GraphError: it has several outputs and none is called a sequence.
    """
    if not isinstance(model.output, dict):
        return model
    if SEQUENCE not in model.output:
        raise GraphError(f"{kind} has the outputs {', '.join(model.output)}, expected one, or '{SEQUENCE}'")
    return keras.Model(model.input, model.output[SEQUENCE], name=model.name)


def is_causal(model: keras.Model) -> bool:
    """Whether a position sees only what stands before it, as in GPT-2 and Llama."""
    return any("Decoder" in type(layer).__name__ for layer in model._flatten_layers())


def masked_mean(x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Mean over the positions that are no padding: (batch, length, d), (batch, length) -> (batch, d), float32."""
    weight = ops.expand_dims(ops.cast(mask, "float32"), -1)
    total = ops.sum(ops.cast(x, "float32") * weight, axis=1)
    return total / ops.maximum(ops.sum(weight, axis=1), 1.0)


def masked_max(x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Maximum over the positions that are no padding: (batch, length, d), (batch, length) -> (batch, d), float32."""
    present = ops.expand_dims(ops.cast(mask, "bool"), -1)
    return ops.max(ops.where(present, ops.cast(x, "float32"), LOWEST), axis=1)


MASKED: dict[str, Callable[..., Any]] = {"mean": masked_mean, "max": masked_max}


def pooling_steps(pooling: str, length: int, mask: keras.KerasTensor, *, causal: bool) -> list[Step]:
    """How a sequence becomes one vector, however much padding follows it.

    Args:
        pooling: "auto" is the first token where every token sees all others, else the masked mean.
        length: positions of the sequence.
        mask: (batch, length) of 0 for padding.
        causal: see `is_causal`.

    Raises:
        GraphError: the pooling would count padding, or see nothing of the text.
    """
    if pooling == "auto":
        pooling = "mean" if causal else "token"
    if pooling == "flatten":
        raise GraphError("pooling 'flatten' counts padding as text", "write pooling: mean, max or token")
    if pooling == "token":
        if causal:
            message = "pooling 'token' reads the first token, which in this backbone sees nothing of the text"
            raise GraphError(message, "write pooling: mean or max")
        first = keras.layers.Cropping1D((0, length - 1), name="first_token")
        return [first, keras.layers.Flatten(name="head_pooling")]
    return [partial(MASKED[pooling], mask=mask)]


def difference(student: TextInput, teacher: TextInput) -> tuple[str, str, str] | None:
    """Why two models cannot share one tokenization: the word of `input`, a message and a hint; None: they can."""
    if student.column != teacher.column:
        message = f"found '{student.column}', the teacher reads '{teacher.column}'"
        return "column", message, "both read one text, or their states cannot be compared"
    if student.length != teacher.length:
        message = f"found {student.length} tokens, the teacher reads {teacher.length}"
        return "length", message, "write one length for both, or their positions do not correspond"
    if student.identity != teacher.identity:
        message = f"found the tokenizer of {student.folder}, the teacher's is another, that of {teacher.folder}"
        hint = "tokens of two tokenizers do not correspond; write input.tokenizer: with the teacher's preset"
        return "tokenizer", message, hint
    return None
