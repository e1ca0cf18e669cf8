"""Artefacts take their place whole, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdspec.serve.publish import publish, size, workspace


def test_a_file_replaces_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "older").write_text("1")
    (tmp_path / "newer").write_text("22")
    publish(tmp_path / "newer", tmp_path / "older")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("older", "22")]


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    for name in ("older", "newer"):
        (tmp_path / name / "inside").mkdir(parents=True)
        (tmp_path / name / "inside" / name).write_text(name)
    publish(tmp_path / "newer", tmp_path / "older")
    assert [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()] == [
        "older/inside/newer"
    ]
    assert size(tmp_path / "older") == 5


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    publish(tmp_path / "file", tmp_path / "a" / "b" / "file")
    assert (tmp_path / "a" / "b" / "file").read_text() == "x"


def test_a_workspace_vanishes_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), workspace(tmp_path / "new") as work:
        (work / "half").mkdir()
        raise KeyError("the work failed")
    assert list((tmp_path / "new").iterdir()) == []
