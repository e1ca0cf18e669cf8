"""Checkpoints: every bit comes back, clear names, and complete or absent whatever happens."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tdspec.errors import RunError
from tdspec.run.checkpoints import Checkpoints
from tdspec.run.strategy import make_strategy

VALUES = {
    "student/dense.1/kernel": np.array([[0.1, -0.0, np.pi], [1e-45, np.inf, np.nan]], "float32"),
    "student/dense.1/bias": np.array([1.5, 2.5], "float16"),
    "read/save": np.array([2**32 - 1, 0], "uint32"),
    "optimizer/iteration": np.array(2**62 + 1, "int64"),
    "seed": np.array([2**31, 7], "int64"),
    "flag": np.array(True),
}


def make_variables(strategy: tf.distribute.Strategy) -> dict[str, keras.Variable]:
    with strategy.scope():
        return {
            name: keras.Variable(np.zeros_like(value), dtype=str(value.dtype), trainable=False)
            for name, value in VALUES.items()
        }


def fill(variables: dict[str, keras.Variable]) -> None:
    for name, variable in variables.items():
        variable.assign(VALUES[name])


def counter(value: int = 0) -> keras.Variable:
    return keras.Variable(value, dtype="int64", trainable=False)


def bits(array: np.ndarray) -> tuple[str, bytes]:
    return str(array.dtype), array.tobytes()


@pytest.mark.parametrize("saved_on", ["none", "mirrored"])
@pytest.mark.parametrize("restored_on", ["none", "mirrored"])
def test_every_bit_comes_back(tmp_path: Path, saved_on: str, restored_on: str) -> None:
    variables = make_variables(make_strategy(saved_on, "auto"))
    fill(variables)
    Checkpoints(tmp_path, variables).save(3, is_best=True)
    strategy = make_strategy(restored_on, "auto")
    restored = make_variables(strategy)
    for restore in ("restore_last", "restore_best"):
        assert getattr(Checkpoints(tmp_path, restored), restore)() == 3
        for name, value in VALUES.items():
            replicas = strategy.experimental_local_results(restored[name].value)
            assert [bits(replica.numpy()) for replica in replicas] == [bits(value)] * strategy.num_replicas_in_sync
            restored[name].assign(np.zeros_like(value))


def test_anyone_can_read_them(tmp_path: Path) -> None:
    variables = make_variables(make_strategy("none", "auto"))
    fill(variables)
    Checkpoints(tmp_path, variables).save(3, is_best=True)
    for folder in ("epoch-0003", "best"):
        reader = tf.train.load_checkpoint(str(tmp_path / folder))
        keys = {name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name in reader.get_variable_to_shape_map()}
        # TensorFlow doubles a "." in a name; the rest is as it was given.
        assert keys - {"_CHECKPOINTABLE_OBJECT_GRAPH"} == {name.replace(".", "..") for name in VALUES}
        iteration = reader.get_tensor("optimizer/iteration/.ATTRIBUTES/VARIABLE_VALUE")
        assert bits(iteration) == bits(VALUES["optimizer/iteration"])


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_a_name_below_another_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="another variable"):
        Checkpoints(tmp_path, {name: counter() for name in names})


def test_the_last_epochs_and_the_best_are_kept(tmp_path: Path) -> None:
    variable = counter()
    checkpoints = Checkpoints(tmp_path / "new", {"a": variable}, keep=2)
    assert checkpoints.restore_last() is None
    with pytest.raises(RunError, match="no checkpoint"):
        checkpoints.restore_best()
    for epoch in range(1, 6):
        variable.assign(10 * epoch)
        checkpoints.save(epoch, is_best=epoch in (1, 3))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["best", "epoch-0004", "epoch-0005"]
    assert (checkpoints.restore_best(), int(variable.numpy())) == (3, 30)
    assert (checkpoints.restore_last(), int(variable.numpy())) == (5, 50)


def test_an_epoch_may_be_saved_again(tmp_path: Path) -> None:
    variable = counter(1)
    checkpoints = Checkpoints(tmp_path, {"a": variable})
    checkpoints.save(1, is_best=True)
    variable.assign(2)
    checkpoints.save(1, is_best=True)
    for restore in (checkpoints.restore_last, checkpoints.restore_best):
        variable.assign(0)
        assert (restore(), int(variable.numpy())) == (1, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "epoch-0001"]


def damage_by_truncation(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_by_loss(folder: Path, name: str) -> None:
    (folder / name).unlink()


def damage_by_bits(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [damage_by_truncation, damage_by_loss, damage_by_bits])
@pytest.mark.parametrize(
    "name", ["state.index", "state.data-00000-of-00002", "state.data-00001-of-00002", "epoch.json"]
)
def test_a_damaged_checkpoint_falls_back(
    tmp_path: Path, damage: object, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    variable = keras.Variable(np.zeros((50, 50), "float32"))
    checkpoints = Checkpoints(tmp_path, {"a": variable})
    for epoch in (1, 2):
        variable.assign(np.full((50, 50), epoch))
        checkpoints.save(epoch, is_best=True)
    damage(tmp_path / "epoch-0002", name)
    with caplog.at_level("WARNING", logger="absl"):
        assert Checkpoints(tmp_path, {"a": variable}).restore_last() == 1
    assert "epoch-0002 is damaged" in caplog.text
    np.testing.assert_array_equal(variable.numpy(), 1.0)
    damage(tmp_path / "epoch-0001", name)
    with pytest.raises(RunError, match="all 2 checkpoints"):
        checkpoints.restore_last()
    damage(tmp_path / "best", name)
    with pytest.raises(RunError, match="is damaged"):
        checkpoints.restore_best()


@pytest.mark.parametrize(
    "others", [{"a": (2,), "b": (3,)}, {"a": (2,), "b": (2,), "c": (1,)}, {"a": (2,)}, {"a": (2,), "x": (2,)}]
)
def test_a_checkpoint_of_other_variables_is_refused(tmp_path: Path, others: dict[str, tuple[int, ...]]) -> None:
    def zeros(shapes: dict[str, tuple[int, ...]]) -> dict[str, keras.Variable]:
        return {name: keras.Variable(np.zeros(shape, "float32")) for name, shape in shapes.items()}

    Checkpoints(tmp_path, zeros({"a": (2,), "b": (2,)})).save(1, is_best=False)
    with pytest.raises(RunError, match="other variables") as caught:
        Checkpoints(tmp_path, zeros(others)).restore_last()
    assert caught.value.hint


def test_what_a_killed_process_left_is_put_right(tmp_path: Path) -> None:
    variable = counter(1)
    checkpoints = Checkpoints(tmp_path, {"a": variable})
    checkpoints.save(1, is_best=True)
    # Killed between taking the old best away and giving its name to the new one.
    (tmp_path / "best").rename(tmp_path / ".replaced-best")
    # Killed after that, but before the old one was deleted.
    shutil.copytree(tmp_path / "epoch-0001", tmp_path / ".replaced-epoch-0001")
    (tmp_path / ".temporary-epoch-0002").mkdir()
    checkpoints = Checkpoints(tmp_path, {"a": variable})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "epoch-0001"]
    assert (checkpoints.restore_best(), checkpoints.restore_last()) == (1, 1)


SAVER = """
import sys
from pathlib import Path
import keras, numpy as np
from tdspec.run.checkpoints import Checkpoints
variable = keras.Variable(np.zeros((300, 300), "float32"))
checkpoints = Checkpoints(Path(sys.argv[1]), {"layer/kernel": variable})
first = (checkpoints.restore_last() or 0) + 1
epoch = first
while True:
    variable.assign(np.full((300, 300), epoch))
    checkpoints.save(epoch, is_best=True)
    if epoch == first:  # the first one takes longest: its graph is made
        print("ready", flush=True)
    epoch += 1
"""


@pytest.mark.slow
def test_a_process_may_be_killed_while_it_saves(tmp_path: Path, repository: Path) -> None:
    variable = keras.Variable(np.zeros((300, 300), "float32"))
    draw = random.Random(0)
    last = 0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": str(repository)},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3 + 0.2 * draw.random())
        child.kill()
        child.communicate()
        for folder in tmp_path.glob("[!.]*"):
            tensor = tf.train.load_checkpoint(str(folder)).get_tensor("layer/kernel/.ATTRIBUTES/VARIABLE_VALUE")
            assert np.unique(tensor).size == 1
        checkpoints = Checkpoints(tmp_path, {"layer/kernel": variable})
        newest = checkpoints.restore_last()
        assert newest is not None and newest > last
        assert newest == max(int(folder.name.removeprefix("epoch-")) for folder in tmp_path.glob("epoch-*"))
        np.testing.assert_array_equal(variable.numpy(), newest)
        best = checkpoints.restore_best()
        # The best is written first: killed in between, it is one epoch ahead.
        assert best in (newest, newest + 1)
        np.testing.assert_array_equal(variable.numpy(), best)
        last = newest
