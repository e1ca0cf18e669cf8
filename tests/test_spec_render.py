"""A resolved spec as YAML: it loads to the same spec wherever it is written, by YAML 1.1 and 1.2 alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tdspec.spec.load import Document, load
from tdspec.spec.render import render

ROOT = Path(__file__).parent.parent
ODD = """\
version: 1
name: odd
data:
  source: tfds
  name: "12:30"
  path: data
  where: {a: "no", b: "1e-3", c: "0o17", d: "1_000", e: "", f: "null", g: "2026-11-01", h: "é\\n", i: [1, 1.0, true]}
teacher:
  backbone: {class: ViTBackbone, config: {z: 1.0e-20, a: {y: [1, [2, {b: ~}]]}, s: "#x: y"}, weights: {preset: ./big}}
  cut: {low: "3", high: "yes"}
student:
  backbone: {preset: ./small, weights: {file: sub/w.h5}}
  cut: {low: 1, high: 2}
train: {optimizer: {learning_rate: 1e-5, weight_decay: 1e-30}}
"""


def _documents(tmp_path: Path) -> list[Document]:
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "small").mkdir()
    (folder / "odd.yaml").write_text(ODD, "utf-8")
    table = folder / "table.yaml"
    table.write_text(
        "version: 1\nname: table\nmethod: scratch\ndata: {source: csv, path: ../a.csv}\ntask: {type: regression}\n"
        "student:\n  backbone: {mlp: {units: [8], features: {b: {type: id, size: 3}, a: {type: number}}}}\n"
    )
    return [load(path) for path in (folder / "odd.yaml", table, ROOT / "specs" / "digits.yaml")]


@pytest.mark.parametrize("below", ["specs", "elsewhere/deep", "."])
def test_loads_to_the_same_spec(tmp_path: Path, below: str) -> None:
    for document in _documents(tmp_path):
        folder = tmp_path / below
        folder.mkdir(parents=True, exist_ok=True)
        text = render(document, folder)
        path = folder / "rendered.yaml"
        path.write_text(text, "utf-8")
        again = load(path)
        assert again.spec == document.spec
        assert again.sha256 == document.sha256
        assert again.warnings == ()
        assert render(again, folder) == text
        assert list(again.values) == list(document.values)


def test_yaml_11_readers_agree(tmp_path: Path) -> None:
    for document in _documents(tmp_path):
        assert yaml.safe_load(render(document, Path(document.source.file).parent)) == document.values


def test_every_default_is_written(tmp_path: Path) -> None:
    text = render(load(ROOT / "specs" / "digits_teacher.yaml"), tmp_path)
    for line in ("seed: 0", "  iterations: 1", "    momentum: 0.0", "  replicas: auto", "    temperature: 4.0"):
        assert f"\n{line}\n" in text
    assert "\n      units: [256, 256, 128]\n" in text


def test_a_resolved_spec_still_warns_of_what_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "resolved.yaml"
    path.write_text(render(load(ROOT / "specs" / "digits_teacher.yaml"), tmp_path))
    (warning,) = load(path, ["communication.iterations=3"]).warnings
    assert (warning.rule, warning.key) == ("no-effect", "communication.iterations")
