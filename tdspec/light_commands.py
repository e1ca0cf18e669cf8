"""The commands that never load TensorFlow: init, validate, show, schema.

In: parsed arguments. Out: text or JSON on stdout, exit codes.
Leaves out: the commands that build graphs, read data or train.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tdspec.command import FINE, WRONG, Arguments, Command, declare_overrides
from tdspec.errors import Diagnostic, UsageError

VALIDATE_FORMATS = ("text", "json", "github", "sarif", "junit")


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
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="a YAML file: a spec, or a study")
    formats = "text for people; json; github annotations; sarif; junit"
    parser.add_argument("--format", choices=VALIDATE_FORMATS, default="text", help=f"{formats} (default: text)")
    declare_overrides(parser)


def _validate(arguments: Arguments) -> int:
    from tdspec.spec.formats import FORMATS, summary
    from tdspec.spec.problems import has_error

    report = {path: _problems(path, arguments.overrides) for path in dict.fromkeys(arguments.specs)}
    text = FORMATS[arguments.format](report)
    if text:
        print(text)
    if arguments.format == "text":
        sys.stdout.flush()
        print(summary(report), file=sys.stderr)
    return WRONG if any(has_error(diagnostics) for diagnostics in report.values()) else FINE


def _problems(path: str, overrides: Sequence[str]) -> tuple[Diagnostic, ...]:
    """What is wrong with a spec or a study; no study is a valid spec, so that only errors make it worth asking."""
    from tdspec.spec.load import check
    from tdspec.spec.problems import has_error

    found = check(path, overrides)
    if not has_error(found):
        return found
    from tdspec.study.check import check_study, is_study_file  # 30 ms that a valid spec does without

    if not is_study_file(path):
        return found
    if overrides:
        raise UsageError(f"found --set beside {path}, which is a study", "write what its runs have under `set` in it")
    return check_study(path)


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


LIGHT_COMMANDS: dict[str, Command] = {
    "init": Command(
        "write a commented spec that runs", "tdspec init --template digits my_digits.yaml", _declare_init, _init
    ),
    "validate": Command(
        "check specs and studies, and report all problems with their places",
        "tdspec validate specs/*.yaml specs/studies/*.yaml\ntdspec validate --format sarif a.yaml > a.sarif",
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
