"""Linear CKA against its closed form, its invariances, and what of it is chance."""

from __future__ import annotations

import numpy as np
import pytest

from tdspec.report.cka import NUM_PERMUTATIONS, chance, linear_cka

GENERATOR = np.random.default_rng(0)
FIRST = GENERATOR.normal(size=(20, 6))
SECOND = FIRST[:, :4] + 0.5 * GENERATOR.normal(size=(20, 4))


def closed_form(first: np.ndarray, second: np.ndarray) -> float:
    """Kornblith et al. 2019: |Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F) of centred columns."""
    x, y = first - first.mean(0), second - second.mean(0)
    norm = np.linalg.norm
    return float(norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y)))


def test_cka_is_its_closed_form() -> None:
    found = linear_cka(FIRST, SECOND)
    assert found == pytest.approx(closed_form(FIRST, SECOND))
    assert 0.3 < found < 0.95
    assert linear_cka(SECOND, FIRST) == pytest.approx(found)


def test_of_one_dimension_it_is_the_squared_correlation() -> None:
    x, y = FIRST[:, :1], SECOND[:, 1:2]
    assert linear_cka(x, y) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2)


def test_rotation_scale_and_shift_change_nothing() -> None:
    rotation, _ = np.linalg.qr(GENERATOR.normal(size=(6, 6)))
    moved = -3.0 * FIRST @ rotation + 7.0
    assert linear_cka(FIRST, moved) == pytest.approx(1.0)
    assert linear_cka(moved, SECOND) == pytest.approx(linear_cka(FIRST, SECOND))


def test_other_linear_maps_do_change_it() -> None:
    assert linear_cka(FIRST, FIRST * np.array([9.0, 1, 1, 1, 1, 1])) < 0.9


def test_uncorrelated_representations_have_nothing_in_common() -> None:
    assert linear_cka(np.array([[1.0], [1], [-1], [-1]]), np.array([[1.0], [-1], [1], [-1]])) == 0.0


def test_positions_are_flattened_and_a_collapsed_state_is_like_nothing() -> None:
    assert linear_cka(FIRST.reshape(20, 2, 3), SECOND) == pytest.approx(closed_form(FIRST, SECOND))
    assert linear_cka(FIRST, np.ones((20, 3))) == 0.0
    assert chance(FIRST, np.ones((20, 3))) == 1.0


def test_chance_is_small_for_what_belongs_together_only() -> None:
    assert chance(FIRST, SECOND) == 1 / (1 + NUM_PERMUTATIONS)
    wide = GENERATOR.normal(size=(20, 500))
    others = GENERATOR.normal(size=(20, 500))
    assert linear_cka(wide, others) > 0.9  # few examples in many dimensions
    assert chance(wide, others) > 0.05
