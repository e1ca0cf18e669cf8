"""Distances between relations: of examples to each other, and of positions to each other. Widths may differ.

In: a target (batch, ..., dim) and a prediction (batch, ..., other_dim) with the same positions. Out: float32 (batch,).
`DISTANCES` names them.
Leaves out: bringing both to the same positions (`methods.py`).
"""

from __future__ import annotations

from typing import Any

from keras import ops

from tdspec.graph.across import ALONE, TINY, Across
from tdspec.graph.distances import Distance, by_position, huber, mean_over_positions, position_weights, unit

Tensor = Any


def _pooled(state: Tensor, mask: Tensor | None) -> Tensor:
    """(batch, ..., dim) -> (batch, dim): the mean over the positions that count."""
    state = by_position(state)
    return mean_over_positions(state, position_weights(state, mask)[..., None])


def _from_others(vectors: Tensor, across: Across) -> Tensor:
    """Differences (batch, all examples, dim) of each example to every example of the whole batch."""
    return vectors[:, None] - across.gather(vectors)[None]


def relational(
    target: Tensor,
    prediction: Tensor,
    *,
    across: Across = ALONE,
    mask: Tensor | None = None,
    distances: float = 1.0,
    angles: float = 2.0,
) -> Tensor:
    """Huber of the differences of distances between examples, and of angles: RKD (Park 2019, arXiv 1904.05068).

    Distances are over their mean in the batch. An example's angle is at itself, between two others.

    Args:
        target, prediction: states (batch, ..., dim), widths may differ; compared as the mean over positions.
        across: reaches the whole batch, on all replicas.
        mask: (batch, positions), 0 for padding; None: all count.
        distances, angles: weights of the two relations.

    Returns:
        (batch,) float32.
    """
    offsets = [_from_others(_pooled(state, mask), across) for state in (target, prediction)]
    lengths = [ops.sqrt(ops.sum(ops.square(offset), axis=-1) + TINY) for offset in offsets]
    # the mean over pairs of two different examples; an example's distance to itself adds nothing
    num_examples = across.sum(ops.ones_like(lengths[0][:, 0]))
    num_pairs = ops.maximum(num_examples * (num_examples - 1.0), 1.0)
    relative = [length / (ops.sum(across.sum(length)) / num_pairs + TINY) for length in lengths]
    by_distance = ops.sum(huber(relative[0] - relative[1]), axis=1) / ops.maximum(num_examples - 1.0, 1.0)
    directions = [offset / length[..., None] for offset, length in zip(offsets, lengths, strict=True)]
    cosines = [ops.einsum("ijd,ikd->ijk", direction, direction) for direction in directions]
    by_angle = ops.mean(huber(cosines[0] - cosines[1]), axis=(1, 2))
    return distances * by_distance + angles * by_angle


def attention(target: Tensor, prediction: Tensor, *, across: Across = ALONE, mask: Tensor | None = None) -> Tensor:
    """Squared length of the difference of unit attention maps: AT (Zagoruyko 2017, arXiv 1612.03928, equation 2).

    A map is the mean over features of the squares, position by position, over its length.

    Args:
        target, prediction: (batch, ..., dim), the same positions, widths may differ.
        across: unused; every distance takes it.
        mask: (batch, positions), 0 for padding; None: all count.

    Returns:
        (batch,) float32.
    """
    maps = []
    for state in (by_position(target), by_position(prediction)):
        maps.append(unit(ops.mean(ops.square(state), axis=-1) * position_weights(state, mask)))
    return ops.sum(ops.square(maps[0] - maps[1]), axis=-1)


def manifold(
    target: Tensor,
    prediction: Tensor,
    *,
    across: Across = ALONE,
    mask: Tensor | None = None,
    intra: float = 1.0,
    inter: float = 1.0,
) -> Tensor:
    """Mean squared difference of the cosines between positions of one example, and between examples at one position.

    The two decoupled maps of Hao et al. 2022 (arXiv 2107.01378, equations 6 and 7); their third, of positions drawn at
    random from the whole batch, is left out: a figure would depend on the draw.

    Args:
        target, prediction: (batch, ..., dim), the same positions, widths may differ.
        across: reaches the whole batch, on all replicas.
        mask: (batch, positions), 0 for padding; None: all count.
        intra, inter: weights of the map within an example and of that between examples.

    Returns:
        (batch,) float32.
    """
    target, prediction = unit(by_position(target)), unit(by_position(prediction))
    weights = position_weights(target, mask)
    within = [ops.einsum("bpd,bqd->bpq", state, state) for state in (target, prediction)]
    pairs = weights[:, :, None] * weights[:, None, :]
    within_error = ops.sum(ops.square(within[0] - within[1]) * pairs, axis=(1, 2))
    within_error = within_error / ops.maximum(ops.sum(pairs, axis=(1, 2)), TINY)
    between = [ops.einsum("bpd,apd->bap", state, across.gather(state)) for state in (target, prediction)]
    others = across.gather(weights)[None]
    between_error = ops.sum(ops.square(between[0] - between[1]) * others, axis=1) / ops.maximum(
        ops.sum(others, axis=1), TINY
    )
    return intra * within_error + inter * mean_over_positions(between_error, weights)


DISTANCES: dict[str, Distance] = {"relational": relational, "attention": attention, "manifold": manifold}
ACROSS_THE_BATCH = frozenset(("relational", "manifold"))

FORMULAS: dict[str, str] = {
    "relational": "mean over examples of distances mean over others of huber(|t_i - t_j| / mean - |p_i - p_j| / mean) "
    "+ angles mean over pairs of huber(cosine of t_j - t_i and t_k - t_i, less that of p); t, p: means over positions",
    "attention": "mean over examples of |m(target) - m(prediction)|^2, "
    "m = mean over features of squares, over its length",
    "manifold": "mean over examples of intra mean over pairs of positions of (difference of cosines)^2 "
    "+ inter mean over positions and examples of (difference of cosines)^2",
}
