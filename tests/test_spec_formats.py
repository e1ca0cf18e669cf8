"""Diagnostics for machines: each format against its own rules."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from tdspec.errors import Diagnostic, Place
from tdspec.spec.formats import as_github, as_json, as_junit, as_sarif, as_text, summary
from tdspec.spec.problems import RULES

ODD = "bad specs/a,b:100%.yaml"
ERROR = Diagnostic(
    Place(ODD, 4, 12), "error", "value", "data.source", "found 'x' <&>, expected 50%", "did you mean 'y'?"
)
WARNING = Diagnostic(Place("/a/ü.yaml", 1, 1), "warning", "no-effect", "", "found a thing, expected none")
REPORT = {ODD: (ERROR,), "/a/ü.yaml": (WARNING,), "fine.yaml": ()}


def test_text() -> None:
    assert as_text(REPORT) == (
        f"{ODD}:4:12: error: data.source: found 'x' <&>, expected 50%\n  hint: did you mean 'y'?\n"
        "/a/ü.yaml:1:1: warning: found a thing, expected none\n/a/ü.yaml: ok\nfine.yaml: ok"
    )
    assert summary(REPORT) == "3 specs: 1 error, 1 warning"
    assert summary({"a": ()}) == "1 spec: 0 errors, 0 warnings"


def test_json() -> None:
    read = json.loads(as_json(REPORT))
    assert read["valid"] is False
    assert [(spec["path"], spec["valid"], len(spec["diagnostics"])) for spec in read["specs"]] == [
        (ODD, False, 1),
        ("/a/ü.yaml", True, 1),
        ("fine.yaml", True, 0),
    ]
    assert read["specs"][0]["diagnostics"][0] == {
        "file": ODD,
        "line": 4,
        "column": 12,
        "severity": "error",
        "rule": "value",
        "key": "data.source",
        "message": "found 'x' <&>, expected 50%",
        "hint": "did you mean 'y'?",
    }


def test_github() -> None:
    assert as_github(REPORT).splitlines() == [
        "::error file=bad specs/a%2Cb%3A100%25.yaml,line=4,col=12,title=tdspec value::"
        "data.source: found 'x' <&>, expected 50%25%0A  hint: did you mean 'y'?",
        "::warning file=/a/ü.yaml,line=1,col=1,title=tdspec no-effect::found a thing, expected none",
    ]
    assert as_github({"fine.yaml": ()}) == ""


def test_sarif() -> None:
    read = json.loads(as_sarif(REPORT))
    assert read["version"] == "2.1.0"
    (run,) = read["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["no-effect", "value"]
    assert all(rule["shortDescription"]["text"] == RULES[rule["id"]] for rule in rules)
    first, second = run["results"]
    assert rules[first["ruleIndex"]]["id"] == first["ruleId"] == "value"
    assert (first["level"], second["level"]) == ("error", "warning")
    location = first["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "bad%20specs/a%2Cb%3A100%25.yaml"
    assert location["region"] == {"startLine": 4, "startColumn": 12}
    assert second["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "file:///a/%C3%BC.yaml"
    assert json.loads(as_sarif({}))["runs"][0]["results"] == []


def test_junit() -> None:
    root = ElementTree.fromstring(as_junit(REPORT).encode())
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    bad, doubtful, fine = suite
    assert bad.get("name") == ODD and bad[0].tag == "failure"
    assert bad[0].text == str(ERROR)
    assert doubtful[0].tag == "system-out"
    assert len(fine) == 0


def test_every_rule_says_what_it_asks_for() -> None:
    for rule, text in RULES.items():
        assert rule == rule.lower() and " " not in rule
        assert text.endswith(".")
