"""Large numbers for people: parameters, FLOPs and bytes, wherever they are told.

In: a number, a unit. Out: a short text.
Leaves out: seconds (`report/bench_record.py`), what is told with every digit.
"""

from __future__ import annotations

SCALES = tuple((1000.0**power, letter) for power, letter in reversed(list(enumerate("kMGTPEZY", start=1))))


def quantity(value: float, unit: str = "") -> str:
    """A number to three digits with its scale.

    Args:
        value: 0 or more.
        unit: such as "FLOPs", "B"; "" for a count.

    Returns:
        87455232 -> "87.5 M", and "8.70 GFLOPs" with a unit; what is below 1000 is rounded to a whole number.
    """
    for scale, letter in SCALES:
        # what rounds to a thousand of a scale is one of the next
        if value >= 0.9995 * scale:
            return f"{value / scale:#.3g}".rstrip(".") + f" {letter}{unit}"
    return f"{value:.0f} {unit}".rstrip()
