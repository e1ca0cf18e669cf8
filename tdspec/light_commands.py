"""The commands that never load TensorFlow: init, validate, show, schema.

In: parsed arguments. Out: text or JSON on stdout, exit codes.
Leaves out: the commands that build graphs, read data or train.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tdspec.command import FINE, WRONG, Arguments, Command, declare_overrides

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
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="a YAML file")
    formats = "text for people; json; github annotations; sarif; junit"
    parser.add_argument("--format", choices=VALIDATE_FORMATS, default="text", help=f"{formats} (default: text)")
    declare_overrides(parser)


def _validate(arguments: Arguments) -> int:
    from tdspec.spec.formats import FORMATS, summary
    from tdspec.spec.load import check
    from tdspec.spec.problems import has_error

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


LIGHT_COMMANDS: dict[str, Command] = {
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
