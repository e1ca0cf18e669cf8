"""Large numbers read alike everywhere: three digits, and never a power of ten."""

from __future__ import annotations

import pytest

from tdspec.spec.quantities import quantity


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.00 k"),
        (1000, "1.00 k"),
        (15380, "15.4 k"),
        (99_960, "100 k"),
        (999_499, "999 k"),
        (999_999, "1.00 M"),
        (87455232, "87.5 M"),
        (8.7e9, "8.70 G"),
        (4e18, "4.00 E"),
    ],
)
def test_quantities_have_three_digits(value: float, text: str) -> None:
    assert quantity(value) == text


def test_a_unit_follows_its_scale() -> None:
    found = [quantity(value, "B") for value in (7, 1500, 2.34e9)]
    assert found == ["7 B", "1.50 kB", "2.34 GB"]
