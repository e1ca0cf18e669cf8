"""Statistics: closed forms, a table of Student's t, and what is not known is None."""

from __future__ import annotations

import math

import pytest

from tdspec.study.statistics import Estimate, holm, mean, paired_p_value, relative_improvement

OWN, OTHER = [0.80, 0.84, 0.85], [0.70, 0.72, 0.71]


def check(found: Estimate | None, value: float, error: float | None) -> None:
    assert found is not None
    assert found.value == pytest.approx(value)
    assert found.error == (None if error is None else pytest.approx(error, abs=1e-12))


def test_mean_has_the_standard_error_of_its_sample() -> None:
    # deviations -1, 0, 1: s = 1, s / sqrt(3)
    check(mean([1.0, 2.0, 3.0]), 2.0, 1 / math.sqrt(3))


def test_one_seed_gives_no_error() -> None:
    assert mean([0.5]) == Estimate(0.5, None)
    check(relative_improvement([0.6], [0.5], more_is_better=True), 0.2, None)
    assert paired_p_value([0.6], [0.5]) is None


def test_improvement_is_the_ratio_of_means_with_the_error_of_paired_differences() -> None:
    ratio = 2.49 / 2.13
    residuals = [a - ratio * b for a, b in zip(OWN, OTHER, strict=True)]  # their mean is 0
    error = math.sqrt(sum(r * r for r in residuals) / 2) / math.sqrt(3) / (2.13 / 3)
    check(relative_improvement(OWN, OTHER, more_is_better=True), ratio - 1, error)


def test_improvement_of_a_figure_that_should_be_low_is_positive_where_it_fell() -> None:
    check(relative_improvement([0.9, 0.9], [1.0, 1.0], more_is_better=False), 0.1, 0.0)


def test_a_fixed_factor_has_no_error_however_the_seeds_differ() -> None:
    check(relative_improvement([0.2, 0.4, 0.8], [0.1, 0.2, 0.4], more_is_better=True), 1.0, 0.0)


def test_nothing_is_a_share_of_zero() -> None:
    assert relative_improvement([0.5, 0.5], [0.0, 0.0], more_is_better=True) is None


def test_p_value_is_students() -> None:
    # differences 0.10, 0.12, 0.14: t = 0.12 / (0.02 / sqrt(3)) = 10.3923 with 2 degrees of freedom, whose two-sided
    # p is 1 - t / sqrt(2 + t^2)
    t = 6 * math.sqrt(3)
    assert paired_p_value(OWN, OTHER) == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_equal_differences_have_no_p_value() -> None:
    assert paired_p_value([0.7, 0.8], [0.6, 0.7]) is None
    assert paired_p_value([0.7, 0.8], [0.7, 0.8]) is None


def test_holm_of_a_worked_example() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_counts_known_p_values_only_and_stays_below_one() -> None:
    assert holm([None, 0.9, 0.8, None]) == [None, 1.0, 1.0, None]
    assert holm([]) == []


def test_unpaired_figures_are_refused() -> None:
    with pytest.raises(ValueError, match="paired by seed"):
        paired_p_value([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="paired by seed"):
        relative_improvement([], [], more_is_better=True)
