"""How alike two representations of the same examples are: linear CKA, and what of it is chance.

In: arrays with a row an example. Out: numbers from 0 to 1.
Leaves out: whose representations (`similarity.py`).
"""

from __future__ import annotations

import numpy as np

NUM_PERMUTATIONS = 199


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centered kernel alignment (Kornblith et al. 2019, equation 4 with linear kernels).

    |Y^T X|^2 / (|X^T X| |Y^T Y|) with centred columns and Frobenius norms. It does not change where a representation is
    rotated, scaled or shifted.

    Args:
        first, second: (examples, ...), the same examples; what follows is flattened, the widths may differ.

    Returns:
        1 for representations that are the same up to this; 0 also where one is the same for all examples.
    """
    return _alignment(_gram(first), _gram(second))


def chance(first: np.ndarray, second: np.ndarray, *, seed: int = 0) -> float:
    """How likely the linear CKA of two representations would be as large, were their examples paired at random.

    Few examples in many dimensions are never quite dissimilar: a CKA means something only beside this.

    Args:
        first, second: (examples, ...).
        seed: of the random pairs.

    Returns:
        The p-value of the permutation test, from 1 / (permutations + 1) to 1.
    """
    one, other = _gram(first), _gram(second)
    found = _alignment(one, other)
    generator = np.random.default_rng(seed)
    orders = (generator.permutation(len(other)) for _ in range(NUM_PERMUTATIONS))
    as_large = sum(_alignment(one, other[np.ix_(order, order)]) >= found for order in orders)
    return (1 + as_large) / (1 + NUM_PERMUTATIONS)


def _gram(states: np.ndarray) -> np.ndarray:
    """X X^T of centred columns; it has all that CKA needs, whatever the width."""
    flat = np.asarray(states, np.float64).reshape(len(states), -1)
    flat = flat - flat.mean(axis=0)
    return flat @ flat.T


def _alignment(one: np.ndarray, other: np.ndarray) -> float:
    # |Y^T X|^2 = tr(X X^T Y Y^T), the sum of the products of the Gram matrices
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(min(1.0, max(0.0, np.sum(one * other) / norms))) if norms > 0 else 0.0
