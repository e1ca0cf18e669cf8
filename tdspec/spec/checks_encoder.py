"""Rules about encoders that the schema cannot say.

In: `Facts`. Out: problems.
Leaves out: whether the message's positions, where they are the student's, are any (`graph/codecs.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from tdspec.spec.facts import Check, Facts
from tdspec.spec.problems import Problem
from tdspec.spec.words import one_of

PATH = ("communication", "encoder")
# The keys that not every encoder reads, and the types that do.
READERS = {"hidden_dim": ("mlp", "transformer"), "num_heads": ("transformer",), "num_layers": ("transformer",)}


def _unread_keys(facts: Facts) -> Iterator[Problem]:
    kind = facts.values["communication"]["encoder"]["type"]
    for key, readers in READERS.items():
        if kind not in readers and facts.is_written(*PATH, key):
            message = f"found {key} for the encoder '{kind}', expected the type {one_of(readers)}"
            hint = "delete it" if facts.is_written(*PATH, "type") else f"write type: {readers[0]}, or delete it"
            yield Problem((*PATH, key), "no-effect", message, hint, severity="warning", at_key=True)


def _heads_divide(facts: Facts) -> Iterator[Problem]:
    encoder = facts.values["communication"]["encoder"]
    heads, dim = encoder["num_heads"], encoder["hidden_dim"]
    if encoder["type"] != "transformer" or dim % heads == 0:
        return
    # the place of what was written; a default has none
    key = "num_heads" if facts.is_written(*PATH, "num_heads") else "hidden_dim"
    wanted = f"a multiple of num_heads, which is {heads}"
    if key == "num_heads":
        wanted = f"a divisor of hidden_dim, which is {dim}"
    hint = f"write hidden_dim: {dim - dim % heads or heads}"
    yield Problem((*PATH, key), "encoder", f"found {encoder[key]}, expected {wanted}", hint)


def _positions_to_attend(facts: Facts) -> Iterator[Problem]:
    communication = facts.values["communication"]
    positions = communication["message"]["positions"]
    if communication["encoder"]["type"] == "transformer" and positions in ("vector", [1, 1]):
        message = "found 'transformer' for a message of one position, expected 'linear' or 'mlp'"
        hint = "a transformer attends over positions; write positions: auto or [h, w], or type: mlp"
        yield Problem((*PATH, "type"), "encoder", message, hint)


ENCODER_CHECKS: tuple[Check, ...] = (
    Check(("communication",), _unread_keys),
    Check(("communication",), _heads_divide),
    Check(("communication",), _positions_to_attend),
)
