"""The hash of a spec: what counts, and what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tdspec.spec.load import load

ROOT = Path(__file__).parent.parent
SPEC = """\
version: 1
name: table
method: scratch
data: {source: csv, path: data/a.csv, where: {x: 1, y: 2}}
task: {type: regression}
student:
  backbone: {mlp: {units: [8], features: {b: {type: id, size: 3}, a: {type: number}}}}
"""


def _hash(tmp_path: Path, text: str, name: str = "a.yaml") -> str:
    (tmp_path / name).write_text(text)
    return load(tmp_path / name).sha256


SAME = {
    "comment and order": "# hello\nname: table\n" + SPEC.replace("name: table\n", ""),
    "defaults written": SPEC + "seed: 0\ntrain: {epochs: 30}\nlosses: {feature: {weight: 0.5}}\n",
    "other number": SPEC + "losses: {task: 1}\n",
    "other folder": SPEC.replace("data/a.csv", "/elsewhere/a.csv"),
    "order of filters": SPEC.replace("x: 1, y: 2", "y: 2, x: 1"),
}
OTHER = {
    "name": SPEC.replace("name: table", "name: tables"),
    "seed": SPEC + "seed: 1\n",
    "file": SPEC.replace("a.csv", "b.csv"),
    "order of columns": SPEC.replace(
        "b: {type: id, size: 3}, a: {type: number}", "a: {type: number}, b: {type: id, size: 3}"
    ),
    "filter": SPEC.replace("x: 1", "x: 3"),
}


@pytest.mark.parametrize("case", SAME)
def test_same(tmp_path: Path, case: str) -> None:
    assert _hash(tmp_path, SAME[case]) == _hash(tmp_path, SPEC)


@pytest.mark.parametrize("case", OTHER)
def test_other(tmp_path: Path, case: str) -> None:
    assert _hash(tmp_path, OTHER[case]) != _hash(tmp_path, SPEC)


def test_a_teacher_counts_by_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        shutil.copytree(ROOT / "specs", folder)
    assert load(first / "digits.yaml").sha256 == load(second / "digits.yaml").sha256
    text = (second / "digits.yaml").read_text().replace("digits_teacher.yaml", "renamed.yaml")
    (second / "renamed.yaml").write_text((second / "digits_teacher.yaml").read_text())
    (second / "digits.yaml").write_text(text)
    assert load(first / "digits.yaml").sha256 == load(second / "digits.yaml").sha256
    (second / "renamed.yaml").write_text((second / "digits_teacher.yaml").read_text() + "seed: 7\n")
    assert load(first / "digits.yaml").sha256 != load(second / "digits.yaml").sha256


def test_the_hash_is_stable() -> None:
    assert len(load(ROOT / "specs" / "digits.yaml").sha256) == 64
    assert load(ROOT / "specs" / "digits.yaml").sha256 == load(ROOT / "specs" / "digits.yaml").sha256
