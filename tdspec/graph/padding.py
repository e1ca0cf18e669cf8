"""Padding of texts: which layouts can leave it out, and which pairs of a term must be told of it.

In: layouts of states and messages, terms, the input that tells padding. Out: terms whose distances are given the mask.
Leaves out: moving states between layouts (`layouts.py`), distances that heed a mask (`distances.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import keras

from tdspec.graph.layouts import Layout, are_tokens
from tdspec.graph.methods import Conversation
from tdspec.graph.terms import NOTHING, Term
from tdspec.spec.checks import LOGIT_TERMS
from tdspec.spec.load import Document


def check_layouts(document: Document, layouts: Mapping[str, Layout], mask: keras.KerasTensor) -> None:
    """Refuse a state or message of a text that is neither its tokens nor one vector: there padding would count.

    Args:
        document: the spec.
        layouts: by the key that decides on each.
        mask: (batch, length).

    Raises:
        SpecError: at the first such key.
    """
    length = mask.shape[1]
    for key, layout in layouts.items():
        if not are_tokens(layout, mask) and layout.num_positions != 1:
            positions = " x ".join(map(str, layout.axes))
            message = f"found {positions} positions, which are not the {length} tokens of the text: padding would count"
            hint = "write positions: auto or vector" if "message" in key else "cut where the state is the text's tokens"
            raise document.error(key, message, f"{hint}, or one vector" if "cut" in key else hint)


def told_padding(terms: tuple[Term, ...], conversation: Conversation, mask: keras.KerasTensor) -> tuple[Term, ...]:
    """The terms, those that compare tokens told which are padding; a vector has none."""
    return tuple(_told(term, conversation, mask) for term in terms)


def _told(term: Term, conversation: Conversation, mask: keras.KerasTensor) -> Term:
    if term.name == "task" or term.name in LOGIT_TERMS:
        return term
    masks = tuple(
        mask.name if any(name != "label" and _has_tokens(conversation[name], mask) for name in pair) else NOTHING
        for pair in zip(term.target, term.prediction, strict=True)
    )
    return replace(term, given={**term.given, "mask": masks}) if any(masks) else term


def _has_tokens(state: keras.KerasTensor, mask: keras.KerasTensor) -> bool:
    """Whether a state (batch, length, d) is a text's tokens."""
    return tuple(state.shape[1:-1]) == tuple(mask.shape[1:])
