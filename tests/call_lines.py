"""Finds the `tdspec ...` calls in texts, for the real parser to judge."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

# What stands for a value in the usage of a command, by the option before it.
VALUES = {"--split": "test", "--side": "student", "--jobs": "2", "--format": "text", "--trials": "5"}


def shell_calls(text: str) -> Iterator[list[str]]:
    """The words of each call in shell lines: joined by && or |, with comments and continuations."""
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        for part in re.split(r"&&|\|\||[|;]|\$\(", line):
            words = shlex.split(part, comments=True)
            if words and re.fullmatch(r"(.*/)?tdspec", words[0]):
                yield ["tdspec", *words[1:]]


def usage_call(text: str) -> list[str]:
    """The words of a usage such as `tdspec layers SPEC [--side S]`, with everything optional in it."""
    words = re.sub(r"[\[\]]|\.\.\.", " ", text.replace("\\|", "|")).split()
    plain = [word.split("|")[0].rstrip(",") for word in words]
    return [VALUES.get(before, word) for before, word in zip(["", *plain], plain, strict=False)]
