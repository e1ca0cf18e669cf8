"""Whole jobs: what is kept, what is measured again, what is exported again, what is listed and fetched."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from run_support import STUDENT, Trained, call, files_below, write_pair, write_spec

from tdspec import fetching, pipeline
from tdspec.errors import RunError, WeightsError
from tdspec.run.prepare import compile_without_weights, open_data
from tdspec.run.run_dir import RunFolder, open_run, read_metrics, read_record, update_record
from tdspec.spec.load import Document, load


@pytest.fixture
def copied(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of the trained run, in a folder from which neither specs nor other runs can be reached."""
    monkeypatch.chdir(tmp_path)
    return RunFolder(shutil.copytree(trained.run, tmp_path / "moved"))


def weights_in(file: Path) -> list[tuple[int, ...]]:
    """The shapes of all that is stored in the weights of a .keras file."""
    shapes: list[tuple[int, ...]] = []
    with zipfile.ZipFile(file) as archive, archive.open("model.weights.h5") as member, h5py.File(member) as weights:
        weights.visititems(lambda _, node: shapes.append(node.shape) if isinstance(node, h5py.Dataset) else None)
    return shapes


def test_the_file_of_the_student_holds_the_student_alone(trained: Trained) -> None:
    expected = [(64, 10), (10,), (10, 8), (8,), (8, 10), (10,)]
    for file in (trained.run / "student.keras", trained.run / "control" / "student.keras"):
        assert sorted(weights_in(file)) == sorted(expected)
        with zipfile.ZipFile(file) as archive:
            config = archive.read("config.json").decode()
        assert "codec" not in config and "tdspec" not in config and "teacher" not in config
        student = keras.models.load_model(file, safe_mode=True)
        assert [tensor.name for tensor in student.inputs] == ["image"]


def test_a_moved_run_is_measured_and_exported_as_before(copied: RunFolder) -> None:
    record = read_record(copied)
    found = pipeline.evaluate(copied, "test")
    assert found["metrics"] == pytest.approx(record["metrics"]["test"], rel=1e-6)
    assert pipeline.evaluate(copied, "train")["examples"] == record["data"]["examples"]["train"]
    before = files_below(copied.saved_model)
    shutil.rmtree(copied.path / "export")
    (artefact,) = pipeline.export(copied, copied.path / "export", None)
    assert artefact.path == copied.saved_model and artefact.max_difference <= 1e-5
    assert files_below(copied.saved_model) == before
    line = pipeline.artefact_line(artefact)
    assert re.fullmatch(rf"saved_model: {artefact.path} \([\d,]+ bytes, differs by \d\.\de[-+]\d\d\)", line)


def test_figures_are_those_of_the_file_computed_by_hand(trained: Trained) -> None:
    student = keras.models.load_model(trained.run / "student.keras")
    document = load(trained.run / "spec.yaml", ["method=scratch"])
    test = open_data(compile_without_weights(document), download=False).test
    right = loss = count = 0.0
    for features, labels, weights in test.batches(64, epoch=None).as_numpy_iterator():
        logits = student.predict_on_batch({"image": features["image"]}).astype("float64")
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        right += float((weights * (logits.argmax(axis=1) == labels)).sum())
        loss -= float((weights * np.log(chances[np.arange(len(labels)), labels])).sum())
        count += float(weights.sum())
    metrics = read_record(RunFolder(trained.run))["metrics"]["test"]
    assert count == test.num_examples
    assert metrics["accuracy"] == pytest.approx(right / count, rel=1e-6)
    assert metrics["task"] == pytest.approx(loss / count, rel=1e-5)


@pytest.mark.slow
def test_a_control_can_be_had_later_and_is_the_same(
    copied: RunFolder,
    trained: Trained,
    capfd: pytest.CaptureFixture[str],
) -> None:
    first = read_record(copied)["control"]
    first_rows = read_metrics(RunFolder(copied.path / "control"))
    shutil.rmtree(copied.path / "control")
    record = read_record(copied)
    del record["control"]
    copied.record.write_text(json.dumps(record))
    words = ("train", "--resume", "--run-dir", str(copied.path), "--control", "--runs", str(trained.folder / "runs"))
    ended = call(capfd, *words)
    assert ended.code == 0 and ended.last_line == str(copied.path)
    again = read_record(copied)["control"]
    assert again["metrics"] == first["metrics"] and again["best_epoch"] == first["best_epoch"]
    timeless = [{**row, "seconds": 0} for row in read_metrics(RunFolder(copied.path / "control"))]
    assert timeless == [{**row, "seconds": 0} for row in first_rows]
    # Killed just before the record: the control is there, and is not trained again.
    copied.record.write_text(json.dumps(record))
    ended = call(capfd, *words)
    assert ended.code == 0 and "epoch" not in ended.err
    assert read_record(copied)["control"] == again


def test_lines_for_people(trained: Trained) -> None:
    run = RunFolder(trained.run)
    record = read_record(run)
    student, control, artefact = pipeline.result_lines(run)
    figures = record["metrics"]["validation"], record["metrics"]["test"]
    assert student == (
        f"student (talking)  validation accuracy {figures[0]['accuracy']:.4f}, task {figures[0]['task']:.4f}; "
        f"test accuracy {figures[1]['accuracy']:.4f}, task {figures[1]['task']:.4f}; best epoch {record['best_epoch']}"
    )
    assert control.startswith("control (scratch)  validation accuracy ")
    assert artefact.startswith(f"saved_model: {run.saved_model} (")


def test_runs_without_a_student_and_with_a_broken_one(copied: RunFolder) -> None:
    copied.student.write_bytes(copied.student.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"'student.keras' do not fit the model or cannot be read"):
        pipeline.evaluate(copied, "test")
    copied.student.unlink()
    update_record(copied, status="interrupted")
    for job in (lambda: pipeline.evaluate(copied, "test"), lambda: pipeline.export(copied, copied.path, None)):
        with pytest.raises(RunError, match=r"has no student.keras, its status is 'interrupted'"):
            job()
    with pytest.raises(RunError, match="expected a run folder"):
        open_run(copied.path / "checkpoints")


def listed(document: Document) -> dict[str, list[tuple[int | None, str]]]:
    """By side the number and name of each clean cut."""
    sides = pipeline.cut_points(document, None)
    return {side: [(row["number"], row["name"]) for row in rows] for side, (_, rows) in sides.items()}


def test_cuts_are_listed_also_when_those_of_the_spec_are_wrong(tmp_path: Path) -> None:
    spec = write_pair(tmp_path)
    right = listed(load(spec))
    assert list(right) == ["teacher", "student"]
    write_pair(tmp_path, student={"cut": {"low": "nowhere"}}, teacher={"cut": {"high": 9}})
    assert listed(load(spec)) == right
    assert list(pipeline.cut_points(load(spec), "student")) == ["student"]
    assert list(pipeline.cut_points(load(tmp_path / "teacher.yaml"), "teacher")) == []


def test_presets_are_fetched_with_their_hash(tmp_path: Path, shared_folder: Path) -> None:
    preset = shared_folder / "presets" / "efficientnet_lite0"
    if not preset.is_dir():
        pytest.skip("needs the shared preset efficientnet_lite0")
    teacher = {"backbone": {"preset": str(preset)}, "input": {"size": [32, 32]}, "cut": {"low": 2, "high": 4}}
    document = load(write_spec(tmp_path / "spec.yaml", {**STUDENT, "teacher": teacher}))
    assert fetching.presets_named(document) == [str(preset)]
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update(name.encode() + hashlib.sha256((preset / name).read_bytes()).digest())
    first, second = fetching.fetch_all(document)
    assert first == f"preset {preset}: {preset} (sha256 {digest.hexdigest()})"
    assert second.startswith("data digits: ")
