"""The commands that need TensorFlow, called as users call them: what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import Capture, offline
from cli_support import pair as pair  # a fixture
from run_support import STUDENT, Trained, call, command, files_below, write_spec


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
    assert "now the control: the same student without a teacher, all else as the spec says" in messages
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
