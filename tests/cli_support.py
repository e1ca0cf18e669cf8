"""What the tests of commands that need TensorFlow share: a folder with two specs, no network, what a refusal is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from run_support import ROOT, Ended, write_pair

Capture = pytest.CaptureFixture[str]

# Fails every attempt to reach another machine, in whatever process finds it on its path.
NO_NETWORK = """
import socket
def refuse(*arguments, **options):
    raise OSError("this test has no network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
"""


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with teacher.yaml and small.yaml."""
    monkeypatch.chdir(tmp_path)
    write_pair(tmp_path)
    return tmp_path


def offline(folder: Path) -> dict[str, str]:
    """Environment of a process that reaches nothing, and has neither presets nor data."""
    (folder / "offline").mkdir(exist_ok=True)
    (folder / "offline" / "sitecustomize.py").write_text(NO_NETWORK)
    path = os.pathsep.join([str(folder / "offline"), str(ROOT)])
    return {"PYTHONPATH": path, "TFDS_DATA_DIR": str(folder / "none"), "KAGGLEHUB_CACHE": str(folder / "none")}


def failed(ended: Ended, *words: str) -> None:
    """The call ended with 1 and one error on stderr, which says all the words."""
    assert ended.code == 1 and ended.out == "", ended
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ") or ": error: " in line]
    assert len(errors) == 1, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err, ended.err
