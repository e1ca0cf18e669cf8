"""Finds the `tdspec ...` calls in texts, for the real parser to judge."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

# What stands for a value in the usage of a command, by the option before it.
VALUES = {
    "--split": "test",
    "--side": "student",
    "--jobs": "2",
    "--format": "text",
    "--trials": "5",
    "--steps": "3",
    "--scale": "8",
    "--workers": "2",
}


def shell_calls(text: str) -> Iterator[list[str]]:
    """The words of each call in shell lines: joined by && or |, with comments and continuations."""
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        for part in re.split(r"&&|\|\||[|;]|\$\(", line):
            # Other lines are not for this parser: a quoted program may have been cut in two.
            if re.match(r"\s*(\S*/)?tdspec\s", part):
                yield ["tdspec", *shlex.split(part, comments=True)[1:]]


def usage_call(text: str) -> list[str]:
    """The words of a usage such as `tdspec layers SPEC [--side S]`, with everything optional in it."""
    words = re.sub(r"[\[\]]|\.\.\.", " ", text.replace("\\|", "|")).split()
    plain = [word.split("|")[0].rstrip(",") for word in words]
    return [VALUES.get(before, word) for before, word in zip(["", *plain], plain, strict=False)]
