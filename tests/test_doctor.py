"""What is installed, which devices there are, and what a spec still needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import pytest
from run_support import DATA, STUDENT, TEACHER, Trained, call, write_pair, write_spec

from tdspec.doctor import FORMAT_MODULES, PACKAGES, lines_about_machine, lines_about_spec
from tdspec.pipeline import EXPORT_FORMATS
from tdspec.spec.load import load


def test_the_machine() -> None:
    lines = list(lines_about_machine())
    assert lines[0].startswith("python 3.")
    assert {f"{package} {importlib.metadata.version(package)}" for package in PACKAGES} <= set(lines)
    assert any(line.startswith("device CPU: ") for line in lines)
    assert lines[-1].startswith("cores: ")


def test_a_spec_that_lacks_nothing(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    spec, runs = str(trained.folder / "small.yaml"), str(trained.folder / "runs")
    ended = call(capfd, "doctor", spec, "--runs", runs)
    assert ended.code == 0 and ended.err == "" and ended.last_line == f"{spec}: nothing is missing"
    assert call(capfd, "doctor").code == 0


def test_a_teacher_that_was_never_trained(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = call(capfd, "doctor", str(write_pair(tmp_path)), "--runs", str(tmp_path / "runs"))
    assert ended.code == 1
    assert (
        ended.last_line == f"small: teacher 'teacher' has no run of this spec in {tmp_path}/runs; train makes it first"
    )


def test_what_a_spec_lacks(tmp_path: Path) -> None:
    write_spec(tmp_path / "teacher.yaml", TEACHER, export={"formats": ["onnx"]})
    vit = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "patch_size": 4}
    name = "vit_base_patch16_224_imagenet"
    teacher = {
        "backbone": {"class": "ViTBackbone", "config": vit, "weights": {"preset": name}},
        "input": {"size": [8, 8], "channels": 3},
        "cut": {"low": 1, "high": 2},
    }
    data = {**DATA, "source": "npz", "path": "none.npz"}
    spec = write_spec(tmp_path / "spec.yaml", {**STUDENT, "teacher": teacher, "data": data, "task": {"num_classes": 3}})
    lines = "\n".join(lines_about_spec(load(spec, ["student.input.channels=3"]), tmp_path / "runs"))
    assert f"small: data.path {tmp_path}/none.npz does not exist" in lines
    assert f"small: preset '{name}' is not on this machine; `tdspec fetch" in lines
    (tmp_path / "none.npz").touch()
    assert "data.path" not in "\n".join(lines_about_spec(load(spec, ["student.input.channels=3"]), tmp_path / "runs"))
    lacking = [module for module in FORMAT_MODULES["onnx"] if importlib.util.find_spec(module) is None]
    found = list(lines_about_spec(load(tmp_path / "teacher.yaml"), tmp_path / "runs"))
    assert found == [f"teacher: export to onnx needs the package {module}" for module in lacking]


def test_every_format_says_what_it_needs() -> None:
    assert set(FORMAT_MODULES) == set(EXPORT_FORMATS)
