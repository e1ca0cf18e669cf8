"""What several seeds say: means with their errors, improvements with theirs, and how likely chance explains them.

In: figures, one a seed; those of two methods paired by seed. Out: `Estimate`s and p-values; None where not known.
Leaves out: which figures are compared (`table.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error, which one seed alone does not give (None)."""

    value: float
    error: float | None


def mean(values: Sequence[float]) -> Estimate:
    """The mean over seeds with its standard error, s / sqrt(n)."""
    return Estimate(float(np.mean(values)), _standard_error(np.asarray(values, float)))


def relative_improvement(
    values: Sequence[float], baseline: Sequence[float], *, more_is_better: bool
) -> Estimate | None:
    """How much better the mean is than the baseline's, as a share of the baseline's.

    The error is that of a ratio of paired means (delta method).

    Args:
        values, baseline: (seeds,), paired.
        more_is_better: the sign of an improvement.

    Returns:
        0.05 for 5 % better; None where the baseline's mean is 0.
    """
    own, other = np.asarray(values, float), np.asarray(baseline, float)
    _check_paired(own, other)
    if other.mean() == 0:
        return None
    ratio = own.mean() / other.mean()
    # Var(ratio) = Var(own - ratio * other) / (n * mean(other)^2)
    error = _standard_error(own - ratio * other)
    sign = 1.0 if more_is_better else -1.0
    return Estimate(float(sign * (ratio - 1)), None if error is None else error / abs(float(other.mean())))


def paired_p_value(values: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Two-sided p-value of the paired t-test.

    Args:
        values, baseline: (seeds,), paired.

    Returns:
        None for one seed, and where all differences are the same, of which the test knows no spread.
    """
    own, other = np.asarray(values, float), np.asarray(baseline, float)
    _check_paired(own, other)
    differences = own - other
    if len(differences) < 2 or np.ptp(differences) <= 1e-12 * max(1.0, float(np.abs(differences).max())):
        return None
    return float(stats.ttest_rel(own, other).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for their number (Holm 1979); unknown ones stay unknown and do not count."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        # max over the smaller ones of (m - rank) p, at most 1
        largest = min(1.0, max(largest, (len(known) - rank) * p))
        adjusted[index] = largest
    return adjusted


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def _check_paired(own: np.ndarray, other: np.ndarray) -> None:
    if own.shape != other.shape or own.ndim != 1 or not len(own):
        raise ValueError(f"expected two rows of figures, paired by seed, found shapes {own.shape} and {other.shape}")
