"""What a command of `tdspec` is made of.

In: nothing. Out: `Command`, exit codes, arguments that several commands share.
Leaves out: the commands (`light_commands.py` and those that need TensorFlow), parsing the call (`cli.py`).
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass

Arguments = argparse.Namespace
FINE, WRONG, MISUSED = 0, 1, 2


@dataclass(frozen=True)
class Command:
    """A command of `tdspec`.

    Attributes:
        summary: one line for the list of commands.
        example: calls for the end of its help, one a line.
        declare: adds its arguments to a parser.
        run: does the work with the parsed arguments; gives the exit code.
    """

    summary: str
    example: str
    declare: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], int]


def later(name: str) -> Callable[[Arguments], int]:
    """A function of `commands.py`, imported when it is called: it needs TensorFlow, which takes seconds to load."""

    def run_later(arguments: Arguments) -> int:
        code: int = getattr(importlib.import_module("tdspec.commands"), name)(arguments)
        return code

    return run_later


def declare_overrides(parser: argparse.ArgumentParser) -> None:
    """Add --set."""
    help_text = "change a key of the spec for this call, such as train.epochs=3 (repeatable)"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=help_text)
