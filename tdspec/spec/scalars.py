"""Unquoted scalars of YAML 1.2's core schema.

In: the text of a scalar. Out: None, a truth value, a number or text.
Leaves out: YAML 1.1's readings (`no` as false, `12:30` as 750, dates), which surprise people.
"""

from __future__ import annotations

import math
import re

CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
INTEGER = re.compile(r"[-+]?[0-9]+")
PREFIXED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
TRUTH_WORDS = frozenset(form for word in ("yes", "no", "on", "off") for form in (word, word.capitalize(), word.upper()))
MAX_INTEGER = 2**63 - 1
MAX_DIGITS = 400


def read_scalar(text: str) -> bool | int | float | str | None:
    """The value of an unquoted scalar.

    Raises:
        ValueError: a number that is not finite or does not fit 64 bits; the message says what was found.
    """
    if text in CONSTANTS:
        return CONSTANTS[text]
    if NOT_FINITE.fullmatch(text):
        raise ValueError(f"found {text}, expected a finite number")
    if INTEGER.fullmatch(text) or PREFIXED.fullmatch(text):
        return _integer(text)
    if FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError("found a number too large for 64 bits, expected a finite number")
        return number
    return text


def _integer(text: str) -> int:
    number = MAX_INTEGER + 1 if len(text) > MAX_DIGITS else int(text, 0 if PREFIXED.fullmatch(text) else 10)
    if abs(number) > MAX_INTEGER:
        raise ValueError(f"found a whole number of {len(text)} characters, expected one that fits 64 bits")
    return number
