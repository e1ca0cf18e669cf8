"""The commands that need TensorFlow, called as users call them: what they refuse, and how they end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_support import Capture, failed, offline
from cli_support import pair as pair  # a fixture
from run_support import DATA, IMAGE, STUDENT, TEACHER, Trained, call, command, files_below, write_pair, write_spec

from tdspec.cli import parse


def weights_of(units: list[int], path: Path) -> Path:
    """Weights of an mlp of the digits, as `teacher.backbone.weights.file` takes them."""
    from tdspec.graph.compiler import build
    from tdspec.run.prepare import describe
    from tdspec.spec.load import load

    spec = write_spec(path.parent / "other.yaml", TEACHER, student={"backbone": {"mlp": {"units": units}}})
    model = build(load(spec), describe).student.whole.backbone.model
    if path.suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)
    return path


def file_teacher(file: str) -> dict[str, Any]:
    """The part of a spec in which the teacher is an mlp with weights from a file."""
    backbone = {"mlp": {"units": [24, 16, 12]}, "weights": {"file": file}}
    return {**STUDENT, "teacher": {"backbone": backbone, "input": IMAGE, "cut": {"low": 1, "high": 3}}}


def test_weight_files_that_do_not_serve(pair: Path, capfd: Capture) -> None:
    whole = weights_of([24, 16, 12], pair / "whole.weights.h5")
    weights_of([20, 16, 12], pair / "narrow.weights.h5")
    weights_of([24, 16], pair / "shallow.weights.h5")
    weights_of([24, 16, 12, 8], pair / "deep.weights.h5")
    built_keras = weights_of([24, 16, 12], pair / "whole.keras")
    (pair / "short.keras").write_bytes(built_keras.read_bytes()[:2000])
    (pair / "short.weights.h5").write_bytes(whole.read_bytes()[:2000])
    (pair / "text.weights.h5").write_text("no weights")
    (pair / "weights.bin").write_bytes(b"")
    expected = {
        "none.weights.h5": "no weight file",
        "narrow.weights.h5": "variable.shape=(64, 24), Received: value.shape=(64, 20)",
        "shallow.weights.h5": "Layer 'dense_3' expected 2 variables",
        "deep.weights.h5": "holds 2,268 weights, the model has 2,164",
        "short.keras": "do not fit the model or cannot be read",
        "short.weights.h5": "do not fit the model or cannot be read",
        "text.weights.h5": "do not fit the model or cannot be read",
        "weights.bin": "is no weight file",
    }
    for name, message in expected.items():
        write_spec(pair / "small.yaml", file_teacher(name))
        failed(call(capfd, "train", "small.yaml"), message, name)
    assert not (pair / "runs").exists()


def residual(path: Path) -> Path:
    """A model whose inner layer is gone around by a shortcut."""
    import keras

    image = keras.Input((8, 8, 1))
    first = keras.layers.Dense(6, activation="relu", name="first")(keras.layers.Flatten()(image))
    inner = keras.layers.Dense(6, activation="relu", name="inner")(first)
    keras.Model(image, keras.layers.Add(name="sum")([first, inner])).save(path)
    return path


def test_keras_files_that_do_not_serve(pair: Path, capfd: Capture) -> None:
    whole = residual(pair / "whole.keras")
    (pair / "short.keras").write_bytes(whole.read_bytes()[:2000])
    for name in ("short.keras", "none.keras"):
        teacher = {"backbone": {"file": name}, "input": IMAGE, "cut": {"low": "first", "high": "sum"}}
        spec = write_spec(pair / "small.yaml", {**STUDENT, "teacher": teacher})
        for words in ("compile", "train", "layers"):
            line = next(n for n, text in enumerate(spec.read_text().splitlines(), 1) if "file:" in text)
            failed(call(capfd, words, "small.yaml"), f"small.yaml:{line}:", "teacher.backbone", name)


def test_a_cut_that_is_not_clean_is_refused_at_its_place(pair: Path, capfd: Capture) -> None:
    residual(pair / "teacher.keras")
    teacher = {"backbone": {"file": "teacher.keras"}, "input": IMAGE, "cut": {"low": "inner", "high": "sum"}}
    spec = write_spec(pair / "small.yaml", {**STUDENT, "teacher": teacher})
    line = next(n for n, text in enumerate(spec.read_text().splitlines(), 1) if "low: inner" in text)
    for words in ("compile", "train"):
        failed(
            call(capfd, words, "small.yaml"),
            f"small.yaml:{line}:10: error: teacher.cut.low: ",
            "'inner'",
            "first",
            "sum",
        )
    ended = call(capfd, "layers", "small.yaml", "--side", "teacher")
    assert ended.code == 0 and "first" in ended.out and "inner" not in ended.out
    assert not (pair / "runs").exists() and not (pair / "build").exists()


@pytest.mark.slow
def test_presets_that_are_not_here(tmp_path: Path) -> None:
    name = "vit_base_patch16_224_imagenet"
    vit = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "patch_size": 4}
    more = {"input": {"size": [8, 8], "channels": 3}, "cut": {"low": 1, "high": 2}}
    weighted = {"backbone": {"class": "ViTBackbone", "config": vit, "weights": {"preset": name}}, **more}
    whole = {"backbone": {"preset": name}, **more}
    student = {"student": {"input": {"channels": 3}}}
    write_spec(tmp_path / "whole.yaml", {**STUDENT, "teacher": whole}, **student)
    write_spec(tmp_path / "weighted.yaml", {**STUDENT, "teacher": weighted}, **student)
    ended = command("compile", "whole.yaml", folder=tmp_path, **offline(tmp_path))
    failed(ended, f"preset '{name}' is not on this machine", "tdspec fetch", "whole.yaml:")
    for words in (("train", "weighted.yaml"), ("fetch", "whole.yaml")):
        ended = command(*words, folder=tmp_path, **offline(tmp_path))
        failed(ended, f"preset '{name}' cannot be downloaded", "network")
    assert not (tmp_path / "runs").exists()


CSV = "amount,age,label\n" + "".join(f"{n % 7},{n % 5},{n % 2}\n" for n in range(60))
TABLE: Mapping[str, Any] = {
    "version": 1,
    "name": "table",
    "method": "scratch",
    "data": {**DATA, "source": "csv", "path": "table.csv", "batch_size": 8},
    "task": {"num_classes": 2},
    "student": {
        "backbone": {
            "mlp": {"features": {"amount": {"type": "number"}, "age": {"type": "number"}}, "units": [4]},
        }
    },
    "train": {"epochs": 1},
}


def test_data_that_are_missing_or_wrong(pair: Path, capfd: Capture) -> None:
    write_spec(pair / "table.yaml", TABLE)
    failed(call(capfd, "train", "table.yaml"), "table.csv")
    (pair / "table.csv").write_text(CSV)
    rows = CSV.splitlines()
    for wrong, message in (("nan,2,1", "amount"), ("1,,1", "age"), ("1,2,7", "label")):
        (pair / "table.csv").write_text("\n".join([*rows[:10], wrong, *rows[10:]]) + "\n")
        failed(call(capfd, "train", "table.yaml"), message, "11")  # the line of the file that is wrong
    failed(call(capfd, "train", "small.yaml", "--set", "data.batch_size=5000", "--set", "method=scratch"), "5000")
    assert not (pair / "runs").exists()


def test_predictions_of_other_classes_are_not_compared(pair: Path, capfd: Capture) -> None:
    write_spec(pair / "teacher.yaml", TEACHER, task={"num_classes": 12})
    write_spec(pair / "small.yaml", {**STUDENT, "method": "logit"})
    failed(call(capfd, "train", "small.yaml"), "losses.logit", "12", "10")
    assert not (pair / "runs").exists()


def test_runs_that_cannot_be_resumed(pair: Path, capfd: Capture, trained: Trained) -> None:
    write_pair(pair, method="scratch")
    failed(call(capfd, "train", "small.yaml", "--resume"), "no unfinished run of 'small' in runs")
    failed(call(capfd, "train", "small.yaml", "--resume", "--run-dir", "none"), "none is no folder")
    complete = str(trained.run)
    failed(call(capfd, "train", "--resume", "--run-dir", complete), "is complete already")
    (pair / "full").mkdir()
    (pair / "full" / "mine.txt").write_text("mine")
    failed(call(capfd, "train", "small.yaml", "--run-dir", "full"), "full is not empty")
    assert files_below(pair / "full") == {"mine.txt"}
    assert not (pair / "runs").exists()


@pytest.mark.parametrize("words", [("evaluate",), ("export",), ("report",)])
def test_folders_that_are_no_runs(words: tuple[str], pair: Path, capfd: Capture) -> None:
    failed(call(capfd, *words, "none"), "none is no folder, expected a run folder")
    failed(call(capfd, *words, "."), "holds no run.json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "small.yaml", "--run-dir", "file/run"), "cannot use 'file/run': not a directory"),
        (("compile", "small.yaml", "-o", "file"), "cannot use 'file': file exists"),
        (("report", "RUN", "-o", "folder"), "cannot use 'folder': is a directory"),
        (("export", "RUN", "-o", "file"), "cannot use 'file': file exists"),
    ],
)
def test_places_that_cannot_be_written(
    words: tuple[str, ...], said: str, pair: Path, capfd: Capture, trained: Trained
) -> None:
    (pair / "file").write_text("mine")
    (pair / "folder").mkdir()
    ended = call(capfd, *(str(trained.run) if word == "RUN" else word for word in words))
    assert ended.code == 1 and ended.out == "" and f"error: {said}" in ended.err
    assert (pair / "file").read_text() == "mine"


def test_a_diverging_run_keeps_what_was_written(pair: Path, capfd: Capture) -> None:
    wild = {"optimizer": {"type": "sgd", "learning_rate": 1000.0}, "epochs": 30, "schedule": "constant"}
    write_spec(pair / "small.yaml", {**STUDENT, "method": "scratch", "train": wild})
    ended = call(capfd, "train", "small.yaml", "--set", "student.backbone.mlp.units=[64, 64, 64]")
    failed(ended, "training diverged in epoch", "nan", "learning_rate")
    (run,) = (pair / "runs/small").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "failed" and record["error"].startswith("training diverged")
    assert (run / "spec.yaml").is_file() and (run / "plan.json").is_file()
    assert not (run / "student.keras").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("train", "small.yaml", "--epochs", "3"),
        ("train", "small.yaml", "teacher.yaml"),
        ("compile",),
        ("compile", "small.yaml", "--format", "yaml"),
        ("evaluate",),
        ("evaluate", "run", "--split", "all"),
        ("diff", "small.yaml"),
        ("export", "run", "--format", "onnx"),
    ],
    ids=" ".join,
)
def test_wrong_calls_end_with_2(words: tuple[str, ...], capfd: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["tdspec", *words])
    assert ended.value.code == 2
    assert "usage: tdspec" in capfd.readouterr().err


def test_wrong_calls_that_only_the_work_can_tell(pair: Path, capfd: Capture, trained: Trained) -> None:
    (pair / "empty").mkdir()
    for words, message in {
        ("train",): "error: nothing is compiled here yet",
        ("train", "empty"): "error: folder 'empty' holds no spec.yaml",
        ("export", str(trained.run), "--formats", "pickle"): "error: unknown format 'pickle'",
        ("compile", "small.yaml", "--set", "seed"): "error: found the override 'seed'",
        ("layers", "small.yaml", "--side", "both"): "error: found --side both, expected 'teacher' or 'student'",
    }.items():
        ended = call(capfd, *words)
        assert ended[:2] == (2, "") and ended.err.startswith(message)


def test_a_cut_beyond_the_last_layer(pair: Path, capfd: Capture) -> None:
    write_pair(pair, student={"cut": {"high": 3}})
    for words in ("compile", "train"):
        failed(call(capfd, words, "small.yaml"), "small.yaml:", "student.cut.high", "3")
    assert call(capfd, "layers", "small.yaml").code == 0  # what says where it could be cut does not cut
