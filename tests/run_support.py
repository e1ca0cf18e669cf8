"""What the tests of whole jobs share: small specs of the digits, and calls of the command line."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tdspec.cli import execute, parse

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}

# The same seed and fractions for teacher and student, as in the specs that ship.
DATA: Mapping[str, Any] = {
    "source": "digits",
    "splits": {"train": 0.5, "validation": 0.2, "test": 0.3},
    "batch_size": 64,
}
IMAGE: Mapping[str, Any] = {"size": [8, 8], "channels": 1}
TEACHER: Mapping[str, Any] = {
    "version": 1,
    "name": "teacher",
    "method": "scratch",
    "data": DATA,
    "student": {"backbone": {"mlp": {"units": [24, 16, 12]}}, "input": IMAGE},
    "train": {"epochs": 2},
}
STUDENT: Mapping[str, Any] = {
    "version": 1,
    "name": "small",
    "method": "talking",
    "data": DATA,
    "teacher": {"backbone": {"spec": "teacher.yaml"}, "cut": {"low": 1, "high": 3}},
    "student": {"backbone": {"mlp": {"units": [10, 8]}}, "input": IMAGE, "cut": {"low": 1, "high": 2}},
    "communication": {"message": {"dim": 6}, "encoder": {"type": "linear"}, "iterations": 1},
    "train": {"epochs": 2, "optimizer": {"learning_rate": 0.003}},
}
# Numbers from a table, which a test writes: columns of features, and label.
TABLE: Mapping[str, Any] = {
    **TEACHER,
    "name": "table",
    "data": {**DATA, "source": "csv", "path": "table.csv", "batch_size": 16},
    "task": {"type": "regression"},
}
LONELY: Mapping[str, Any] = {**TEACHER, "name": "lonely"}


class Ended(NamedTuple):
    """How a call of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.splitlines()[-1]


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with the leaves of `changes` in place of theirs."""
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        result[key] = merged(old, change) if isinstance(old, Mapping) and isinstance(change, Mapping) else change
    return result


def write_spec(path: Path, values: Mapping[str, Any], **changes: Any) -> Path:
    """Write a spec with some of its values changed."""
    plain = json.loads(json.dumps(merged(values, changes)))
    path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    return path


def write_pair(folder: Path, **changes: Any) -> Path:
    """Write teacher.yaml, and small.yaml beside it with some values changed; the path of the latter."""
    write_spec(folder / "teacher.yaml", TEACHER)
    return write_spec(folder / "small.yaml", STUDENT, **changes)


def call(capfd: pytest.CaptureFixture[str], *words: str) -> Ended:
    """Run a command in this process."""
    capfd.readouterr()
    code = execute(parse(["tdspec", *words]))
    return Ended(code, *capfd.readouterr())


def command(*words: str, folder: Path, **environment: str) -> Ended:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tdspec", *words],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def files_below(folder: Path) -> set[str]:
    """The relative paths of all files."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class Trained(NamedTuple):
    """A folder in which small.yaml was compiled, and trained with its teacher and its control."""

    folder: Path
    run: Path
    ended: Ended


@functools.cache
def _trained(folder: Path) -> Trained:
    folder.mkdir()
    write_pair(folder)
    compiled = command("compile", "small.yaml", folder=folder)
    assert compiled.code == 0, compiled
    ended = command("train", "--control", folder=folder)
    assert ended.code == 0, ended
    return Trained(folder, folder / ended.last_line, ended)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Made once, whichever test asks first; tests leave it as it is."""
    return _trained(tmp_path_factory.getbasetemp() / "trained")
