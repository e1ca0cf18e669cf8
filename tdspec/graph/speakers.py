"""The codecs of a spec: one of the student, and one of each teacher, into one message space.

In: the spec's words about communication, and the models cut. Out: `Codecs`.
Leaves out: how an encoder or a decoder is built (`codecs.py`), what is said to whom (`methods.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from tdspec.graph.codecs import Codec, Inner, StateShape, decoder, encoder, identity_encoder
from tdspec.graph.layouts import VECTOR, Layout
from tdspec.graph.places import placed
from tdspec.graph.sides import CutModel
from tdspec.graph.terms import Term
from tdspec.spec import model as spec_model
from tdspec.spec.checks import MESSAGE_METHODS
from tdspec.spec.load import Document

States = tuple[StateShape, StateShape]


@dataclass(frozen=True)
class Codecs:
    """E and D of everybody.

    Attributes:
        student: by teacher what the student talks to it with: always the same codec, but for FitNet with several
            teachers, whose messages are the teachers' states, each as wide as they are.
        teachers: by teacher its own.
    """

    student: Mapping[str, Codec]
    teachers: Mapping[str, Codec]

    @property
    def named(self) -> dict[str, Codec]:
        """Each codec once: "student_codec", "teacher_codec"."""
        is_one = len({id(codec) for codec in self.student.values()}) == 1
        return {
            **{
                "student_codec" if is_one else f"student_codec_for_{name}": codec
                for name, codec in self.student.items()
            },
            **{f"{name}_codec": codec for name, codec in self.teachers.items()},
        }


NONE = Codecs({}, {})


def codecs_of(
    document: Document,
    terms: tuple[Term, ...],
    student: CutModel,
    teachers: Mapping[str, CutModel],
    mask: keras.KerasTensor | None,
) -> Codecs:
    """The codecs of everybody, by the teachers' names; none where the method has no messages.

    Raises:
        SpecError: they cannot be built.
    """
    if document.spec.method not in MESSAGE_METHODS or not teachers:
        return NONE
    with placed(document, "communication.encoder.type"):
        return _codecs(document.spec, terms, student, teachers, mask)


def _codecs(
    spec: spec_model.Spec,
    terms: tuple[Term, ...],
    student: CutModel,
    teachers: Mapping[str, CutModel],
    mask: keras.KerasTensor | None,
) -> Codecs:
    """FitNet's E_h is the identity, and then a message is the teacher's states."""
    chosen, own = spec.communication.encoder, _states(student)
    inner = Inner(chosen.type, chosen.hidden_dim, chosen.num_heads, chosen.num_layers)
    layout = message_layout(spec.communication.message.positions, student)
    states = {name: _states(side) for name, side in teachers.items()}
    messages = {name: StateShape(spec.communication.message.dim, layout) for name in teachers}
    names = {name: f"{name}_codec_encode" for name in teachers}
    if spec.method == "fitnet":
        messages = {name: StateShape(sum(state.dim for state in pair), layout) for name, pair in states.items()}
        encoders = {n: identity_encoder(pair, layout, name=names[n], mask=mask) for n, pair in states.items()}
    else:
        encoders = {n: encoder(inner, pair, messages[n], name=names[n], mask=mask) for n, pair in states.items()}

    def of_student(message: StateShape, suffix: str) -> Codec:
        return Codec(
            encoder(inner, own, message, name=f"student_codec{suffix}_encode", mask=mask),
            decoder(inner, own, message, name=f"student_codec{suffix}_decode", mask=mask),
        )

    if spec.method == "fitnet" and len(teachers) > 1:
        ours = {name: of_student(message, f"_for_{name}") for name, message in messages.items()}
    else:
        ours = dict.fromkeys(teachers, of_student(next(iter(messages.values())), ""))
    # e'_h enters only L_SC; without it nothing would train that half of the teacher's decoder.
    heard = 2 if any("teacher_high_told" in term.names for term in terms) else 1
    theirs = {
        name: Codec(
            encoders[name], decoder(inner, pair[:heard], messages[name], name=f"{name}_codec_decode", mask=mask)
        )
        for name, pair in states.items()
    }
    return Codecs(ours, theirs)


def _states(side: CutModel) -> States:
    return side.state(side.low), side.state(side.high)  # type: ignore[arg-type]


def message_layout(positions: Any, student: CutModel) -> Layout:
    """The positions of a message: `message.positions`, "auto" for those of the student's high state."""
    if positions == "vector":
        return VECTOR
    if positions == "auto":
        return student.state(student.high).layout  # type: ignore[arg-type]
    return Layout(tuple(positions), tuple(positions))
