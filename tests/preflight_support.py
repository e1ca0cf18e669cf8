"""What the tests of the preflight share: a teacher of the digits that is good, and reads pixels from 0 to 255."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_support import DATA, IMAGE, STUDENT, TEACHER, write_spec

from tdspec.data.pipeline import LoadedSplits
from tdspec.graph.compiler import Compiled
from tdspec.run.prepare import compile_optimizer, compile_with_weights, open_data
from tdspec.run.strategy import make_strategy
from tdspec.run.train import Options, Run
from tdspec.spec.load import Document, load


def keep(run: Run) -> Mapping[str, Any]:
    """The least that ends a run: the student's file."""
    run.compiled.distiller.student.save(run.folder.student)
    return {"kept": True}


def options(root: Path) -> Options:
    return Options(root, keep, io.StringIO())


def printed(given: Options) -> str:
    assert isinstance(given.stream, io.StringIO)
    return given.stream.getvalue()


@pytest.fixture(scope="session")
def good_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .keras file: about 95 % of the digits right, if it sees pixels from 0 to 255."""
    folder = tmp_path_factory.mktemp("good")
    document = load(write_spec(folder / "data.yaml", {**TEACHER, "data": {**DATA, "batch_size": 899}}))
    splits = open_data(compile_with_weights(document, {}), download=False)
    features, label, _ = next(iter(splits.train.batches(899, epoch=None)))
    keras.utils.set_random_seed(0)
    layers = [keras.layers.BatchNormalization(momentum=0.5), keras.layers.Flatten()]
    layers += [keras.layers.Dense(units, activation="relu") for units in (48, 32)]
    x = keras.Input((8, 8, 1))
    y = x
    for layer in (*layers, keras.layers.Dense(10, activation="softmax")):
        y = layer(y)
    model = keras.Model(x, y)
    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
    model.fit(tf.cast(features["image"], tf.float32), label, epochs=15, batch_size=64, verbose=0)
    model.save(folder / "good.keras")
    return folder / "good.keras"


def write(folder: Path, file: Path, **changes: Any) -> Path:
    """A spec with the good teacher."""
    side = {
        "backbone": {"file": str(file)},
        "head": "own",
        "input": {**IMAGE, "scale": [0, 255]},
        "cut": {"low": 1, "high": 2},
    }
    values = {**STUDENT, "name": "pre", "method": "hybrid", "teacher": side}
    return write_spec(folder / "pre.yaml", values, **changes)


def opened(document: Document) -> tuple[Compiled, LoadedSplits, tf.distribute.Strategy]:
    """Everything a preflight looks at."""
    strategy = make_strategy(document.spec.train.strategy, document.spec.train.replicas)
    with strategy.scope():
        compiled = compile_with_weights(document, {})
        compile_optimizer(compiled, schedule="constant", total_steps=1)
        splits = open_data(compiled, download=False)
    return compiled, splits, strategy


def snapshot(compiled: Compiled) -> list[np.ndarray]:
    return [np.asarray(variable.numpy()) for variable in compiled.distiller.variables]
