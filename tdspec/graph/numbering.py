"""Numbering hidden layers as people count them: blocks of transformers, residual blocks, layers with weights.

In: the nodes of an opened functional model and its clean cuts. Out: those cuts that end a hidden layer.
Leaves out: which tensor is a clean cut (`cuts.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import keras

from tdspec.graph.walk import Node, has_kernel, is_block, is_composite

# Names by which convolutional families mark the layers of one block: stack0_block1_..., block2a_..., expanded_conv/...
BLOCK_NAME = re.compile(r"^(.*(?:block|expanded_conv|unit|cell|stage|layer)_?\d+[a-z]?|expanded_conv)(?=[_/])")
_BLOCK_WORD = "(?:block|unit|cell|layer)"

# Layers that mark blocks: merges of branches, and depthwise convolutions.
_BRANCHING = re.compile(r"^(Add|Multiply|Concatenate)$|Depthwise|Separable")

_NORMALIZATION = re.compile(r"Normalization$")

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


def hidden_layers(nodes: tuple[Node, ...], points: list[CutPoint]) -> list[CutPoint]:
    """The cut points that end a hidden layer: blocks by their class, else by their name, else layers with weights."""
    blocks = [point for point in points if is_block(nodes[point.position].operation)]
    return blocks or _named_blocks(nodes, points) or _weighted_layers(nodes, points)


def _named_blocks(nodes: tuple[Node, ...], points: list[CutPoint]) -> list[CutPoint]:
    """The ends of residual and inverted-bottleneck blocks, by class or by name; none for a plain chain."""
    composite = _composite_layers(nodes)
    if not composite and not any(_BRANCHING.search(type(node.operation).__name__) for node in nodes):
        return []
    keys = _block_keys(nodes, composite)
    members = Counter(keys)
    ends: dict[str, CutPoint] = {}
    for point in points:
        key = keys[point.position]
        if key and (members[key] > 1 or point.position in composite):
            ends[key] = point
    # a stage whose blocks are clean is no block itself
    stages = {stage for stage in ends for key in ends if re.match(rf"{re.escape(stage)}[_/]{_BLOCK_WORD}", key)}
    hidden = [point for key, point in ends.items() if key not in stages]
    return hidden if len(hidden) > 1 else []


def _composite_layers(nodes: tuple[Node, ...]) -> set[int]:
    """Positions of layers with several kernels inside that are blocks by name, or of a class that comes again."""
    composite = [position for position, node in enumerate(nodes) if is_composite(node.operation)]
    kinds = Counter(type(nodes[position].operation) for position in composite)
    return {
        position
        for position in composite
        if kinds[type(nodes[position].operation)] > 1 or BLOCK_NAME.match(nodes[position].name)
    }


def _block_keys(nodes: tuple[Node, ...], composite: set[int]) -> list[str]:
    """The name of the block that each node is of, "" for none; a merge that has no telling name is of what it joins."""
    keys: list[str] = []
    made: dict[int, int] = {}
    for position, node in enumerate(nodes):
        found = BLOCK_NAME.match(node.name)
        key = node.name if position in composite else found[1] if found else ""
        if not key and _BRANCHING.search(type(node.operation).__name__):
            joined = sorted(made[tensor] for tensor in node.inputs)
            key = next((keys[maker] for maker in reversed(joined) if keys[maker]), "")
        keys.append(key)
        made.update(dict.fromkeys(node.outputs, position))
    return keys


def _weighted_layers(nodes: tuple[Node, ...], points: list[CutPoint]) -> list[CutPoint]:
    """The ends of regions that hold a kernel; only those that branch where there are several (residual blocks)."""
    plain, branched, start = [], [], 0
    for index, point in enumerate(points):
        region = nodes[start : point.position + 1]
        start = point.position + 1
        kernels = sum(has_kernel(node.operation) for node in region)
        if not kernels:
            continue
        plain.append(_extended(points, index))
        if kernels > 1 or len(region) > 2:
            # the normalisation behind a residual block is the next layer's
            branched.append(_extended(points, index, normalized=False))
    return branched if len(branched) > 1 else plain


def _extended(points: list[CutPoint], index: int, *, normalized: bool = True) -> CutPoint:
    while index + 1 < len(points) and TRAILING.search(points[index + 1].kind):
        if not normalized and _NORMALIZATION.search(points[index + 1].kind):
            break
        index += 1
    return points[index]
