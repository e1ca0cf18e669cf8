"""`tdspec bench`, called as users call it: facts, never seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_support import STUDENT, call, write_pair

from tdspec.graph.plan import plan_of
from tdspec.report.bench_picture import draw
from tdspec.report.bench_record import LABELS, lines_of
from tdspec.run import bench
from tdspec.run.prepare import compile_without_weights
from tdspec.spec.load import load

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with teacher.yaml and small.yaml; a machine of 1 TFLOP/s."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "peak_of_product", lambda dtype: 1e12)
    return write_pair(tmp_path)


def test_a_spec_whose_teacher_is_another_spec(pair: Path, capfd: Capture) -> None:
    words = ["--steps", "1", "--format", "json", "--set", "train.jit=off"]
    ended = call(capfd, "bench", "small.yaml", *words)
    assert ended.code == 0, ended.err
    record = json.loads(ended.out)
    assert record == json.loads(Path("runs/bench/small/bench.json").read_text())
    plan = plan_of(compile_without_weights(load(pair)))
    assert record["flops"]["per_example"] == plan["cost"]["total"]
    assert record["flops"]["per_step"] == 64 * plan["cost"]["total"]
    assert record["flops"]["per_second"] == pytest.approx(
        record["flops"]["per_step"] / record["step_seconds_without_input"]
    )
    assert record["share_of_product"] == pytest.approx(record["flops"]["per_second"] / 1e12)
    assert not record["xla"] and record["data"] == {"random": False, "why": ""}
    assert "has no trained run" in record["weights"]["random"]["teacher"]
    assert [part["name"] for part in record["parts"]] == list(LABELS)
    assert sum(part["flops"] or 0 for part in record["parts"]) == pytest.approx(record["flops"]["per_step"])
    parts = sum(part["seconds"] for part in record["parts"])
    assert parts - record["overlap_seconds"] == pytest.approx(record["step_seconds"])
    assert record["examples_per_second"] == pytest.approx(64 / record["step_seconds"])
    assert record["peak_memory_bytes"] > 0
    assert all(len(timed["seconds"]) == 7 and timed["steps"] == 1 for timed in record["timed"].values())
    picture = Path("runs/bench/small/bench.svg").read_text()
    assert picture == draw(record)
    for label in (*LABELS.values(), "small (talking)", "float32 product", "random weights: teacher"):
        assert label in picture


RECORD: dict[str, Any] = {
    "name": "small", "method": "talking", "device_batch_size": 8, "precision": "mixed_bfloat16", "xla": True,
    "jit": "auto", "machine": {"cores": 2, "replicas": 1}, "weights": {"random": {}},
    "data": {"random": True, "why": "they are gone"},
    "examples_per_second": 80.0, "step_seconds": 0.1, "step_seconds_without_input": 0.1,
    "parts": [
        {"name": name, "seconds": 0.02, "share": 0.2, "how": "measured", "flops": 10**9}
        for name in LABELS if name != "input"
    ] + [{"name": "input", "seconds": None, "share": None, "how": "not measured", "flops": None}],
    "overlap_seconds": 0.04, "clipped": {"optimizer": -0.001, "rest": -0.04}, "first_step_seconds": 3.0,
    "peak_memory_bytes": 2_500_000_000, "flops": {"per_example": 10**9, "per_step": 8 * 10**9, "per_second": 8e10},
    "matrix_product_flops_per_second": {"float32": 1e11, "bfloat16": 2e11}, "share_of_product": 0.4,
    "timed": {"step": {"steps": 5, "seconds": [0.1, 0.09, 0.2]}},
}  # fmt: skip


def test_the_text_says_what_was_not_measured() -> None:
    text = "\n".join(lines_of(RECORD))
    for said in (
        "small (talking): 80.0 examples/s, 100.00 ms a step of 8 (mixed_bfloat16, XLA, one device, 2 cores)",
        "note: random batches of the right shapes, and no input wait: they are gone",
        "note: with XLA, as in a long run",
        "not measured",
        "note: optimizer, running means came out at 1.00 ms below 0, shown as 0",
        "note: run alone, the parts take 40.00 ms more than the step as a whole",
        "80.0 GFLOP/s without the input: 40.0% of this machine's bfloat16 matrix product",
        "3, medians of; the step without input took 90.00 ms to 200.00 ms, 5 a round",
        "2.50 GB of the process",
    ):
        assert said in text, text


def test_the_picture_is_the_same_for_the_same_figures() -> None:
    picture = draw(RECORD)
    assert picture == draw(RECORD)
    for label in ("bfloat16 product", "input not measured", "run alone, the parts take 40.00 ms more", "80.0 GFLOP/s"):
        assert label in picture


def test_scale_computes_and_measures_nothing(pair: Path, capfd: Capture) -> None:
    hardware = ["--device-flops", "1e12", "--device-efficiency", "0.5", "--link-bandwidth", "1e9"]
    words = ["bench", "small.yaml", "--scale", "1,8", *hardware, "--link-latency", "1e-6", "-o", "out"]
    ended = call(capfd, *words, "--format", "json")
    assert ended.code == 0, ended.err
    record = json.loads(ended.out)
    assert record == json.loads(Path("out/scaling.json").read_text())
    plan = plan_of(compile_without_weights(load(pair)))
    gradients = 4 * plan["totals"]["parameters"]["trained"]
    assert record["computed_not_measured"] is True
    assert record["work"] == {"flops": 64 * plan["cost"]["total"], "gradient_bytes": gradients, "batch_size": 64}
    one, eight = record["devices"]
    assert one["efficiency"] == 1.0 and eight["devices"] == 8
    assert eight["compute_seconds"] == pytest.approx(64 * plan["cost"]["total"] / 0.5e12)
    assert eight["all_reduce_seconds"] == pytest.approx(2 * 7 / 8 * gradients / 1e9 + 14e-6)
    ended = call(capfd, *words)
    assert "computed, not measured" in ended.out and record["formula"] in ended.out
    assert ended.last_line == "wrote out/ (scaling.json)"
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "found --steps 0, expected at least 1"),
        (["--scale", "8,many"], "found --scale 8,many, expected numbers of devices"),
        (["--scale", "0"], "found --scale 0, expected numbers of devices"),
        (["--scale", "8", "--steps", "3"], "found --steps and --scale, expected one of them"),
        (["--link-latency", "0"], "found --link-latency without --scale"),
        (["--scale", "8", "--device-flops", "-1"], "found --device-flops -1, expected a number above 0"),
        (["--scale", "8", "--device-flops", "nan"], "found --device-flops nan, expected a number above 0"),
        (["--scale", "8", "--device-efficiency", "40"], "found --device-efficiency 40, expected at most 1"),
        (["-o", "small.yaml"], "found the file small.yaml for --output, expected a folder"),
    ],
)
def test_a_wrong_call(pair: Path, capfd: Capture, words: list[str], message: str) -> None:
    ended = call(capfd, "bench", "small.yaml", *words)
    assert ended.code == 2 and ended.out == "" and f"error: {message}" in ended.err
    assert not Path("runs").exists()


def test_a_wrong_spec(pair: Path, capfd: Capture) -> None:
    ended = call(capfd, "bench", "small.yaml", "--set", "student.cut.high=9")
    assert ended.code == 1 and ended.out == "" and "student.cut.high" in ended.err
    assert call(capfd, "bench", "missing.yaml").code == 1


@pytest.mark.slow
def test_under_xla_without_data_at_hand(pair: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", "none")
    splits = {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
    data = {"source": "tfds", "name": "cifar10", "splits": splits, "batch_size": 4}
    side = {"input": {"size": [8, 8], "channels": 3}}
    teacher = {"backbone": {"mlp": {"units": [9, 8, 7]}, "weights": "random"}, **side}
    values = json.loads(json.dumps({**STUDENT, "data": data, "teacher": {**teacher, "cut": {"low": 1, "high": 3}}}))
    values["student"] |= side
    (pair.parent / "far.yaml").write_text(json.dumps(values))
    ended = call(capfd, "bench", "far.yaml", "--steps", "1")
    assert ended.code == 0, ended.err
    assert "(float32, XLA, one device" in ended.out and "random batches of the right shapes" in ended.out
    record = json.loads(Path("runs/bench/small/bench.json").read_text())
    assert record["data"]["random"] and "step_with_input" not in record["timed"]
    assert {part["name"]: part["seconds"] for part in record["parts"]}["input"] is None
