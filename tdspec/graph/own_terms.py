"""Terms and distances that a user adds in Python.

In: `Term`s, functions by name. Out: `Own`, checked: names that exist and are free, distances that give one value an
example. What is wrong is one GraphError that says what there is.
Leaves out: making the tensors (`methods.py`), optimising and logging the terms, which is as for all others.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tdspec.errors import GraphError
from tdspec.graph.across import ALONE, Across
from tdspec.graph.distances import Distance
from tdspec.graph.methods import Conversation, Side
from tdspec.graph.terms import DISTANCES, NOTHING, Term
from tdspec.spec.checks import TERMS
from tdspec.spec.figures import MORE_IS_BETTER
from tdspec.spec.words import one_of, similar

NAME = re.compile(r"[a-z][a-z0-9_]*")
# What is logged under a name of its own: the terms of all methods, the objective, the figures of tasks.
TAKEN = frozenset(("loss", *MORE_IS_BETTER, *(name for names in TERMS.values() for name in names)))
STATE_WORDS = ("low", "high")
CONSTANT_TENSORS = frozenset(
    ("label", "teacher_low", "teacher_high", "teacher_prediction", "teacher_low_placed", "teacher_high_placed")
)
NUM_TRIED = 3  # examples that a distance is tried on


@dataclass(frozen=True)
class Own:
    """What a user adds to a spec.

    Attributes:
        terms: those with a weight.
        distances: by name, each called as the distances of `terms.DISTANCES` are.
        formulas: the first line of what each distance says of itself.
        across: the distances that reach the other examples of a batch.
    """

    terms: tuple[Term, ...]
    distances: Mapping[str, Distance]
    formulas: Mapping[str, str]
    across: frozenset[str]


NONE = Own((), {}, {}, frozenset())


def own_terms(terms: Sequence[Term], distances: Mapping[str, Callable[..., Any]]) -> Own:
    """What a user adds, checked as far as no graph is needed.

    Args:
        terms: each with a name that is free, and a distance of `distances` or of tdspec.
        distances: functions (target, prediction) -> (batch,), of tensors (batch, ...) in float32. Keyword arguments are
            the term's `options`, and, where a function has them, `mask`: (batch, positions), 0 for the padding of a
            text; `across`: reaches the examples of all replicas.

    Raises:
        GraphError: says what is wrong, and what there is.
    """
    for name in distances:
        if name in DISTANCES:
            raise GraphError(f"distance '{name}' is one of tdspec's", "give yours another name")
    known = [*DISTANCES, *distances]
    for number, term in enumerate(terms):
        _check(term, known)
        if term.name in {other.name for other in terms[:number]}:
            raise GraphError(f"two terms are called '{term.name}', expected a name of its own for each")
    formulas = {name: (inspect.getdoc(function) or name).splitlines()[0] for name, function in distances.items()}
    adapted = {name: _adapted(function) for name, function in distances.items()}
    across = frozenset(name for name, function in distances.items() if _takes_across(function))
    return Own(tuple(term for term in terms if term.weight), adapted, formulas, across)


def _check(term: Term, distances: Sequence[str]) -> None:
    if not NAME.fullmatch(term.name):
        raise GraphError(f"found a term called '{term.name}', expected lower case letters, digits and '_'")
    if term.name in TAKEN:
        raise GraphError(f"term '{term.name}' is one of tdspec's", f"the names of tdspec are {one_of(sorted(TAKEN))}")
    if not 0 <= term.weight < math.inf:
        raise GraphError(f"term '{term.name}' has the weight {term.weight}, expected a number of at least 0")
    if term.distance not in distances:
        hint = f"the distances are {one_of(distances)}; give yours as distances={{'{term.distance}': function}}"
        raise GraphError(f"term '{term.name}' has the distance '{term.distance}', which does not exist", hint)
    for names in (term.target, term.prediction):
        if isinstance(names, str) or not names:
            raise GraphError(f"term '{term.name}' compares {names!r}, expected a tuple of names", "write ('name',)")
    counts = [len(names) for names in (term.target, term.prediction, *term.given.values())]
    counts += [len(term.pair_weights)] if term.pair_weights else []
    if len(set(counts)) > 1:
        raise GraphError(f"term '{term.name}' has {counts[0]} targets, expected as many of all it names, pair by pair")


def _takes_across(function: Callable[..., Any]) -> bool:
    return "across" in inspect.signature(function).parameters


def _adapted(function: Callable[..., Any]) -> Distance:
    """A user's distance, called as those of tdspec are."""
    takes_across = _takes_across(function)

    @wraps(function)
    def distance(target: Any, prediction: Any, *, across: Across = ALONE, **given: Any) -> Any:
        reach = {"across": across} if takes_across else {}
        return ops.cast(function(_in_float32(target), _in_float32(prediction), **reach, **given), "float32")

    return distance


def _in_float32(tensor: Any) -> Any:
    return ops.cast(tensor, "float32") if tf.as_dtype(tensor.dtype).is_floating else tensor


def tensor_names(conversation: Conversation, iterations: int) -> tuple[str, ...]:
    """The tensors that a term may name, in the order of the method.

    Args:
        conversation: of the compiled spec.
        iterations: how often the student asks; 0 where the method does not.
    """
    student, teacher = conversation.student, conversation.teacher
    names = ["label", "student_prediction", *([] if teacher is None else ["teacher_prediction"])]
    if not isinstance(student, Side) or not isinstance(teacher, Side):
        return tuple(names)
    sides = ("student", "teacher")
    names += [f"{side}_{word}" for side in sides for word in STATE_WORDS]
    names += [f"teacher_{word}_placed" for word in STATE_WORDS]
    names += ["student_high_projected"] if conversation.projection is not None else []
    if student.codec is None:
        return tuple(names)
    names += [f"{side}_message" for side in sides]
    names += [f"{side}_{word}_told" for side in sides for word in STATE_WORDS]
    for k in range(1, iterations + 1):
        names += [f"{side}_{word}_{k}" for side in sides for word in STATE_WORDS]
        names += [f"teacher_prediction_{k}", f"teacher_message_{k}", *([f"student_message_{k}"] if k > 1 else [])]
    return tuple(names)


def label_of(task_type: str, num_classes: int | None) -> keras.KerasTensor:
    """What the label of a batch looks like."""
    axes = (num_classes,) if task_type == "multilabel" else ()
    return keras.KerasTensor((None, *axes), dtype="int32" if task_type == "classification" else "float32")


def check_names(own: Own, conversation: Conversation, iterations: int) -> None:
    """Refuse a term that names what the graph does not have, or nothing that is trained.

    Args:
        own: what a user adds.
        conversation, iterations: as for `tensor_names`.

    Raises:
        GraphError: says which.
    """
    names = tensor_names(conversation, iterations)
    for term in own.terms:
        wanted = (*term.target, *term.prediction, *(name for given in term.given.values() for name in given))
        for name in wanted:
            if name not in names and name != NOTHING:
                near = similar(name, names)
                hint = f"did you mean '{near}'? " if near else ""
                message = f"term '{term.name}' names the tensor '{name}', which this method does not have"
                raise GraphError(message, f"{hint}there are {', '.join(names)}")
        if CONSTANT_TENSORS.issuperset(term.names | {"label"}):
            message = f"term '{term.name}' compares {one_of(sorted(term.names))}, which nothing trains"
            raise GraphError(message, "name a tensor of the student or of a codec")


def check_distances(own: Own, terms: Sequence[Term], conversation: Conversation, label: keras.KerasTensor) -> None:
    """Try the distance of each own term on a few examples.

    Args:
        own: what a user adds.
        terms: all terms of the graph, those of a text told its padding.
        conversation: of the compiled spec.
        label: see `label_of`.

    Raises:
        GraphError: it fails on the tensors that the term names, or does not give one value an example.
    """
    names, distances = {term.name for term in own.terms}, {**DISTANCES, **own.distances}
    for term in terms:
        for index in range(len(term.target)) if term.name in names else ():
            _try(term, index, _Tensors(conversation, label).of(term, index), distances[term.distance])


@dataclass(frozen=True)
class _Tensors:
    conversation: Conversation
    label: keras.KerasTensor

    def of(self, term: Term, index: int) -> dict[str, Any]:
        """Made-up examples of what a pair hands its distance, by keyword."""
        given = {keyword: names[index] for keyword, names in term.given.items() if names[index] != NOTHING}
        wanted = {"target": term.target[index], "prediction": term.prediction[index], **given}
        return {keyword: self._examples(name) for keyword, name in wanted.items()}

    def _examples(self, name: str) -> Any:
        tensor = self.label if name == "label" else self.conversation[name]
        shape = (NUM_TRIED, *tensor.shape[1:])
        if name == "label" or name in self.conversation.inputs:
            return tf.ones(shape, tensor.dtype)
        return tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))


def _try(term: Term, index: int, tensors: dict[str, Any], distance: Distance) -> None:
    call = f"term '{term.name}': distance '{term.distance}'"
    if "mask" in tensors and not _takes(distance, "mask"):
        message = f"{call} takes no mask, and '{term.prediction[index]}' are the tokens of a text: padding would count"
        raise GraphError(message, "write def distance(target, prediction, mask=None), where mask is 0 for padding")
    shapes = " and ".join(
        f"'{name}' {_shape(tensors[end])}"
        for end, name in (("target", term.target[index]), ("prediction", term.prediction[index]))
    )
    try:
        value = distance(tensors.pop("target"), tensors.pop("prediction"), across=ALONE, **term.options, **tensors)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise GraphError(f"{call} fails on {shapes}: {str(error).splitlines()[0]}") from error
    if tuple(value.shape) != (NUM_TRIED,):
        message = f"{call} of {shapes} has the shape {_shape(value)}, expected (batch,), one value an example"
        raise GraphError(message, "take the mean over all axes but the first")


def _takes(distance: Distance, keyword: str) -> bool:
    parameters = inspect.signature(distance).parameters
    return keyword in parameters or any(item.kind is item.VAR_KEYWORD for item in parameters.values())


def _shape(tensor: Any) -> str:
    """A shape as a user knows it: the first axis is the batch where it is as long as what was tried."""
    axes = ["batch" if axis == NUM_TRIED and place == 0 else str(axis) for place, axis in enumerate(tensor.shape)]
    return f"({', '.join(axes)}{',' * (len(axes) == 1)})"
