"""One device and two replicas give the same weights and figures, for every method."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from run_support import Trained, command, write_pair

from tdspec.run.run_dir import RunFolder, read_metrics, read_record
from tdspec.run.train import Options, Run, train
from tdspec.spec.checks import TERMS
from tdspec.spec.load import load


def keep(run: Run) -> Mapping[str, Any]:
    run.compiled.distiller.student.save(run.folder.student)
    return {"replicas": run.strategy.num_replicas_in_sync}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Specs whose last batches of validation and test are not full, and of odd length."""
    folder = tmp_path_factory.mktemp("replicas")
    write_pair(folder)
    return folder


def assert_close(run: RunFolder, expected: RunFolder) -> None:
    """Weights, and every figure of every epoch, to 1e-5."""
    first, second = (keras.models.load_model(one.student).get_weights() for one in (run, expected))
    for found, wanted in zip(first, second, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    for row, other in zip(read_metrics(run), read_metrics(expected), strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=1e-5, abs=1e-5)
    records = read_record(run), read_record(expected)
    for split in ("validation", "test"):
        assert records[0]["metrics"][split] == pytest.approx(records[1]["metrics"][split], rel=1e-5, abs=1e-5)
    assert records[0]["best_epoch"] == records[1]["best_epoch"]


@pytest.mark.slow
# attention compares positions, of which a vector has none
@pytest.mark.parametrize("method", [method for method in TERMS if method != "attention"])
def test_two_replicas_are_one_device(method: str, folder: Path) -> None:
    runs = []
    for strategy in ("none", "mirrored"):
        document = load(folder / "small.yaml", [f"method={method}", f"train.strategy={strategy}"])
        runs.append(train(document, Options(folder / "runs", keep, io.StringIO())))
    assert [read_record(run)["replicas"] for run in runs] == [1, 2]
    assert_close(runs[1], runs[0])


@pytest.mark.slow
def test_the_command_line_makes_its_own_two_devices(trained: Trained, tmp_path: Path) -> None:
    words = ("train", "small.yaml", "--set", "train.strategy=mirrored", "--run-dir", str(tmp_path / "run"))
    ended = command(*words, folder=trained.folder)
    assert ended.code == 0, ended.err
    assert_close(RunFolder(tmp_path / "run"), RunFolder(trained.run))
