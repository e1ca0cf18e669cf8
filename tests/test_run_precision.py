"""mixed_float16 leaves out steps that overflow, on every replica; auto measures, says so, and is kept."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import compiled, pixels
from run_support import TEACHER, write_spec

from tdspec.run.outcome import Interrupted
from tdspec.run.precision import Precision, candidates, fastest
from tdspec.run.prepare import compile_optimizer
from tdspec.run.run_dir import read_record
from tdspec.run.strategy import make_strategy
from tdspec.run.train import Options, Run, train
from tdspec.spec.load import load

# On two replicas the first one has no labelled example, so no gradient that could overflow.
WEIGHT = np.array([0, 0, 0, 0, 1, 1, 1, 1], "float32")


@pytest.mark.parametrize(("strategy", "jit"), [("none", "off"), ("none", "on"), ("mirrored", "off")])
def test_a_step_that_overflows_is_left_out(tmp_path: Path, strategy: str, jit: str) -> None:
    scope = make_strategy(strategy, 2 if strategy == "mirrored" else "auto")
    with scope.scope():
        found = compiled(tmp_path, "scratch", train={"precision": "mixed_float16", "jit": jit})
        compile_optimizer(found, schedule="constant", total_steps=1000)
    distiller = found.distiller
    rows = ({"image": pixels()}, np.arange(8), WEIGHT)
    batches = list(scope.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(rows).batch(8)))

    @tf.function(autograph=False)
    def step(batch: Any) -> None:
        scope.run(lambda part: distiller.train_step(part) and None, args=(batch,))

    optimizer, weight = distiller.optimizer, distiller.trained_variables[0]
    before = weight.numpy()
    optimizer.dynamic_scale.assign(2.0**126)
    step(batches[0])
    assert np.array_equal(weight.numpy(), before) and int(optimizer.iterations.numpy()) == 0
    assert float(optimizer.dynamic_scale.numpy()) == 2.0**125
    assert np.isfinite(float(distiller.metrics[0].result()))
    optimizer.dynamic_scale.assign(2.0**10)
    step(batches[0])
    assert int(optimizer.iterations.numpy()) == 1 and not np.array_equal(weight.numpy(), before)
    assert np.all(np.isfinite(weight.numpy()))


def test_losses_are_float32(tmp_path: Path) -> None:
    distiller = compiled(tmp_path, train={"precision": "mixed_float16"}).distiller
    tensors = distiller({"image": pixels()}, training=True)
    assert tensors["student_low"].dtype == "float16"
    values = distiller.term_values(tensors, np.arange(8), np.ones(8, "float32"))
    assert {value.dtype.name for value in values.values()} == {"float32"}


def test_what_is_chosen() -> None:
    assert fastest({"float32": 1.0, "mixed_bfloat16": 0.97}) == "float32"
    assert fastest({"float32": 1.0, "mixed_bfloat16": 0.9, "mixed_float16": 0.8}) == "mixed_float16"
    assert candidates() == ("float32", "mixed_bfloat16")
    text = str(Precision("float32", {"float32": 0.0123, "mixed_bfloat16": 0.02}))
    assert text == "precision: float32, from a measured step of float32 12.3 ms, mixed_bfloat16 20 ms"


def _stop(run: Run) -> Mapping[str, Any]:
    raise KeyboardInterrupt


def _end(run: Run) -> Mapping[str, Any]:
    return {}


def test_a_run_measures_once(tmp_path: Path) -> None:
    changes = {"train": {"epochs": 1, "precision": "auto", "jit": "off"}}
    document = load(write_spec(tmp_path / "auto.yaml", TEACHER, **changes))
    said = io.StringIO()
    with pytest.raises(Interrupted) as stopped:
        train(document, Options(tmp_path / "runs", _stop, said))
    record = read_record(stopped.value.run)["precision"]
    assert set(record["seconds"]) == {"float32", "mixed_bfloat16"}
    assert f"precision: {record['name']}, from a measured step of float32" in said.getvalue()
    run = train(document, Options(tmp_path / "runs", _end, io.StringIO()), resume=True)
    assert read_record(run)["precision"] == record
