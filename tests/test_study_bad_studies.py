"""Every bad study of `bad_studies/` gives exactly the text beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdspec.spec.problems import RULES
from tdspec.study.check import check_study

FOLDER = Path(__file__).parent / "bad_studies"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def test_every_expectation_has_its_study() -> None:
    assert NAMES
    assert {path.name.removesuffix(".expected.txt") for path in FOLDER.glob("*.txt")} == {
        name.removesuffix(".yaml") for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    diagnostics = check_study(name)
    assert "\n".join(map(str, diagnostics)) + "\n" == Path(name).with_suffix(".expected.txt").read_text("utf-8")
    for item in diagnostics:
        assert item.rule in RULES
        assert item.message.startswith("found ") and not item.message.endswith("."), item
        assert not item.hint.endswith("."), item
