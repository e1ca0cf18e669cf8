"""Diagnostics for people and for machines.

In: the diagnostics of each spec. Out: text, JSON, GitHub annotations, SARIF 2.1.0 or JUnit XML.
Leaves out: finding problems (`load.py`), printing (`light_commands.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tdspec import __version__
from tdspec.errors import Diagnostic
from tdspec.spec.problems import RULES, has_error

Report = Mapping[str, Sequence[Diagnostic]]
SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def summary(report: Report) -> str:
    """One line about all specs."""
    found = [item.severity for diagnostics in report.values() for item in diagnostics]
    counts = f"{_count(found.count('error'), 'error')}, {_count(found.count('warning'), 'warning')}"
    return f"{_count(len(report), 'spec')}: {counts}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def as_text(report: Report) -> str:
    """A line or two for each problem, and `path: ok` for a spec without errors."""
    lines: list[str] = []
    for path, diagnostics in report.items():
        lines += [str(item) for item in diagnostics]
        lines += [] if has_error(diagnostics) else [f"{path}: ok"]
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """An object with the specs in the order of the call."""
    specs = [
        {"path": path, "valid": not has_error(diagnostics), "diagnostics": [_as_object(item) for item in diagnostics]}
        for path, diagnostics in report.items()
    ]
    return json.dumps({"valid": all(spec["valid"] for spec in specs), "specs": specs}, indent=2, ensure_ascii=False)


def _as_object(item: Diagnostic) -> dict[str, Any]:
    return {
        "file": item.place.file,
        "line": item.place.line,
        "column": item.place.column,
        "severity": item.severity,
        "rule": item.rule,
        "key": item.key,
        "message": item.message,
        "hint": item.hint,
    }


def _full_message(item: Diagnostic) -> str:
    """A diagnostic without its place, hint included."""
    return str(item).removeprefix(f"{item.place}: {item.severity}: ")


def as_github(report: Report) -> str:
    """Workflow commands that annotate the lines of a pull request."""
    return "\n".join(_annotation(item) for diagnostics in report.values() for item in diagnostics)


def _annotation(item: Diagnostic) -> str:
    place = item.place
    properties = {"file": place.file, "line": str(place.line), "col": str(place.column), "title": f"tdspec {item.rule}"}
    written = ",".join(f"{name}={_escape_property(value)}" for name, value in properties.items())
    return f"::{item.severity} {written}::{_escape(_full_message(item))}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def as_sarif(report: Report) -> str:
    """A SARIF 2.1.0 log with one run."""
    found = [item for diagnostics in report.values() for item in diagnostics]
    rules = sorted({item.rule for item in found})
    driver = {
        "name": "tdspec",
        "semanticVersion": __version__,
        "rules": [_sarif_rule(rule) for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(item, rules.index(item.rule)) for item in found],
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _sarif_rule(rule: str) -> dict[str, Any]:
    text = {"text": RULES[rule]}
    return {"id": rule, "shortDescription": text, "fullDescription": text, "help": text}


def _sarif_result(item: Diagnostic, rule_index: int) -> dict[str, Any]:
    region = {"startLine": item.place.line, "startColumn": item.place.column}
    location = {"artifactLocation": {"uri": _uri(item.place.file)}, "region": region}
    return {
        "ruleId": item.rule,
        "ruleIndex": rule_index,
        "level": item.severity,
        "message": {"text": _full_message(item)},
        "locations": [{"physicalLocation": location}],
    }


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def as_junit(report: Report) -> str:
    """A JUnit test suite with a test case for each spec."""
    from xml.etree import ElementTree  # 10 ms that the other formats do without

    num_failures = sum(has_error(diagnostics) for diagnostics in report.values())
    counts = {"tests": str(len(report)), "failures": str(num_failures), "errors": "0", "skipped": "0"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "tdspec validate", **counts})
    for path, diagnostics in report.items():
        case = ElementTree.SubElement(suite, "testcase", {"classname": "tdspec", "name": path, "file": path})
        errors = [item for item in diagnostics if item.severity == "error"]
        warnings = [item for item in diagnostics if item.severity == "warning"]
        if errors:
            failure = {"message": _count(len(errors), "error"), "type": errors[0].rule}
            ElementTree.SubElement(case, "failure", failure).text = "\n".join(map(str, errors))
        if warnings:
            ElementTree.SubElement(case, "system-out").text = "\n".join(map(str, warnings))
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode")


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": as_text,
    "json": as_json,
    "github": as_github,
    "sarif": as_sarif,
    "junit": as_junit,
}
