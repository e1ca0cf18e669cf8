"""TensorBoard events, read back as TensorBoard reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from tdspec.run.events import TensorBoardWriter


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value), by step as TensorBoard draws them.

    Sorted here: within one second TensorFlow tells event files apart by a count, and TensorBoard reads `10` before `8`.
    """
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: sorted((each.step, float(tensor_util.make_ndarray(each.tensor_proto))) for each in events.Tensors(name))
        for name in events.Tags()["tensors"]
    }


def test_scalars_by_name_and_epoch(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        writer.on_train_begin()
        writer.on_epoch_end(0, {"loss": 2.0, "task": 1.0, "val_task": 1.5})
        # Flushed: another process sees the epoch while the run goes on.
        assert read(tmp_path / "train") == {"loss": [(1, 2.0)], "task": [(1, 1.0)]}
        writer.on_epoch_end(1, {"loss": 1.0, "task": 0.5, "val_task": 0.75})
        writer.on_train_end()
    assert read(tmp_path / "train") == {"loss": [(1, 2.0), (2, 1.0)], "task": [(1, 1.0), (2, 0.5)]}
    assert read(tmp_path / "validation") == {"task": [(1, 1.5), (2, 0.75)]}


def test_a_resumed_run_adds_to_it(tmp_path: Path) -> None:
    for epoch in range(2):
        with TensorBoardWriter(tmp_path) as writer:
            writer.on_train_begin()
            writer.on_epoch_end(epoch, {"loss": float(epoch)})
    assert read(tmp_path / "train") == {"loss": [(1, 0.0), (2, 1.0)]}


def test_files_are_closed_when_training_breaks_off(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), TensorBoardWriter(tmp_path) as writer:
        writer.on_train_begin()
        writer.on_epoch_end(0, {"loss": 2.0})
        raise KeyboardInterrupt
    assert read(tmp_path / "train") == {"loss": [(1, 2.0)]}
    # Nothing is open any more: a second end is no error.
    writer.on_train_end()
