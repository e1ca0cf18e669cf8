"""The tensors that terms compare.

In: two sides cut in segments, their codecs. Out: named tensors of one functional graph.
A tensor is made when a term asks for it, and never otherwise: what only a term of weight 0 needs is not in the graph.
Leaves out: what is compared with what (`terms.py`), the reduction and the step (`distiller.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import keras
from keras import ops

from tdspec.graph.codecs import Codec
from tdspec.graph.cuts import Segments
from tdspec.graph.inference import InInference, Recomputed
from tdspec.graph.layouts import Layout, resample
from tdspec.graph.terms import NOTHING, Term

Tensor = Any

# What the student says of the data before anybody answers.
SHARED = frozenset(("student_low", "student_high", "student_prediction", "student_message"))


@dataclass(frozen=True)
class Side:
    """A model as a participant.

    Attributes:
        segments: its three parts.
        layouts: of its low and high state.
        codec: how it encodes and decodes; None where it never does.
    """

    segments: Segments
    layouts: tuple[Layout, Layout]
    codec: Codec | None


class Conversation:
    """The tensors of a distillation by name, each made on first demand.

    Args:
        inputs: named keras.Inputs.
        student, teacher: a `Side`, or the whole model inputs -> prediction where it is not cut; None: no teacher.
        teacher_asks_itself: the teacher interprets its own message instead of the student's (one_way_control).
        projection: the student's high state -> as wide as the teacher's; None where no term asks for it.
        mask: the input that tells which tokens of a text are padding; None where no state of a text is compared.
        detach: "question" or "answer" or both: a message through which no gradient flows back to who sent it.
        teacher_name: for the names of layers.
        first: with several teachers, the conversation with the first: what the student alone says is said once.
        recomputes: whether the activations of iterations are not kept, but computed once more for the gradient.
    """

    def __init__(
        self,
        inputs: Mapping[str, keras.KerasTensor],
        student: Any,
        teacher: Any,
        *,
        teacher_asks_itself: bool,
        projection: keras.layers.Layer | None = None,
        detach: tuple[str, ...] = (),
        mask: keras.KerasTensor | None = None,
        teacher_name: str = "teacher",
        first: Conversation | None = None,
        recomputes: bool = False,
    ):
        self.inputs = dict(inputs)
        self.student, self.teacher = student, teacher
        self.teacher_asks_itself = teacher_asks_itself
        self.projection, self.detach, self.mask = projection, detach, mask
        self.teacher_name, self._first, self._recomputes = teacher_name, first, recomputes
        self.tensors: dict[str, keras.KerasTensor] = {}
        self._decoded: dict[tuple[str, str, bool], list[keras.KerasTensor]] = {}
        self._layers: dict[str, InInference] = {} if first is None else first._layers

    def is_shared(self, name: str) -> bool:
        """Whether a tensor is the same in the conversations with all teachers."""
        return name in SHARED or name in self.inputs

    def __getitem__(self, name: str) -> keras.KerasTensor:
        if self._first is not None and self.is_shared(name):
            self.tensors[name] = self._first[name]
        elif name in self.inputs and name not in self.tensors:
            # an input that a distance reads, such as a padding mask
            self.tensors[name] = ops.cast(self.inputs[name], "float32")
        if name not in self.tensors:
            stem, _, number = name.rpartition("_")
            self.tensors[name] = self._iterated[stem](int(number)) if number.isdigit() else self._makers[name]()
        return self.tensors[name]

    @cached_property
    def _makers(self) -> dict[str, Callable[[], Tensor]]:
        """Makers of the tensors on the data."""
        return {
            "student_low": lambda: self._part(self.student, "lower", None),
            "student_high": lambda: self._part(self.student, "middle", self["student_low"]),
            "student_prediction": lambda: self._prediction(self.student, "student"),
            "teacher_low": lambda: ops.stop_gradient(self._part(self.teacher, "lower", None, inference=True)),
            "teacher_high": lambda: ops.stop_gradient(
                self._part(self.teacher, "middle", self["teacher_low"], inference=True)
            ),
            "teacher_prediction": lambda: ops.stop_gradient(self._prediction(self.teacher, "teacher", inference=True)),
            "student_message": lambda: self._encode(self.student, self["student_low"], self["student_high"]),
            "teacher_message": lambda: self._encode(self.teacher, self["teacher_low"], self["teacher_high"]),
            "student_low_told": lambda: self._decode("student", "teacher_message", "student_low_told"),
            "student_high_told": lambda: self._decode("student", "teacher_message", "student_high_told"),
            "teacher_low_told": lambda: self._decode("teacher", "student_message", "teacher_low_told"),
            "teacher_high_told": lambda: self._decode("teacher", "student_message", "teacher_high_told"),
            "teacher_low_placed": lambda: self._placed(0),
            "teacher_high_placed": lambda: self._placed(1),
            "student_high_projected": lambda: self.projection(self["student_high"]),  # type: ignore[misc]
        }

    @cached_property
    def _iterated(self) -> dict[str, Callable[[int], Tensor]]:
        """Makers of the tensors of iteration k, from 1."""
        return {
            # the teacher hears: s'_h, e'_h = D_h(m^k); e'_h enters only L_SC
            "teacher_low": lambda k: self._decode("teacher", self._question(k), f"teacher_low_{k}", "question"),
            # and interprets with its own frozen layers: e~_h = middle_h(s'_h)
            "teacher_high": lambda k: self._interpreted(self.teacher, self[f"teacher_low_{k}"]),
            # what the teacher would predict of it
            "teacher_prediction": lambda k: self._predicted(self.teacher, self[f"teacher_high_{k}"]),
            # and answers: m_h^k = E_h(s'_h, e~_h)
            "teacher_message": lambda k: self._answered(k),
            # the student hears the answer: s'_g, e'_g = D_g(m_h^k)
            "student_low": lambda k: self._decode("student", f"teacher_message_{k}", f"student_low_{k}", "answer"),
            "student_high": lambda k: self._decode("student", f"teacher_message_{k}", f"student_high_{k}", "answer"),
            # and asks again: m_g^{k} = E_g(s'_g, middle_g(s'_g)), from the answer of iteration k - 1.
            # In inference mode: BatchNormalization is updated by the data alone, once a step.
            "student_message": lambda k: self._asked(self[f"student_low_{k - 1}"]),
        }

    def _answered(self, k: int) -> Tensor:
        if not self._recomputes:
            return self._encode(self.teacher, self[f"teacher_low_{k}"], self[f"teacher_high_{k}"])
        heard = self._heard(self._question(k), "question")
        return self._at_once(self.teacher, f"{self.teacher_name}_answer", heard, hears=True)

    def _heard(self, message: str, role: str) -> Tensor:
        return ops.stop_gradient(self[message]) if role in self.detach else self[message]

    def _asked(self, low: Tensor) -> Tensor:
        if not self._recomputes:
            return self._encode(self.student, low, self._interpreted(self.student, low))
        return self._at_once(self.student, "student_question", low, hears=False)

    def _at_once(self, side: Any, name: str, state: Tensor, *, hears: bool) -> Tensor:
        """A message from a low state, or from the message that tells it, of which nothing in between is kept."""
        if name not in self._layers:
            self._layers[name] = Recomputed(message_of(side, hears=hears), name=name)
        layer = self._layers[name]
        return layer([state, *self._masks(layer.model.inputs[1:])])

    def _question(self, k: int) -> str:
        asker = "teacher" if self.teacher_asks_itself else "student"
        return f"{asker}_message" if k == 1 else f"{asker}_message_{k - self.teacher_asks_itself}"

    def _part(self, side: Any, part: str, state: Tensor, *, inference: bool = False) -> Tensor:
        model = getattr(side.segments, part)
        run = self._layer(InInference, model) if inference else model
        if state is None:
            return run({name: self.inputs[name] for name in model.input})
        return run([state, *self._masks(model.inputs[1:])])

    def _prediction(self, side: Any, prefix: str, *, inference: bool = False) -> Tensor:
        if isinstance(side, Side):
            return self._part(side, "upper", self[f"{prefix}_high"], inference=inference)
        run = self._layer(InInference, side) if inference else side
        return run({name: self.inputs[name] for name in side.input})

    def _interpreted(self, side: Any, low: Tensor) -> Tensor:
        """The high state that a side makes of a low state it was told."""
        middle = side.segments.middle
        run = self._layer(Recomputed if self._recomputes else InInference, middle)
        return run([low, *self._masks(middle.inputs[1:])])

    def _predicted(self, side: Any, high: Tensor) -> Tensor:
        """What a side predicts from a high state that it has made of what it was told."""
        upper = side.segments.upper
        return self._layer(InInference, upper)([high, *self._masks(upper.inputs[1:])])

    def _layer(self, kind: type[InInference], model: keras.Model) -> InInference:
        name = f"{model.name}_{'in_inference' if kind is InInference else 'recomputed'}"
        if name not in self._layers:
            self._layers[name] = kind(model, name=name)
        return self._layers[name]

    def _encode(self, side: Any, low: Tensor, high: Tensor) -> Tensor:
        model = side.codec.encode
        return model([low, high, *self._masks(model.inputs[2:])])

    def _masks(self, entries: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
        """What the inputs of a segment or codec that tell padding are fed."""
        return [self.inputs[entry.name] for entry in entries]

    def _placed(self, index: int) -> Tensor:
        """The teacher's low (0) or high (1) state at the positions of the student's."""
        word = ("low", "high")[index]
        source, target = self.teacher.layouts[index], self.student.layouts[index]
        name = f"{self.teacher_name}_{word}_placed"
        return resample(self[f"teacher_{word}"], source, target, name=name, mask=self.mask)

    def _decode(self, prefix: str, message: str, name: str, role: str = "consistency") -> Tensor:
        """One state of a message, which is decoded once for all who ask; role: "question", "answer", "consistency"."""
        stopped = role in self.detach
        if (prefix, message, stopped) not in self._decoded:
            model = (self.student if prefix == "student" else self.teacher).codec.decode
            heard = self._heard(message, role)
            masks = self._masks(model.inputs[1:])
            run = self._layer(Recomputed, model) if self._recomputes and role != "consistency" else model
            self._decoded[prefix, message, stopped] = keras.tree.flatten(run([heard, *masks] if masks else heard))
        return self._decoded[prefix, message, stopped]["_high" in name]


def message_of(side: Side, *, hears: bool) -> keras.Model:
    """What a side says of a low state, or of the message that tells it, as one model, weights shared.

    Args:
        side: cut, with a codec.
        hears: whether it starts from a message.

    Returns:
        [state or message, masks of padding by the names of the inputs that they are] -> message.
    """
    codec: Any = side.codec
    middle = side.segments.middle
    first, *rest = codec.decode.inputs if hears else middle.inputs
    masks = {entry.name: _like(entry) for entry in (*rest, *middle.inputs[1:], *codec.encode.inputs[2:])}

    def masks_of(entries: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
        return [masks[entry.name] for entry in entries]

    given = low = _like(first)
    if hears:
        low = keras.tree.flatten(codec.decode([given, *masks_of(rest)] if rest else given))[0]
    high = middle([low, *masks_of(middle.inputs[1:])])
    message = codec.encode([low, high, *masks_of(codec.encode.inputs[2:])])
    return keras.Model([given, *masks.values()], message)


def _like(entry: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Input(batch_shape=entry.shape, dtype=entry.dtype, name=entry.name)


def unfold(conversation: Conversation, terms: tuple[Term, ...]) -> dict[str, keras.KerasTensor]:
    """The tensors that the terms read, by name, and the student's prediction."""
    names = {name for term in terms for name in term.names}
    return {name: conversation[name] for name in sorted(names | {"student_prediction"})}


def in_company(
    conversation: Conversation,
    tensors: Mapping[str, keras.KerasTensor],
    terms: tuple[Term, ...],
    weight: float | Literal["learned"],
) -> tuple[dict[str, keras.KerasTensor], tuple[Term, ...]]:
    """The tensors and terms of one of several conversations, by names that tell them apart: "interaction_big",
    "big.teacher_low"; what is shared keeps its name.

    Args:
        conversation: with one teacher.
        tensors: what `unfold` gives.
        terms: of the method.
        weight: of the teacher; "learned": its terms keep their own, and the Distiller learns the rest.
    """
    teacher = conversation.teacher_name

    def named(name: str) -> str:
        return name if name in ("label", NOTHING) or conversation.is_shared(name) else f"{teacher}.{name}"

    def of_teacher(term: Term) -> Term:
        return replace(
            term,
            name=f"{term.name}_{teacher}",
            weight=term.weight * (1.0 if weight == "learned" else weight),
            target=tuple(map(named, term.target)),
            prediction=tuple(map(named, term.prediction)),
            given={key: tuple(map(named, names)) for key, names in term.given.items()},
            teacher=teacher,
        )

    renamed = {named(name): tensor for name, tensor in tensors.items()}
    return renamed, tuple(term if term.name == "task" else of_teacher(term) for term in terms)
