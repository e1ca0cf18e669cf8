"""Clean cuts of a functional model, their numbers, and the three segments two of them make.

In: an opened functional model (`walk.py`). Out: `CutPoint`s in order, hidden layers numbered 1..n, and `Segments`.
Leaves out: how the model came about (`backbones.py`) and what travels between segments (`methods.py`).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Any

import keras

from tdspec.errors import GraphError
from tdspec.graph.walk import Node, is_block, nodes_between, nodes_of

# Names by which convolutional families mark the layers of one block: stack0_block1_..., block2a_..., expanded_conv/...
BLOCK_NAME = re.compile(r"^(.*(?:block|expanded_conv|unit|cell|stage|layer)_?\d+[a-z]?|expanded_conv)(?=[_/])")

# Layers that mark blocks: merges of branches, and depthwise convolutions.
_BRANCHING = re.compile(r"^(Add|Multiply|Concatenate)$|Depthwise|Separable")

# What belongs to the hidden layer before it: normalisation and activation, but not pooling or reshaping.
TRAILING = re.compile(r"Normalization$|^Activation$|ReLU|^Re[lL]u|^[GES]?eLU|^Softmax$|^Gelu$|^Silu$|LeakyReLU")


@dataclass(frozen=True)
class CutPoint:
    """A tensor through which everything flows.

    Attributes:
        number: which hidden layer ends here, from 1, or None.
        name, kind: the layer that makes it and its class.
        tensor: the KerasTensor, (batch, ...).
        position: index of the node in `nodes_of(model)`.
    """

    number: int | None
    name: str
    kind: str
    tensor: keras.KerasTensor
    position: int

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(self.tensor.shape)


@dataclass(frozen=True)
class Segments:
    """A model in three parts; `upper(middle(lower(x)))` is the model.

    Inputs that inner layers read directly (padding masks) are handed to each part behind its state, as in `sides`.
    """

    lower: keras.Model
    middle: keras.Model
    upper: keras.Model
    sides: tuple[str, ...]


def _is_side(node: Node) -> bool:
    return node.is_input and "mask" in node.name


def _last_uses(nodes: tuple[Node, ...], outputs: list[keras.KerasTensor]) -> dict[int, int]:
    uses = {tensor: position for position, node in enumerate(nodes) for tensor in node.inputs}
    return uses | {id(tensor): len(nodes) for tensor in outputs}


def _flowing(nodes: tuple[Node, ...]) -> set[int]:
    """Ids of the tensors that depend on an input which is no mask."""
    flowing: set[int] = set()
    for node in nodes:
        if (node.is_input and not _is_side(node)) or flowing.intersection(node.inputs):
            flowing.update(node.outputs)
    return flowing


def _crossings(model: keras.Model, nodes: tuple[Node, ...]) -> list[frozenset[int]]:
    """For each position, the tensors made up to there that are still read after it."""
    last, flowing = _last_uses(nodes, model.outputs), _flowing(nodes)
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
    hidden = _hidden_layers(nodes, inside)
    numbers = {point.position: number for number, point in enumerate(hidden, start=1)}
    return tuple(replace(point, number=numbers.get(point.position)) for point in points)


def _hidden_layers(nodes: tuple[Node, ...], points: list[CutPoint]) -> list[CutPoint]:
    """The cut points that end a hidden layer: transformer blocks, else named blocks, else layers with weights."""
    blocks = [point for point in points if is_block(nodes[point.position].operation)]
    return blocks or _named_blocks(nodes, points) or _weighted_layers(nodes, points)


def _named_blocks(nodes: tuple[Node, ...], points: list[CutPoint]) -> list[CutPoint]:
    """The ends of residual and inverted-bottleneck blocks by their names; none for a plain chain."""
    if not any(_BRANCHING.search(type(node.operation).__name__) for node in nodes):
        return []
    keys = [BLOCK_NAME.match(node.name) for node in nodes]
    members: dict[str, int] = {}
    for key in keys:
        if key:
            members[key[1]] = members.get(key[1], 0) + 1
    ends: dict[str, CutPoint] = {}
    for point in points:
        key = keys[point.position]
        if key and members[key[1]] > 1:
            ends[key[1]] = point
    return list(ends.values()) if len(ends) > 1 else []


def _weighted_layers(nodes: tuple[Node, ...], points: list[CutPoint]) -> list[CutPoint]:
    """The ends of regions that hold a kernel; only those that branch where there are several (residual blocks)."""
    plain, branched, start = [], [], 0
    for index, point in enumerate(points):
        region = nodes[start : point.position + 1]
        start = point.position + 1
        kernels = sum(_has_kernel(node) for node in region)
        if not kernels:
            continue
        plain.append(_extended(points, index))
        if kernels > 1 or len(region) > 2:
            branched.append(_extended(points, index))
    return branched if len(branched) > 1 else plain


def _has_kernel(node: Node) -> bool:
    return getattr(node.operation, "kernel", None) is not None and not node.name.endswith("embedding")


def _extended(points: list[CutPoint], index: int) -> CutPoint:
    while index + 1 < len(points) and TRAILING.search(points[index + 1].kind):
        index += 1
    return points[index]


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
        return _by_number(points, wanted)
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


def _by_number(points: tuple[CutPoint, ...], wanted: int) -> CutPoint:
    hidden = [point for point in points if point.number is not None]
    if wanted > len(hidden):
        hint = f"write 1 to {len(hidden)}" if hidden else "write the name of a layer"
        raise GraphError(f"there is no hidden layer {wanted}, found {len(hidden)} of them", hint)
    return hidden[wanted - 1]


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
        prefix: "teacher" or "student", for the names of the parts.

    Raises:
        GraphError: low comes after high.
    """
    if low.position > high.position:
        raise GraphError(f"low ('{low.name}') comes after high ('{high.name}')", "low is the earlier one")
    masks = {name: tensor for name, tensor in model.input.items() if "mask" in name}
    sides = tuple(name for name, tensor in masks.items() if _reaches(low.tensor, model.outputs, tensor))
    side_tensors = [masks[name] for name in sides]

    def part(name: str, start: keras.KerasTensor, end: Any) -> keras.Model:
        if start is end:
            entry = keras.Input(batch_shape=start.shape, dtype=start.dtype)
            return keras.Model(
                [entry], keras.layers.Identity(name=f"{prefix}_{name}_identity")(entry), name=f"{prefix}_{name}"
            )
        used = [tensor for tensor in side_tensors if _reaches(start, [end], tensor)]
        return keras.Model([start, *used], end, name=f"{prefix}_{name}")

    lower = keras.Model(model.input, low.tensor, name=f"{prefix}_lower")
    return Segments(lower, part("middle", low.tensor, high.tensor), part("upper", high.tensor, model.output), sides)


def _reaches(start: keras.KerasTensor, ends: list[keras.KerasTensor], source: keras.KerasTensor) -> bool:
    """Whether `ends` depend on `source` by a way that does not pass through `start`."""
    return any(id(source) in node.inputs for node in nodes_between([start], ends) if id(start) not in node.outputs)
