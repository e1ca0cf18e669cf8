"""Every bad spec of `bad_specs/` gives exactly the text beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tdspec.errors import SpecError
from tdspec.spec.formats import FORMATS, Report, as_text
from tdspec.spec.load import check, load
from tdspec.spec.problems import RULES, has_error

FOLDER = Path(__file__).parent / "bad_specs"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))
THROUGH_THE_COMMAND_LINE = ("several_at_once.yaml", "not_utf8.yaml", "spec_with_errors.yaml", "yaml_11_traps.yaml")


@pytest.fixture(autouse=True)
def _in_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


def _expected(name: str) -> str:
    return Path(name).with_suffix(".expected.txt").read_text("utf-8")


def test_every_expectation_has_its_spec() -> None:
    assert len(NAMES) >= 45
    assert {path.name.removesuffix(".expected.txt") for path in FOLDER.glob("*.txt")} == {
        name.removesuffix(".yaml") for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_check(name: str) -> None:
    diagnostics = check(name)
    assert diagnostics
    assert "\n".join(str(item) for item in diagnostics) + "\n" == _expected(name)
    assert {item.rule for item in diagnostics} <= set(RULES)


@pytest.mark.parametrize("name", NAMES)
def test_load_raises_what_check_gives(name: str) -> None:
    diagnostics = check(name)
    if has_error(diagnostics):
        with pytest.raises(SpecError) as caught:
            load(name)
        assert set(caught.value.diagnostics) == set(diagnostics)
    else:
        assert load(name).warnings == diagnostics


def test_messages_follow_the_style() -> None:
    for name in NAMES:
        for item in check(name):
            assert item.message[0].islower() and not item.message.endswith("."), item
            assert item.message.startswith("found "), item
            assert not item.hint.endswith("."), item


def test_every_rule_but_those_of_later_stages_is_broken_once() -> None:
    broken = {item.rule for name in NAMES for item in check(name)}
    assert set(RULES) - broken == {"graph", "override"}


@pytest.mark.parametrize("name", THROUGH_THE_COMMAND_LINE)
def test_command_line(name: str) -> None:
    call = [sys.executable, "-m", "tdspec", "validate", name]
    environment = {"PYTHONPATH": str(FOLDER.parent.parent), "PYTHONUTF8": "1"}
    done = subprocess.run(call, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 1
    assert done.stdout == _expected(name)
    assert done.stderr.startswith("1 spec: ")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_writes_every_bad_spec(name: str) -> None:
    report: Report = {spec: check(spec) for spec in NAMES}
    text = FORMATS[name](report)
    assert text.count("spec_cycle") >= 2
    assert (name == "text") == (text == as_text(report))
