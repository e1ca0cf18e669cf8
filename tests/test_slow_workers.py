"""Several processes train as one device does; one that is killed ends all, and all go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from run_support import ENVIRONMENT, Trained, command, write_pair
from test_slow_replicas import assert_close

from tdspec.run.run_dir import RunFolder, read_metrics, read_record

WORKERS = ("--workers", "2")
MULTI = ("--set", "train.strategy=multi_worker")
EPOCHS = 5


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers' temporary files go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("jit", "more"), [("on", []), ("off", ["--control"])])
def test_two_workers_are_one_device(jit: str, more: list[str], trained: Trained, tmp_path: Path, scratch: Path) -> None:
    """Weights and every figure, the control's too; the last batches of validation and test are not full."""
    words = ("train", "small.yaml", *MULTI, *WORKERS, "--set", f"train.jit={jit}", "--run-dir", str(tmp_path / "run"))
    ended = command(*words, *more, folder=trained.folder)
    assert ended.code == 0, ended.err
    run = RunFolder(tmp_path / "run")
    assert ended.last_line == str(run.path) and ended.err.count("epoch 2/2") == 1 + len(more)
    assert_close(run, RunFolder(trained.run))
    if more:
        assert_close(RunFolder(run.path / "control"), RunFolder(trained.run / "control"))
    record = read_record(run)
    assert record["status"] == "complete" and record["teacher"] == read_record(RunFolder(trained.run))["teacher"]
    own = {path.name for path in run.path.iterdir()}
    assert own | {"control"} == {path.name for path in trained.run.iterdir()}
    # Only the chief leaves anything behind.
    assert list(scratch.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [["method=relational"], ["losses.balance=auto", "data.teacher_cache.dtype=float32"]]
)
def test_whatever_looks_at_all_examples(settings: list[str], trained: Trained, tmp_path: Path) -> None:
    """Terms that compare examples; the balance of terms and states that are kept."""
    _assert_two_are_one(settings, trained, tmp_path)


def _assert_two_are_one(settings: list[str], trained: Trained, folder: Path) -> None:
    changes = [word for setting in settings for word in ("--set", setting)]
    runs = [RunFolder(folder / name) for name in ("one", "two")]
    for run, words in zip(runs, ((), (*MULTI, *WORKERS)), strict=True):
        told = ("train", "small.yaml", *changes, *words, "--run-dir", str(run.path))
        ended = command(*told, folder=trained.folder, TDSPEC_CACHE_DIR=str(folder / f"cache_{run.path.name}"))
        assert ended.code == 0, ended.err
    assert_close(runs[1], runs[0])


@pytest.mark.slow
def test_batch_normalization_sees_the_batch_of_all_workers(trained: Trained, tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(12, use_bias=False)(keras.layers.Flatten()(image))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    keras.Model(image, keras.layers.Dense(8)(x)).save(tmp_path / "normalized.keras")
    backbone = f"{{file: {tmp_path / 'normalized.keras'}, weights: random}}"
    student = f"student={{backbone: {backbone}, input: {{size: [8, 8], channels: 1}}, head: {{}}}}"
    _assert_two_are_one(["method=logit", student], trained, tmp_path)


@pytest.fixture(scope="module")
def folder(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with dropout, which two workers have trained; its teacher is trained already."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "runs").symlink_to(trained.folder / "runs")
    write_pair(
        folder,
        method="logit",
        student={"backbone": {"mlp": {"units": [10, 8], "dropout": 0.2}}},
        train={"epochs": EPOCHS, "strategy": "multi_worker"},
    )
    ended = command("train", "small.yaml", "--run-dir", "whole", *WORKERS, folder=folder)
    assert ended.code == 0, ended.err
    return folder


def worker_of(launcher: int, index: int) -> int:
    """The process of a worker."""
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and _parent(path) == launcher]
    (worker,) = (pid for pid in found if f'"index": {index}}}'.encode() in Path(f"/proc/{pid}/environ").read_bytes())
    return worker


def _parent(process: Path) -> int:
    try:
        return int(process.joinpath("stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1


def stopped(folder: Path, run: Path, epochs: int, number: signal.Signals, index: int | None, *words: str) -> list[str]:
    """Train until so many epochs are written, then send a worker, or the launcher, a signal; what stderr got."""
    call = [sys.executable, "-m", "tdspec", "train", *words, "--run-dir", run.name, *WORKERS]
    with subprocess.Popen(
        call, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and len(read_metrics(RunFolder(run))) < epochs:
            time.sleep(0.05)
        os.kill(process.pid if index is None else worker_of(process.pid, index), number)
        start = time.monotonic()
        err = process.communicate(timeout=120)[1]
        assert time.monotonic() - start < 60, err
        # Its chief's code is 1 unless it is the one that was killed.
        assert process.returncode == (1 if index is None else 128 + number), err
    assert "Traceback" not in err
    return err.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes as Linux shows them")
def test_workers_that_are_killed_and_stopped_go_on_together(folder: Path) -> None:
    run = folder / "cut"
    lost = "error: worker {} of 2 stops, since another one has ended"
    err = stopped(folder, run, 1, signal.SIGKILL, 1, "small.yaml")
    assert err.count(lost.format(0)) == 1 and "worker 1 was killed by signal 9; its output:" in err
    assert read_record(RunFolder(run))["status"] == "failed"
    err = stopped(folder, run, 2, signal.SIGKILL, 0, "--resume")
    assert lost.format(0) not in err
    err = stopped(folder, run, 4, signal.SIGINT, None, "--resume")
    assert err[-2:] == ["to go on: on all 2 workers tdspec train --resume --run-dir cut", "error: interrupted"]
    assert read_record(RunFolder(run))["status"] == "interrupted"
    ended = command("train", "--resume", "--run-dir", "cut", *WORKERS, folder=folder)
    assert ended.code == 0, ended.err
    first, second = (
        keras.models.load_model(folder / name / "student.keras").get_weights() for name in ("cut", "whole")
    )
    assert all(np.array_equal(left, right) for left, right in zip(first, second, strict=True))
    rows = [[{**row, "seconds": 0} for row in read_metrics(RunFolder(folder / name))] for name in ("cut", "whole")]
    assert rows[0] == rows[1] and len(rows[0]) == EPOCHS


@pytest.mark.slow
def test_what_the_chief_refuses_ends_all(folder: Path, tmp_path: Path) -> None:
    for name in ("teacher.yaml", "small.yaml"):
        shutil.copy(folder / name, tmp_path)
    ended = command("train", "small.yaml", *WORKERS, folder=tmp_path)
    assert ended.code == 1 and not (tmp_path / "runs").exists()
    assert ended.err.splitlines()[-2:] == [
        "error: teacher 'teacher' has no run of this spec in runs, expected one before several workers start",
        f"  hint: train it first, on one machine: tdspec train {tmp_path / 'teacher.yaml'} --runs runs",
    ]
    ended = command("train", "small.yaml", "--set", "data.batch_size=63", *WORKERS, "--runs", "runs", folder=folder)
    assert ended.code == 1
    assert "error: data.batch_size is 63, expected a multiple of 2, the workers' devices" in ended.err
