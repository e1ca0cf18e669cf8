"""The benchmarks can be started: each finds what it imports, and says what it measures."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_it_can_be_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # what benchmarks set for themselves, if it is not set
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.syspath_prepend(str(FOLDER))
    for path in FOLDER.glob("*.py"):
        # imported anew, and taken away again when the test has ended
        monkeypatch.setitem(sys.modules, path.stem, sys)
        del sys.modules[path.stem]
    assert importlib.import_module(name).__doc__
