"""A run from beginning to end: what lies in its folder, and what stays when it is stopped or fails."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_support import TABLE, TEACHER, Trained, files_below, write_pair, write_spec
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tdspec.cli import execute, parse
from tdspec.data.split import Split
from tdspec.errors import RunError
from tdspec.graph.weights import weights_sha256
from tdspec.report.page import run_page
from tdspec.run import run_dir
from tdspec.run.outcome import Interrupted
from tdspec.run.prepare import compile_with_weights, compile_without_weights, open_data
from tdspec.run.recorder import is_better, judged_by
from tdspec.run.run_dir import RunFolder, read_metrics, read_record
from tdspec.run.train import Options, Run, train
from tdspec.spec.load import Document, load

TERMS = {"interaction": 0.3, "message_consistency": 0.5, "state_consistency": 0.5, "task": 1.0}


def keep(run: Run) -> Mapping[str, Any]:
    """The least that ends a run: the student's file."""
    run.compiled.distiller.student.save(run.folder.student)
    return {"kept": True}


def stop(run: Run) -> Mapping[str, Any]:
    raise KeyboardInterrupt


def break_down(run: Run) -> Mapping[str, Any]:
    raise RunError("broke down")


def options(root: Path, finish: Any = keep) -> Options:
    return Options(root, finish, io.StringIO())


@pytest.fixture
def lonely(tmp_path: Path) -> Document:
    """A spec without a teacher."""
    return load(write_spec(tmp_path / "lonely.yaml", TEACHER))


def test_the_run_folder_holds_these_files_and_no_others(trained: Trained) -> None:
    names = {re.sub(r"events\.out\.tfevents\..*", "events", name) for name in files_below(trained.run)}
    states = ("checkpoint", "epoch.json", "state.data-00000-of-00002", "state.data-00001-of-00002", "state.index")
    checkpoints = {f"checkpoints/{folder}/{name}" for folder in ("best", "epoch-0001", "epoch-0002") for name in states}
    shared = {".lock", "run.json", "spec.yaml", "plan.json", "metrics.jsonl", "student.keras"} | checkpoints
    shared |= {f"tensorboard/{part}/events" for part in ("train", "validation")}
    served = {name for name in names if name.startswith("export/")}
    assert names - served == shared | {"spec.teacher.yaml", "report.html"} | {f"control/{name}" for name in shared} | {
        "control/spec.teacher.yaml"
    }
    assert {"export/saved_model/1/saved_model.pb", "export/saved_model/1/variables/variables.index"} <= served
    assert json.loads((trained.run / "export/saved_model/1/assets.extra/class_names.json").read_text()) == list(
        "0123456789"
    )


def test_the_record_says_what_was_done_and_what_came_of_it(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.folder)
    record, document = read_record(RunFolder(trained.run)), load("small.yaml")
    assert (record["status"], record["name"], record["seed"], record["method"]) == ("complete", "small", 0, "talking")
    assert record["spec_sha256"] == document.sha256 == load(trained.run / "spec.yaml").sha256
    assert set(record["versions"]) == {"tdspec", "keras", "keras-hub", "tensorflow"}
    assert record["versions"]["tensorflow"] == tf.__version__
    splits = open_data(compile_without_weights(document), download=False)
    assert record["data"]["fingerprint"] == splits.fingerprint
    assert record["data"]["examples"] == {"train": 899, "validation": 359, "test": 539}
    (teacher,) = (trained.folder / "runs/teacher").iterdir()
    compiled = compile_with_weights(document, {"teacher": teacher / "student.keras"})
    assert compiled.teacher is not None
    assert record["teacher_sha256"] == weights_sha256(compiled.teacher.whole.model)
    assert record["seconds"] > 0 and 10**8 < record["peak_memory_bytes"] < 10**11
    for split in ("validation", "test"):
        assert set(record["metrics"][split]) == {"accuracy", "task"}
    assert record["student"]["parameters"] == 64 * 10 + 10 + 10 * 8 + 8 + 8 * 10 + 10
    assert record["exports"][0]["path"] == "export/saved_model/1"


def test_the_best_epoch_is_chosen_on_validation(trained: Trained) -> None:
    for run in (RunFolder(trained.run), RunFolder(trained.run / "control")):
        record, rows = read_record(run), read_metrics(run)
        figures = [row["val_accuracy"] for row in rows]
        assert record["best_epoch"] == 1 + figures.index(max(figures))
        assert record["metrics"]["validation"]["accuracy"] == max(figures)
        assert json.loads((run.checkpoints / "best/epoch.json").read_text()) == {"epoch": record["best_epoch"]}


def test_the_control_stands_beside_the_run(trained: Trained) -> None:
    record, control = read_record(RunFolder(trained.run)), read_record(RunFolder(trained.run / "control"))
    assert control["status"] == "complete" and control["method"] == "scratch" and control["exports"] == []
    assert record["control"]["metrics"] == control["metrics"] and record["control"]["path"] == "control"
    assert control["teacher_sha256"] is None
    assert control["data"] == record["data"]
    numbers = re.findall(r"accuracy ([0-9.]+)", trained.ended.out.splitlines()[1])
    assert numbers == [f"{control['metrics'][split]['accuracy']:.4f}" for split in ("validation", "test")]


def test_metrics_have_every_term_by_its_name(trained: Trained) -> None:
    rows = read_metrics(RunFolder(trained.run))
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        others = {"epoch", "seconds", "learning_rate", "loss", "accuracy", "val_accuracy", "val_task"}
        shares = {f"gradient_share/{name}": row[f"gradient_share/{name}"] for name in TERMS}
        assert set(row) == {*TERMS, *others, *shares}
        assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) > 0
        assert row["loss"] == pytest.approx(sum(weight * row[name] for name, weight in TERMS.items()), rel=1e-5)
    plan = json.loads((trained.run / "plan.json").read_text())
    assert {term["name"]: term["weight"] for term in plan["terms"]} == TERMS
    # The cosine after 14 and 28 steps of 28.
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.0015, 0.0], abs=1e-8)
    alone = read_metrics(RunFolder(trained.run / "control"))
    assert not {"interaction", "message_consistency"} & set(alone[0])


def test_tensorboard_shows_the_same_figures(trained: Trained) -> None:
    rows = read_metrics(RunFolder(trained.run))
    for part, prefix, names in (
        ("train", "", {*TERMS, *(f"gradient_share/{name}" for name in TERMS), "loss", "accuracy"}),
        ("validation", "val_", {"task", "accuracy"}),
    ):
        events = EventAccumulator(str(trained.run / "tensorboard" / part), size_guidance={"tensors": 0}).Reload()
        scalars, tags = events.Tags()["scalars"], {*events.Tags()["scalars"], *events.Tags()["tensors"]}
        assert names <= tags
        for name in names:
            if name in scalars:
                values = [event.value for event in events.Scalars(name)]
            else:
                values = [tf.make_ndarray(event.tensor_proto).item() for event in events.Tensors(name)]
            assert values == pytest.approx([row[prefix + name] for row in rows], rel=1e-6)


def test_checkpoints_are_whole_and_the_best_is_the_student(trained: Trained) -> None:
    owners = {"student", "student_codec_encode", "student_codec_decode", "teacher_codec_encode", "teacher_codec_decode"}
    for folder in ("best", "epoch-0001", "epoch-0002"):
        reader = tf.train.load_checkpoint(str(trained.run / "checkpoints" / folder))
        keys = [key for key in reader.get_variable_to_shape_map() if not key.startswith("_")]
        assert {key.split("/")[0] for key in keys} == {*owners, "optimizer"}
        assert all(np.isfinite(reader.get_tensor(key)).all() for key in keys)
    student = keras.models.load_model(trained.run / "student.keras")
    reader = tf.train.load_checkpoint(str(trained.run / "checkpoints/best"))
    keys = sorted(key for key in reader.get_variable_to_shape_map() if key.startswith("student/"))
    assert len(keys) == 6
    assert all(np.array_equal(reader.get_tensor(key), w) for key, w in zip(keys, student.weights, strict=True))


def test_a_stopped_run_goes_on_where_it_was(lonely: Document, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as stopped:
        train(lonely, options(tmp_path / "runs", stop))
    run = stopped.value.run
    assert read_record(run)["status"] == "interrupted" and not run.student.exists()
    before = run.metrics.read_bytes()
    assert train(lonely, options(tmp_path / "runs"), resume=True) == run
    record = read_record(run)
    assert record["status"] == "complete" and record["kept"] is True
    assert run.metrics.read_bytes() == before  # no epoch was trained again
    assert record["error"] is None
    with pytest.raises(RunError, match="there is no unfinished run of 'teacher'"):
        train(lonely, options(tmp_path / "runs"), resume=True)
    with pytest.raises(RunError, match="is complete already"):
        train(lonely, options(tmp_path / "runs"), folder=run.path, resume=True)


def test_a_trial_never_reads_the_test_split(
    lonely: Document, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    batches = Split.batches

    def noted(split: Split, *arguments: Any, **options: Any) -> Any:
        read.append(split.name)
        return batches(split, *arguments, **options)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Split, "batches", noted)
    assert execute(parse(["tdspec", "train", "lonely.yaml", "--trial"])) == 0
    run = RunFolder(Path(capsys.readouterr().out.splitlines()[-1]))
    assert set(read) == {"train", "validation"}
    assert list(read_record(run)["metrics"]) == ["validation"]
    assert not run.student.exists() and not (run.path / "export").exists()
    assert "A trial of a search: the test split was not read" in run_page(run)


def test_a_failed_run_says_why_and_can_go_on(lonely: Document, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="broke down"):
        train(lonely, options(tmp_path / "runs", break_down), folder=tmp_path / "mine")
    run = RunFolder(tmp_path / "mine")
    record = read_record(run)
    assert (record["status"], record["error"]) == ("failed", "broke down")
    assert "metrics" not in record and len(read_metrics(run)) == 2
    other = load(write_spec(tmp_path / "other.yaml", TEACHER, seed=1))
    with pytest.raises(RunError, match="was started from another spec"):
        train(other, options(tmp_path / "runs"), folder=run.path, resume=True)
    assert read_record(run) == record
    train(lonely, options(tmp_path / "runs"), folder=run.path, resume=True)
    record = read_record(run)
    assert (record["status"], record["error"]) == ("complete", None)
    # the epochs from before count, too
    assert record["seconds"] > sum(row["seconds"] for row in read_metrics(run)) > 0


def test_what_was_written_before_a_loss_diverged_stays(tmp_path: Path) -> None:
    wild = {"epochs": 40, "optimizer": {"type": "sgd", "learning_rate": 2.0}, "schedule": "constant"}
    table = {
        **TABLE,
        "student": {"backbone": {"mlp": {"features": {"x": {"type": "number", "std": 1e9}}, "units": [1]}}},
        "train": wild,
    }
    (tmp_path / "table.csv").write_text("x,label\n" + "".join(f"{n % 5},{1 + n % 2}\n" for n in range(64)))
    run = RunFolder(tmp_path / "run")
    with pytest.raises(RunError, match=r"training diverged in epoch \d+, by step \d+: .*(task|loss) is (nan|inf)"):
        train(load(write_spec(tmp_path / "wild.yaml", table)), options(tmp_path / "runs"), folder=run.path)
    rows = read_metrics(run)
    assert 1 <= len(rows) < 40
    assert (run.checkpoints / f"epoch-{len(rows):04d}" / "state.index").is_file()
    assert (run.checkpoints / "best" / "state.index").is_file()
    record = read_record(run)
    assert record["status"] == "failed" and "training diverged" in record["error"]


def test_a_new_run_does_not_take_a_folder_that_is_used(lonely: Document, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        train(lonely, options(tmp_path / "runs"), folder=tmp_path / "used")
    assert files_below(tmp_path / "used") == {"notes.txt"}
    run = run_dir.create(tmp_path / "runs", "teacher", 0, None)
    with run_dir.lock(run), pytest.raises(RunError, match="is in use by process"):
        train(lonely, options(tmp_path / "runs"), folder=run.path, resume=True)
    assert read_record(run)["status"] == "created"


def test_more_is_better_or_worse(tmp_path: Path) -> None:
    write_pair(tmp_path)
    accuracy = compile_without_weights(load(tmp_path / "teacher.yaml"))
    rmse = compile_without_weights(load(tmp_path / "teacher.yaml", ["task={type: regression}"]))
    assert (judged_by(accuracy), judged_by(rmse)) == ("val_accuracy", "val_rmse")
    assert [is_better(accuracy, 0.5, best) for best in (None, 0.4, 0.5, 0.6)] == [True, True, False, False]
    assert [is_better(rmse, 0.5, best) for best in (None, 0.4, 0.5, 0.6)] == [True, False, False, True]
