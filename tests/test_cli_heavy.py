"""The commands that need TensorFlow, called as users call them: what they print, and how they end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from run_support import (
    DATA,
    IMAGE,
    ROOT,
    STUDENT,
    TEACHER,
    Ended,
    Trained,
    call,
    command,
    files_below,
    write_pair,
    write_spec,
)

from tdspec.cli import parse

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


@pytest.mark.slow
def test_compile_gives_the_same_bytes_in_every_process_without_network_or_data(tmp_path: Path) -> None:
    data = {"source": "tfds", "name": "cifar10", "splits": {"train": "train[:90%]", "validation": "train[90%:]"}}
    data["splits"]["test"] = "test"  # type: ignore[index]
    side = {"backbone": {"mlp": {"units": [10, 8]}}, "input": {"size": [8, 8], "channels": 3}}
    teacher = {"backbone": {"mlp": {"units": [9, 7]}, "weights": "random"}, "input": side["input"]}
    cut = {"cut": {"low": 1, "high": 2}}
    values = {**STUDENT, "data": data, "teacher": {**teacher, **cut}, "student": {**side, **cut}}
    write_spec(tmp_path / "remote.yaml", values)
    for folder, seed in (("one", "1"), ("two", "2")):
        ended = command(
            "compile", "remote.yaml", "-o", folder, folder=tmp_path, PYTHONHASHSEED=seed, **offline(tmp_path)
        )
        assert ended.code == 0, ended
        assert ended.last_line == f"wrote {folder}/ (spec.yaml, plan.json, graph.svg)"
        assert (tmp_path / "build/latest").resolve() == tmp_path / folder
    names = files_below(tmp_path / "one")
    assert names == files_below(tmp_path / "two") == {"spec.yaml", "plan.json", "graph.svg"}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_compile_in_text_and_json(pair: Path, capfd: Capture) -> None:
    ended = call(capfd, "compile", "small.yaml")
    assert ended.code == 0 and ended.err == ""
    assert ended.last_line == "wrote build/small/ (spec.yaml, plan.json, graph.svg)"
    assert "iterations: 1" in ended.out and "interaction (relative_l2)" in ended.out
    ended = call(capfd, "compile", "small.yaml", "--format", "json")
    assert json.loads(ended.out) == json.loads(Path("build/small/plan.json").read_text())
    assert [term["name"] for term in json.loads(ended.out)["terms"]] == [
        "task", "interaction", "message_consistency", "state_consistency",
    ]  # fmt: skip


def test_check(pair: Path, capfd: Capture) -> None:
    assert call(capfd, "compile", "small.yaml", "--check").code == 1
    assert not (pair / "build").exists()
    call(capfd, "compile", "small.yaml")
    assert call(capfd, "compile", "small.yaml", "--check") == (0, "", "build/small/plan.json is up to date\n")
    before = {name: (pair / "build" / name).read_bytes() for name in files_below(pair / "build")}
    ended = call(capfd, "compile", "small.yaml", "--check", "--set", "losses.interaction=0.7")
    assert ended.code == 1 and ended.err == "build/small/plan.json is stale\n"
    assert "interaction" in ended.out and "0.7" in ended.out
    ended = call(capfd, "compile", "small.yaml", "--check", "-o", "none")
    assert ended[:2] == (1, "") and ended.err.startswith("error: there is no plan none/plan.json\n  hint: ")
    assert {name: (pair / "build" / name).read_bytes() for name in files_below(pair / "build")} == before


def test_layers(pair: Path, capfd: Capture) -> None:
    ended = call(capfd, "layers", "small.yaml")
    assert ended.code == 0
    assert ended.out.startswith("teacher: ") and "\nstudent: " in ended.out and "dense_3" in ended.out
    ended = call(capfd, "layers", "small.yaml", "--side", "student", "--format", "json")
    ((side, (_, rows)),) = json.loads(ended.out).items()
    assert side == "student"
    numbered = {row["number"]: row for row in rows if row["number"] is not None}
    assert [numbered[number]["name"] for number in (1, 2)] == ["dense_1", "dense_2"]
    assert numbered[1]["parameters"] == 64 * 10 + 10 and numbered[2]["parameters"] == 650 + 10 * 8 + 8
    assert numbered[1]["flops"] == 2 * 64 * 10 and numbered[2]["flops"] == 2 * (64 * 10 + 10 * 8)


def test_diff(pair: Path, capfd: Capture, trained: Trained) -> None:
    write_spec(pair / "wider.yaml", STUDENT, student={"backbone": {"mlp": {"units": [20, 8]}}})
    assert call(capfd, "diff", "small.yaml", "small.yaml") == (0, "no difference\n", "")
    specs = call(capfd, "diff", "small.yaml", "wider.yaml")
    assert specs.code == 0 and "student.backbone.mlp.units" in specs.out
    call(capfd, "compile", "small.yaml")
    call(capfd, "compile", "wider.yaml", "-o", "wider")
    builds = call(capfd, "diff", "build/small", "wider")
    assert builds.code == 0 and "parameters" in builds.out
    assert call(capfd, "diff", "build/small/plan.json", "wider/plan.json") == builds
    assert call(capfd, "diff", "small.yaml", "wider/plan.json") == builds
    assert json.loads(call(capfd, "diff", "build/small", "wider", "--format", "json").out) == builds.out.splitlines()
    assert call(capfd, "diff", "build/small", str(trained.run)) == (0, "no difference\n", "")
    assert call(capfd, "diff", "small.yaml", "none.yaml").code == 1


def test_train_without_a_name_trains_what_was_compiled_last(trained: Trained) -> None:
    lines = trained.ended.out.splitlines()
    assert lines[-1] == f"runs/small/{trained.run.name}"
    assert [line.split("  ")[0].rstrip() for line in lines[:2]] == ["student (talking)", "control (scratch)"]
    assert all("validation accuracy 0." in line and "test accuracy 0." in line for line in lines[:2])
    assert lines[2].startswith(f"saved_model: runs/small/{trained.run.name}/export/saved_model/1 (")
    messages = trained.ended.err.splitlines()
    assert messages[0] == "teacher 'teacher' has no run of this spec yet: training it first"
    assert sum(line.startswith("epoch 2/2 ") for line in messages) == 3
    assert "now the control: the same student without a teacher" in messages
    talk = next(line for line in messages if line.startswith("epoch ") and "interaction " in line)
    assert all(word in talk for word in ("examples/s", "left", "task ", "message_consistency ", "val_accuracy "))
    assert "Traceback" not in trained.ended.err


def test_evaluate_gives_the_figures_of_the_run(trained: Trained, capfd: Capture) -> None:
    record = json.loads((trained.run / "run.json").read_text())
    for split in ("validation", "test"):
        ended = call(capfd, "evaluate", str(trained.run), "--split", split)
        assert ended.code == 0
        found = json.loads(ended.out)
        assert found["split"] == split and found["run"] == str(trained.run)
        assert found["metrics"] == pytest.approx(record["metrics"][split], rel=1e-6)
        assert found["examples"] == record["data"]["examples"][split]
        assert found["data_fingerprint"] == record["data"]["fingerprint"]
    assert json.loads(call(capfd, "evaluate", str(trained.run)).out)["split"] == "test"


@pytest.mark.slow
def test_export_again(trained: Trained, tmp_path: Path, capfd: Capture) -> None:
    before = files_below(trained.run)
    ended = call(capfd, "export", str(trained.run), "-o", str(tmp_path / "out"), "--formats", "saved_model,litert")
    assert ended.code == 0, ended
    saved_model, litert = ended.out.splitlines()
    assert saved_model.startswith(f"saved_model: {tmp_path}/out/saved_model/1 (") and "differs by" in saved_model
    assert litert.startswith(f"litert: {tmp_path}/out/litert/student.tflite (")
    assert (tmp_path / "out/saved_model/1/saved_model.pb").is_file()
    assert (tmp_path / "out/litert/student.tflite").stat().st_size > 1000
    assert files_below(trained.run) == before


def test_fetch_of_what_needs_no_download(pair: Path, capfd: Capture) -> None:
    ended = call(capfd, "fetch", "small.yaml")
    assert ended.code == 0 and ended.err == ""
    assert len(ended.out.splitlines()) == 2  # the data of the teacher, and its own
    assert all(line.startswith("data digits: ") for line in ended.out.splitlines())


def failed(ended: Ended, *words: str) -> None:
    """The call ended with 1 and one error on stderr, which says all the words."""
    assert ended.code == 1 and ended.out == "", ended
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ") or ": error: " in line]
    assert len(errors) == 1, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err, ended.err


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
