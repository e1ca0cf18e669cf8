"""How the positions of a state lie, and moving a state from one layout to another.

In: shapes (batch, d), (batch, positions, d) or (batch, height, width, d). Out: `Layout`, and the layer `Resample`.
Leaves out: the last axis, which encoders and decoders own (`codecs.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np
from keras import ops


@dataclass(frozen=True)
class Layout:
    """The axes of a state between its batch and its features.

    Attributes:
        axes: () for a vector, (positions,) for a sequence, (height, width) for a grid.
        grid: (height, width) of a grid, or of the patches of a sequence behind its prefix; () where there is none.
        num_prefix: tokens of a sequence before its patches (class, registers, distillation).
    """

    axes: tuple[int, ...]
    grid: tuple[int, ...] = ()
    num_prefix: int = 0

    @property
    def num_positions(self) -> int:
        return prod(self.axes)


VECTOR = Layout(())


def layout_of(shape: tuple[int | None, ...], *, patch_grid: tuple[int, ...] = ()) -> Layout:
    """The layout of a state.

    Args:
        shape: (batch, ..., d) with one to three known axes between batch and d at most.
        patch_grid: (height, width) of the patches of the model it comes from, or ().

    Raises:
        ValueError: an axis is not known, or there are too many.
    """
    axes = shape[1:-1]
    if None in axes or len(axes) > 2:
        raise ValueError(f"a state of shape {shape} has no layout: expected up to two axes of known size")
    known = tuple(int(axis) for axis in axes if axis is not None)
    if len(known) == 2:
        return Layout(known, known)
    if len(known) == 1 and patch_grid and known[0] >= prod(patch_grid):
        return Layout(known, patch_grid, known[0] - prod(patch_grid))
    return Layout(known)


def interpolation(source: int, target: int) -> np.ndarray:
    """Bilinear interpolation along one axis, half-pixel centres, as a matrix.

    Returns:
        (target, source) float32, rows summing to 1.
    """
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    below = np.floor(centres).astype(int)
    above = np.minimum(below + 1, source - 1)
    share = centres - below
    matrix = np.zeros((target, source), "float32")
    np.add.at(matrix, (np.arange(target), below), 1 - share)
    np.add.at(matrix, (np.arange(target), above), share)
    return matrix


def along_both(grid: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """A constant, linear map along the height of a grid and another along its width.

    By products of matrices in the order that memory has: an einsum turns its arguments round first, which was most of
    what tdspec's step was behind in `tests/benchmarks/step.py --cases efficientnet-k1`.

    Args:
        grid: (batch, height, width, d).
        rows, columns: (new height, height), (new width, width).

    Returns:
        (batch, new height, new width, d).
    """
    height, width, dim = grid.shape[1:]
    taller = ops.matmul(ops.cast(rows, grid.dtype), ops.reshape(grid, (-1, height, width * dim)))
    wider = ops.matmul(ops.cast(columns, grid.dtype), ops.reshape(taller, (-1, width, dim)))
    return ops.reshape(wider, (-1, len(rows), len(columns), dim))


def _spread(source: int, target: int) -> np.ndarray:
    """(target, source) that gives every target position the mean of the source."""
    return np.full((target, source), 1.0 / source, "float32")


class Resample(keras.layers.Layer):
    """Moves a state from one layout to another; a constant, linear map over positions.

    Grids are resized bilinearly by two small matrix products (exact and differentiable; `tf.image.resize` is very slow
    under XLA on a CPU). Patches of a sequence are the grid they are; prefix tokens go to prefix tokens where both sides
    have as many, else each new one is the mean of what there is. A vector is the mean, and is broadcast.

    Args:
        source, target: the two layouts.
    """

    def __init__(self, source: Layout, target: Layout, **kwargs: Any):
        super().__init__(trainable=False, **kwargs)
        self.source, self.target = source, target

    def call(self, state: Any) -> Any:
        dim = state.shape[-1]
        flat = ops.reshape(state, (-1, self.source.num_positions, dim))
        source, target = self.source, self.target
        if source.grid and target.grid:
            flat = self._through_grids(flat, dim)
        elif source.axes and target.axes and source.num_positions == target.num_positions:
            pass  # a grid and a sequence of which none is known: their positions are one another's
        elif source.axes and target.axes and not source.grid and not target.grid:
            flat = self._product(interpolation(source.num_positions, target.num_positions), flat)
        else:
            flat = self._product(_spread(source.num_positions, target.num_positions), flat)
        return ops.reshape(flat, (-1, *target.axes, dim))

    def _through_grids(self, flat: Any, dim: int) -> Any:
        source, target = self.source, self.target
        behind = flat[:, source.num_prefix :] if source.num_prefix else flat
        grid = ops.reshape(behind, (-1, *source.grid, dim))
        rows, columns = (interpolation(a, b) for a, b in zip(source.grid, target.grid, strict=True))
        patches = ops.reshape(along_both(grid, rows, columns), (-1, prod(target.grid), dim))
        if not target.num_prefix:
            return patches
        if source.num_prefix == target.num_prefix:
            prefix = flat[:, : source.num_prefix]
        else:
            known = flat[:, : source.num_prefix] if source.num_prefix else flat
            prefix = self._product(_spread(known.shape[1], target.num_prefix), known)
        return ops.concatenate([prefix, patches], axis=1)

    @staticmethod
    def _product(matrix: np.ndarray, flat: Any) -> Any:
        return ops.matmul(ops.cast(matrix, flat.dtype), flat)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.target.axes, input_shape[-1])


class MaskedMean(keras.layers.Layer):
    """Moves the tokens of a text to one position: their mean, padding left out; 0 where all is padding.

    Args:
        target: a layout of one position.
    """

    def __init__(self, target: Layout, **kwargs: Any):
        super().__init__(trainable=False, **kwargs)
        self.target = target

    def call(self, state: Any, mask: Any) -> Any:
        weights = ops.cast(mask, "float32")
        weights = weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
        mean = ops.einsum("bp,bpd->bd", ops.cast(weights, state.dtype), state)
        return ops.reshape(mean, (-1, *self.target.axes, state.shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.target.axes, input_shape[-1])


def are_tokens(layout: Layout, mask: keras.KerasTensor | None) -> bool:
    """Whether a layout is the tokens of the text whose padding a mask (batch, length) tells; no text, no tokens."""
    return mask is not None and layout.axes == tuple(mask.shape[1:])


def resample(
    state: keras.KerasTensor, source: Layout, target: Layout, *, name: str, mask: keras.KerasTensor | None = None
) -> keras.KerasTensor:
    """The state in another layout; the same tensor where the layouts are equal.

    Args:
        state: (batch, ..., d) in the layout `source`.
        mask: (batch, length) of 0 for padding, of the text that the model reads; None where it reads none.
    """
    if source == target:
        return state
    if are_tokens(source, mask) and target.num_positions == 1:
        return MaskedMean(target, name=name)(state, mask)
    return Resample(source, target, name=name)(state)
