"""Strategies: how many replicas come out, and what is said when the devices do not suffice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import tensorflow as tf

from tdspec.errors import RunError
from tdspec.run.strategy import make_strategy


def test_none_is_the_default_strategy() -> None:
    assert make_strategy("none", "auto") is tf.distribute.get_strategy()


@pytest.mark.parametrize(("replicas", "expected"), [("auto", 2), (1, 1), (2, 2)])
def test_mirrored_takes_the_first_devices(replicas: int | Literal["auto"], expected: int) -> None:
    strategy = make_strategy("mirrored", replicas)
    assert strategy.num_replicas_in_sync == expected
    assert [device[-5:] for device in strategy.extended.worker_devices] == [f"CPU:{i}" for i in range(expected)]


def test_runs_of_different_shapes_share_a_process() -> None:
    """Two strategies whose collective operations carry the same numbers would fail here."""
    for size in (3, 11):
        strategy = make_strategy("mirrored", 2)

        def replica(size: int = size) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.ones(size))

        result = tf.function(strategy.run)(replica)
        assert [value.numpy().tolist() for value in strategy.experimental_local_results(result)] == [[2.0] * size] * 2


def test_too_many_replicas_for_a_running_tensorflow() -> None:
    tf.config.list_logical_devices("CPU")
    with pytest.raises(RunError, match=r"asks for 3 devices.* with 2") as caught:
        make_strategy("mirrored", 3)
    assert caught.value.hint


def test_a_fresh_process_gets_its_logical_devices(repository: Path) -> None:
    code = (
        "from tdspec.run.strategy import make_strategy\n"
        "print([make_strategy('mirrored', n).num_replicas_in_sync for n in ('auto', 1)])\n"
        "import tensorflow as tf\n"
        "print(len(tf.config.list_logical_devices('CPU')))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split("\n")[:2] == ["[2, 1]", "2"]
