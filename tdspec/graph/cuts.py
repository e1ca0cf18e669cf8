"""Clean cuts of a functional model, their numbers, and the three segments two of them make.

In: an opened functional model (`walk.py`). Out: `CutPoint`s in order, hidden layers numbered 1..n, and `Segments`.
Leaves out: how the model came about (`backbones.py`) and what travels between segments (`methods.py`).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import keras

from tdspec.errors import GraphError
from tdspec.graph.adapters import role_of
from tdspec.graph.numbering import CutPoint as CutPoint
from tdspec.graph.numbering import hidden_layers
from tdspec.graph.walk import Node, between, has_kernel, nodes_between, nodes_of


@dataclass(frozen=True)
class Segments:
    """A model in three parts; `upper(middle(lower(x)))` is the model.

    Inputs that inner layers read directly are `sides`: padding masks, and what masks or positions are computed from.
    The middle and the upper part take those they read behind their state, in this order, as inputs of the same name.
    """

    lower: keras.Model
    middle: keras.Model
    upper: keras.Model
    sides: tuple[str, ...]


# Inputs that say which positions there are, not what stands in them.
_SIDE_INPUT = re.compile(r"mask|position")


def _last_uses(nodes: tuple[Node, ...], outputs: list[keras.KerasTensor], flowing: set[int]) -> dict[int, int]:
    """Where each tensor is last read by what flows on; who computes a mask or positions from it does not count."""
    uses = {
        tensor: position
        for position, node in enumerate(nodes)
        if flowing.intersection(node.outputs)
        for tensor in node.inputs
    }
    return uses | {id(tensor): len(nodes) for tensor in outputs}


def _flowing(nodes: tuple[Node, ...]) -> set[int]:
    """Ids of the tensors that carry what the model reads: neither masks nor positions.

    Whatever is computed from mask inputs alone is a mask, so is every tensor of truth values (a mask that is computed
    from token ids), and a layer of positions reads only the shape of its input.
    """
    inputs = [node for node in nodes if node.is_input]
    read = [node for node in inputs if not _SIDE_INPUT.search(node.name)] or inputs
    flowing: set[int] = set()
    for node in nodes:
        if node.is_input:
            flowing.update(node.outputs if node in read else ())
        elif flowing.intersection(node.inputs) and role_of(node.operation) != "positions":
            flowing.update(id(tensor) for tensor in node.tensors if str(tensor.dtype) != "bool")
    return flowing


def _crossings(model: keras.Model, nodes: tuple[Node, ...]) -> list[frozenset[int]]:
    """For each position, the tensors made up to there that are still read after it."""
    flowing = _flowing(nodes)
    last = _last_uses(nodes, model.outputs, flowing)
    # an input that is only read later has to be carried past every cut before
    alive = {
        tensor for node in nodes if node.is_input for tensor in node.outputs if tensor in flowing and tensor in last
    }
    crossings = []
    for position, node in enumerate(nodes):
        alive.update(tensor for tensor in node.outputs if tensor in flowing and tensor in last)
        alive = {tensor for tensor in alive if last[tensor] > position}
        crossings.append(frozenset(alive))
    return crossings


def clean_cuts(model: keras.Model, features: keras.KerasTensor, *, own_head: bool) -> tuple[CutPoint, ...]:
    """Every clean cut of a model, hidden layers numbered as people count them.

    A tensor is a clean cut when nothing goes around it, masks aside: among the tensors made up to there it is the only
    one that is still read.

    Args:
        model: an opened functional model.
        features: the tensor at which the backbone ends; what comes after it has no number.
        own_head: whether the backbone's last layer is the prediction, which is no hidden layer.

    Returns:
        The cut points in the order of the graph.
    """
    nodes = nodes_of(model)
    crossings = _crossings(model, nodes)
    points = [
        CutPoint(None, node.name, type(node.operation).__name__, node.tensors[0], position)
        for position, node in enumerate(nodes)
        if not node.is_input
        and len(node.tensors) == 1
        and crossings[position] == {node.outputs[0]}
        and "float" in str(node.tensors[0].dtype)
    ]
    end = next(position for position, node in enumerate(nodes) if id(features) in node.outputs)
    inside = [point for point in points if point.position < end or (point.position == end and not own_head)]
    hidden = hidden_layers(nodes, inside)
    numbers = {point.position: number for number, point in enumerate(hidden, start=1)}
    return tuple(replace(point, number=numbers.get(point.position)) for point in points)


def find_cut(model: keras.Model, points: tuple[CutPoint, ...], wanted: int | str) -> CutPoint:
    """The cut point a spec means.

    Args:
        model: the model that `points` belong to.
        points: its clean cuts.
        wanted: the number of a hidden layer, from 1, or the name of a layer.

    Raises:
        GraphError: there is no such hidden layer or layer, it is called several times, or it is no clean cut.
    """
    if isinstance(wanted, int):
        return _by_number(model, points, wanted)
    found = [point for point in points if point.name == wanted]
    if len(found) == 1:
        return found[0]
    nodes = nodes_of(model)
    calls = [position for position, node in enumerate(nodes) if node.name == wanted]
    if not calls:
        near = difflib.get_close_matches(wanted, [point.name for point in points], n=1, cutoff=0.5)
        raise GraphError(f"no layer '{wanted}'", f"did you mean '{near[0]}'?" if near else "")
    if len(calls) > 1:
        raise GraphError(f"layer '{wanted}' is called {len(calls)} times, so its name is no single place")
    raise _unclean(model, nodes, points, calls[0])


def _by_number(model: keras.Model, points: tuple[CutPoint, ...], wanted: int) -> CutPoint:
    hidden = [point for point in points if point.number is not None]
    if wanted > len(hidden):
        hint = f"write 1 to {len(hidden)}" if hidden else "write the name of a layer"
        tangle = _tangle(nodes_of(model), points)
        raise GraphError(
            f"there is no hidden layer {wanted}, found {len(hidden)} of them", "; ".join(filter(None, (hint, tangle)))
        )
    return hidden[wanted - 1]


def _tangle(nodes: tuple[Node, ...], points: tuple[CutPoint, ...]) -> str:
    """What stands between two clean cuts where that is half of the network or more, such as NASNet's cells."""
    kernels = [has_kernel(node.operation) for node in nodes]
    ends = [-1, *(point.position for point in points)]
    start, end = max(pairwise(ends), key=lambda pair: sum(kernels[pair[0] + 1 : pair[1] + 1]), default=(-1, -1))
    inside = sum(kernels[start + 1 : end + 1])
    if inside < 8 or 2 * inside < sum(kernels):
        return ""
    return f"between '{nodes[start].name}' and '{nodes[end].name}' it flows several ways at once, so nothing is clean"


def _unclean(model: keras.Model, nodes: tuple[Node, ...], points: tuple[CutPoint, ...], position: int) -> GraphError:
    node = nodes[position]
    around = _crossings(model, nodes)[position] - set(node.outputs)
    paths = [
        f"{maker.name} -> {next((user.name for user in nodes[position + 1 :] if tensor in user.inputs), 'the output')}"
        for maker in nodes
        for tensor in maker.outputs
        if tensor in around
    ]
    before = [point.name for point in points if point.position < position][-1:]
    after = [point.name for point in points if point.position > position][:1]
    near = " and ".join(f"'{name}'" for name in before + after)
    if not paths:
        return GraphError(
            f"layer '{node.name}' is no clean cut: its output is not one floating point tensor",
            f"near clean cuts: {near}",
        )
    return GraphError(
        f"layer '{node.name}' is no clean cut: {', '.join(paths[:3])} goes around it", f"near clean cuts: {near}"
    )


def split(model: keras.Model, low: CutPoint, high: CutPoint, *, prefix: str) -> Segments:
    """Cut a model in three.

    Args:
        model: an opened functional model with a mapping of named inputs.
        low, high: two of its clean cuts; low does not come after high.
        prefix: "student", "teacher" or a teacher's own name, for the names of the parts.

    Raises:
        GraphError: low comes after high.
    """
    if low.position > high.position:
        raise GraphError(f"low ('{low.name}') comes after high ('{high.name}')", "low is the earlier one")
    sides = tuple(name for name, tensor in model.input.items() if _reaches(low.tensor, model.outputs, tensor))
    side_tensors = [model.input[name] for name in sides]

    def part(name: str, start: keras.KerasTensor, end: Any) -> keras.Model:
        if start is end:
            entry = keras.Input(batch_shape=start.shape, dtype=start.dtype)
            return keras.Model(
                [entry], keras.layers.Identity(name=f"{prefix}_{name}_identity")(entry), name=f"{prefix}_{name}"
            )
        used = [tensor for tensor in side_tensors if _reaches(start, [end], tensor)]
        return between([start], used, end, name=f"{prefix}_{name}")

    lower = keras.Model(model.input, low.tensor, name=f"{prefix}_lower")
    return Segments(lower, part("middle", low.tensor, high.tensor), part("upper", high.tensor, model.outputs[0]), sides)


def _reaches(start: keras.KerasTensor, ends: list[keras.KerasTensor], source: keras.KerasTensor) -> bool:
    """Whether `ends` depend on `source` by a way that does not pass through `start`."""
    return any(id(source) in node.inputs for node in nodes_between([start], ends) if id(start) not in node.outputs)
