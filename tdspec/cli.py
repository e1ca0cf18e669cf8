"""The command line: parse, call one function, print.

In: the words of the call. Out: text or JSON on stdout, messages on stderr, and the exit code: 0 fine, 1 the spec or the
run is wrong, 2 the call is wrong.
Leaves out: what the commands do (`light_commands.py`; those that need TensorFlow are imported when they are called).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Mapping, Sequence

from absl import app
from absl.flags import argparse_flags

from tdspec import __version__
from tdspec.command import MISUSED, WRONG, Arguments, Command
from tdspec.errors import TdspecError, UsageError
from tdspec.heavy_commands import HEAVY_COMMANDS
from tdspec.light_commands import LIGHT_COMMANDS
from tdspec.starting import missing_package
from tdspec.study_commands import STUDY_COMMANDS

COMMANDS: Mapping[str, Command] = {**LIGHT_COMMANDS, **HEAVY_COMMANDS, **STUDY_COMMANDS}


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
    parser = make_parser(words)
    if len(words) < 2:
        parser.print_help(sys.stderr)
        sys.exit(MISUSED)
    return parser.parse_args(list(words[1:]))


def make_parser(words: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of all commands.

    Args:
        words: commands that are not among them are listed only: declaring all arguments takes longer than a spec's
            checks.
    """
    parser: argparse.ArgumentParser = argparse_flags.ArgumentParser(
        prog="tdspec",
        description="Compile a YAML spec into a knowledge distillation on Keras and TensorFlow, and train it.",
        epilog="example:\n  tdspec init && tdspec validate digits.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tdspec {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        if name not in words:
            commands.add_parser(name, help=command.summary, inherited_absl_flags=None)
            continue
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


def _disk_error(error: OSError) -> TdspecError:
    """What to tell a user whose disk or folder does not take what a command writes, or give what it reads."""
    reason = (error.strerror or str(error)).lower()
    # of a file that was to be renamed, where to
    place = error.filename2 or error.filename
    if place is None:
        return TdspecError(reason)
    return TdspecError(f"cannot use '{os.fspath(place)}': {reason}", "name another place, or mend this one")


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
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "tdspec":
            raise
        print(missing_package(error), file=sys.stderr)
        return WRONG
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG
    except OSError as error:
        print(_disk_error(error), file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return WRONG
    return code
