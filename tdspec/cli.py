"""The command line: parse, call one function, print.

In: the words of the call. Out: text or JSON on stdout, messages on stderr, and the exit code: 0 fine, 1 the spec or the
run is wrong, 2 the call is wrong.
Leaves out: what the commands do. Those that need TensorFlow live in `commands.py`, imported when one of them is called.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import app
from absl.flags import argparse_flags

from tdspec.errors import TdspecError, UsageError
from tdspec.resources import version

Arguments = argparse.Namespace
FINE, WRONG, MISUSED = 0, 1, 2
VALIDATE_FORMATS = ("text", "json", "github", "sarif", "junit")


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


def run() -> None:
    """The console entry point; ends the process."""
    for stream in (sys.stdout, sys.stderr):
        # A path that is no valid text must not stop the message about it.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    app.run(execute, flags_parser=parse)


def parse(words: Sequence[str]) -> Arguments:
    """The arguments of a call.

    Args:
        words: the program's name and what follows it.
    """
    parser = make_parser()
    if len(words) < 2:
        parser.print_help(sys.stderr)
        sys.exit(MISUSED)
    return parser.parse_args(list(words[1:]))


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser: argparse.ArgumentParser = argparse_flags.ArgumentParser(
        prog="tdspec",
        description="Compile a YAML spec into a knowledge distillation on Keras and TensorFlow, and train it.",
        epilog="example:\n  tdspec init && tdspec validate digits.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tdspec {version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        examples = "\n".join(f"  {line}" for line in command.example.splitlines())
        child = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=f"example:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.declare(child)
        child.set_defaults(run=command.run)
    return parser


def execute(arguments: Arguments) -> int:
    """Run a command; every message for the user's own mistakes is printed here.

    Returns:
        The exit code.
    """
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except UsageError as error:
        print(error, file=sys.stderr)
        return MISUSED
    except TdspecError as error:
        print(error, file=sys.stderr)
        return WRONG
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return WRONG
    return code


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


def _declare_init(parser: argparse.ArgumentParser) -> None:
    from tdspec.templates import template_names

    names = ", ".join(template_names())
    parser.add_argument("path", nargs="?", metavar="PATH", help="the file to write (default: <template>.yaml)")
    parser.add_argument("--template", default="digits", metavar="T", help=f"{names} (default: digits)")


def _init(arguments: Arguments) -> int:
    from tdspec.templates import write_template

    target = Path(arguments.path or f"{arguments.template}.yaml")
    for path in write_template(arguments.template, target):
        print(f"wrote {path}")
    print(f"next: tdspec train {target}", file=sys.stderr)
    return FINE


def _declare_validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="a YAML file")
    formats = "text for people; json; github annotations; sarif; junit"
    parser.add_argument("--format", choices=VALIDATE_FORMATS, default="text", help=f"{formats} (default: text)")
    declare_overrides(parser)


def _validate(arguments: Arguments) -> int:
    from tdspec.spec.formats import FORMATS, has_error, summary
    from tdspec.spec.load import check

    report = {path: check(path, arguments.overrides) for path in dict.fromkeys(arguments.specs)}
    text = FORMATS[arguments.format](report)
    if text:
        print(text)
    if arguments.format == "text":
        sys.stdout.flush()
        print(summary(report), file=sys.stderr)
    return WRONG if any(has_error(diagnostics) for diagnostics in report.values()) else FINE


def _declare_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="a YAML file")
    parser.add_argument("--format", choices=("yaml", "json"), default="yaml", help="(default: yaml)")
    declare_overrides(parser)


def _show(arguments: Arguments) -> int:
    from tdspec.spec.load import load
    from tdspec.spec.render import render

    document = load(arguments.spec, arguments.overrides)
    for warning in document.warnings:
        print(warning, file=sys.stderr)
    if arguments.format == "json":
        print(json.dumps(document.values, indent=2, ensure_ascii=False))
    else:
        print(render(document, Path(arguments.spec).parent), end="")
    return FINE


def _schema(arguments: Arguments) -> int:
    from tdspec.spec.schema import schema_text

    print(schema_text(), end="")
    return FINE


COMMANDS: dict[str, Command] = {
    "init": Command(
        "write a commented spec that runs", "tdspec init --template digits my_digits.yaml", _declare_init, _init
    ),
    "validate": Command(
        "check specs, and report all problems with their places",
        "tdspec validate specs/*.yaml\ntdspec validate --format sarif digits.yaml > problems.sarif",
        _declare_validate,
        _validate,
    ),
    "show": Command(
        "print a spec with every default written out",
        "tdspec show digits.yaml --set train.epochs=3",
        _declare_show,
        _show,
    ),
    "schema": Command(
        "print the JSON schema of specs", "tdspec schema > tdspec.schema.json", lambda parser: None, _schema
    ),
}
