"""From a file to a Document: values, paths, overrides, errors of later stages, and no heavy imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tdspec.errors import Place, SpecError, UsageError
from tdspec.spec import model
from tdspec.spec.load import check, load

ROOT = Path(__file__).parent.parent
SPEC = """\
version: 1
name: paths
data: {source: npz, path: data/a.npz}
task: {num_classes: 3}
teacher:
  backbone: {class: ViTBackbone, config: {num_layers: 2}, weights: {file: ../w.weights.h5}}
  cut: {low: 1, high: 2}
student:
  backbone: {preset: small}
  cut: {low: 1, high: block_2}
  head: {dropout: 0.5}
losses: {interaction: 2, state_consistency: {distance: l2}}
"""


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "specs" / "paths.yaml"
    path.parent.mkdir()
    path.write_text(SPEC)
    return path


def test_a_study_is_told_as_such(spec_file: Path) -> None:
    spec_file.write_text("version: 1\nspec: a.yaml\naxes: {seed: [0, 1]}\n")
    with pytest.raises(SpecError) as caught:
        load(spec_file)
    expected = f"error: found a study, expected a spec\n  hint: `tdspec study {spec_file}` runs it"
    assert str(caught.value).endswith(expected)


def test_document(spec_file: Path) -> None:
    document = load(spec_file)
    spec, folder = document.spec, spec_file.parent
    assert spec.data.path == str(folder / "data" / "a.npz")
    assert spec.teacher is not None
    assert spec.teacher.backbone == model.ClassBackbone(
        "ViTBackbone", {"num_layers": 2}, model.FileWeights(str(folder.parent / "w.weights.h5")), None
    )
    assert spec.student.backbone == model.PresetBackbone("small", "own", None)
    assert spec.student.cut == model.Cut(1, "block_2")
    assert spec.student.head == model.Head("auto", 0.5, 0.0)
    assert spec.student.input == model.Input("image", "auto", 3, (0.0, 1.0), (0.0,), (1.0,), "own", "auto")
    assert spec.losses.interaction == model.InteractionLoss(2.0, "constant", 0.1, "relative_l2", "none", ())
    assert spec.losses.state_consistency == model.StateLoss(0.5, "constant", 0.1, "l2", "none")
    assert spec.export.formats == ("saved_model",)
    assert spec.data.name is None
    assert document.values["data"]["path"] == "data/a.npz"
    assert document.values["student"]["backbone"] == {"preset": "small", "weights": "own"}
    assert document.warnings == ()


def test_a_preset_is_a_folder_where_there_is_one(spec_file: Path) -> None:
    (spec_file.parent / "small").mkdir()
    document = load(spec_file)
    assert document.spec.student.backbone == model.PresetBackbone(str(spec_file.parent / "small"), "own", None)
    assert document.values["student"]["backbone"]["preset"] == "small"
    assert load(spec_file, ["student.backbone.preset=./none"]).spec.student.backbone.preset == str(  # type: ignore[union-attr]
        Path("none").absolute()
    )


def test_places(spec_file: Path) -> None:
    document = load(spec_file)
    assert document.source.place(("student", "cut", "high")) == Place(str(spec_file), 10, 23)
    error = document.error("student.cut.high", "no layer 'block_2'", "did you mean 'block_1'?")
    assert isinstance(error, SpecError)
    assert str(error) == (
        f"{spec_file}:10:23: error: student.cut.high: no layer 'block_2'\n  hint: did you mean 'block_1'?"
    )
    assert document.error("train.optimizer.type", "x").diagnostics[0].place.line == 1
    assert document.error("student.head.pooling", "x").diagnostics[0].place == Place(str(spec_file), 11, 3)


def test_overrides(spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "big").mkdir()
    overrides = [
        "train.epochs=3",
        "losses.interaction.distance=l2",
        "student.head=own",
        "student.head.dropout=1e-1",
        "data.path=b.npz",
        "teacher.backbone={preset: big, weights: {file: w.h5}}",
        "communication.message.positions=[2, 3]",
    ]
    document = load(spec_file, overrides)
    spec = document.spec
    assert spec.train.epochs == 3
    assert spec.losses.interaction == model.InteractionLoss(2.0, "constant", 0.1, "l2", "none", ())
    assert spec.student.head == model.Head("auto", 0.1, 0.0)
    assert spec.data.path == str(tmp_path / "b.npz")
    assert spec.teacher is not None
    weights = model.FileWeights(str(tmp_path / "w.h5"))
    assert spec.teacher.backbone == model.PresetBackbone(str(tmp_path / "big"), weights, None)
    assert spec.communication.message.positions == (2, 3)
    assert document.values["data"]["path"] == str(tmp_path / "b.npz")


def test_bad_overrides(spec_file: Path) -> None:
    for text in ("train.epochs", "=3", "train..epochs=3"):
        with pytest.raises(UsageError, match=r"expected KEY\.PATH=VALUE"):
            load(spec_file, [text])
    texts = {
        "train.epoch=3": "--set train.epoch=3:1:1: error: train.epoch: found an unknown key, expected 'epochs',",
        "train.epochs=x": "--set train.epochs=x:1:14: error: train.epochs: found the text 'x',",
        "train.epochs=": "--set train.epochs=:1:1: error: train.epochs: found null,",
        "train.epochs={": "--set train.epochs={:1:15: error: found text that is not YAML",
        "export.formats.x=1": "--set export.formats.x=1:1:1: error: found a list at export.formats, expected a mapping",
        "seed=!x 1": "--set seed=!x 1:1:6: error: seed: found the tag !x,",
    }
    formats = spec_file.with_name("formats.yaml")
    formats.write_text(SPEC + "export: {formats: [onnx]}\n")
    for text, message in texts.items():
        with pytest.raises(SpecError) as caught:
            load(formats, [text])
        assert str(caught.value).startswith(message)


def test_teacher_of_a_teacher(tmp_path: Path) -> None:
    first = (ROOT / "specs" / "digits_teacher.yaml").read_text()
    body = (ROOT / "specs" / "digits.yaml").read_text()
    (tmp_path / "t0.yaml").write_text(first)
    for index in range(1, 4):
        (tmp_path / f"t{index}.yaml").write_text(body.replace("digits_teacher.yaml", f"t{index - 1}.yaml"))
    hashes = {load(tmp_path / f"t{index}.yaml").sha256 for index in range(4)}
    assert len(hashes) == 4
    for index in range(4, 24):
        (tmp_path / f"t{index}.yaml").write_text(body.replace("digits_teacher.yaml", f"t{index - 1}.yaml"))
    (diagnostic,) = check(tmp_path / "t23.yaml")
    assert diagnostic.rule == "spec-cycle"


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "from tdspec.spec.load import load\n"
        "from tdspec.spec.render import render\n"
        "import tdspec.cli, tdspec.spec.formats, pathlib\n"
        "render(load('specs/digits.yaml'), pathlib.Path('.'))\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'keras_hub', 'tensorflow_datasets'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
