"""A run that is killed or stopped at any moment, and goes on: the same weights to the last bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_support import ENVIRONMENT, Trained, command, write_pair

from tdspec.run.run_dir import RunFolder, read_metrics, read_record

EPOCHS = 30


@pytest.fixture(scope="module")
def folder(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with dropout, whose teacher is trained already; its epochs last long enough to be caught in one."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "runs").symlink_to(trained.folder / "runs")
    write_pair(
        folder,
        data={"batch_size": 8},
        student={"backbone": {"mlp": {"units": [10, 8], "dropout": 0.2}}},
        train={"epochs": EPOCHS},
    )
    ended = command("train", "small.yaml", "--run-dir", "whole", folder=folder)
    assert ended.code == 0, ended.err
    return folder


class Stopped(NamedTuple):
    """How a process ended that was sent a signal."""

    code: int
    out: str
    err: str


def stopped(folder: Path, run: Path, number: signal.Signals, epochs: int, *words: str) -> Stopped:
    """Train, and send the process a signal once `epochs` have been written."""
    call = [sys.executable, "-m", "tdspec", "train", *words, "--run-dir", run.name]
    with subprocess.Popen(
        call, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        metrics = run / "metrics.jsonl"
        while process.poll() is None and not (metrics.is_file() and len(metrics.read_bytes().splitlines()) >= epochs):
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
    return Stopped(process.returncode, out, err)


def state(run: Path, checkpoint: str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(run / "checkpoints" / checkpoint))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if not key.startswith("_")}


def assert_same(run: Path, whole: Path) -> None:
    """Bit-equal weights of the student, states of training, figures and rows, but for what the clock says."""
    first, second = (keras.models.load_model(path / "student.keras").get_weights() for path in (run, whole))
    assert all(np.array_equal(left, right) for left, right in zip(first, second, strict=True))
    for checkpoint in ("best", f"epoch-{EPOCHS:04d}"):
        found, expected = state(run, checkpoint), state(whole, checkpoint)
        assert found.keys() == expected.keys()
        assert any("seed" in key for key in found)
        for key in found:
            assert np.array_equal(found[key], expected[key]), f"{checkpoint}: {key}"
    rows = [[{**row, "seconds": 0} for row in read_metrics(RunFolder(path))] for path in (run, whole)]
    assert rows[0] == rows[1] and len(rows[0]) == EPOCHS
    records = [read_record(RunFolder(path)) for path in (run, whole)]
    for key in ("status", "metrics", "best_epoch", "data", "spec_sha256", "teacher_sha256", "student"):
        assert records[0][key] == records[1][key], key


@pytest.mark.slow
def test_a_run_that_is_killed_and_stopped_ends_as_one_that_was_not(folder: Path) -> None:
    run = folder / "cut"
    ended = stopped(folder, run, signal.SIGKILL, 4, "small.yaml")
    assert ended.code == -signal.SIGKILL
    assert json.loads((run / "run.json").read_text())["status"] == "running"
    for number, epochs in ((signal.SIGINT, 10), (signal.SIGTERM, 16)):
        # The run folder holds its spec, so that no other word is needed.
        ended = stopped(folder, run, number, epochs, "--resume")
        assert (ended.code, ended.out) == (1, ""), number
        assert ended.err.splitlines()[-2:] == [
            "to go on: tdspec train --resume --run-dir cut",
            "error: interrupted",
        ]
        assert "Traceback" not in ended.err
        assert read_record(RunFolder(run))["status"] == "interrupted"
        assert epochs <= len(read_metrics(RunFolder(run))) < EPOCHS
    ended_well = command("train", "--resume", "--run-dir", "cut", folder=folder)
    assert ended_well.code == 0, ended_well.err
    assert ended_well.last_line == "cut"
    assert f"epoch {EPOCHS}/{EPOCHS} " in ended_well.err and "epoch 10/" not in ended_well.err
    assert_same(run, folder / "whole")
