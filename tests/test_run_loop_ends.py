"""How the loop ends: stopped, diverged, without data, by a signal; and taken up again, to the last bit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from loop_support import BATCH, EPOCHS, STRATEGIES, Classifier, Spy, fit, make_arrays, make_batches, make_model

from tdspec.errors import DataError, RunError
from tdspec.run import loop
from tdspec.run.checkpoints import Checkpoints
from tdspec.run.signals import stop_on_signals
from tdspec.run.strategy import make_strategy


class StopAfter(keras.callbacks.Callback):
    """Asks the loop to stop."""

    def __init__(self, epoch: int):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = epoch == self.epoch


def test_stop_training_is_honoured() -> None:
    strategy = make_strategy("none", "auto")
    model = make_model(strategy)
    assert len(fit(model, strategy, callbacks=[StopAfter(1)])["loss"]) == 2
    assert len(fit(model, strategy)["loss"]) == EPOCHS


@pytest.mark.parametrize("name", STRATEGIES)
def test_divergence_names_the_metrics_and_the_place(name: str) -> None:
    def poisoned(epoch: int) -> tf.data.Dataset:
        x, y, weight = make_arrays(5 * BATCH, epoch)
        if epoch == 1:
            x[3 * BATCH] = np.nan
        return tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(BATCH, drop_remainder=True)

    strategy = make_strategy(name, "auto")
    spy = Spy()
    with pytest.raises(RunError, match=r"diverged in epoch 2, by step [45]: .*loss is nan.*size is nan") as caught:
        fit(make_model(strategy), strategy, train_batches=poisoned, callbacks=[spy])
    assert "accuracy" not in caught.value.message
    assert "learning_rate" in caught.value.hint
    assert len(spy.logs) == 1


def test_divergence_of_the_last_step_shows_in_validation() -> None:
    x, y, weight = make_arrays(BATCH, 0)
    x[1] = np.inf
    broken = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(BATCH)
    strategy = make_strategy("none", "auto")
    model = make_model(strategy)
    model.hidden.activation = keras.activations.linear
    with pytest.raises(RunError, match=r"diverged after epoch 1: val_task is (nan|inf)"):
        fit(model, strategy, validation_batches=broken)


def test_no_batch_is_an_error() -> None:
    strategy = make_strategy("none", "auto")
    with pytest.raises(DataError, match="no batch"):
        fit(make_model(strategy), strategy, train_batches=lambda epoch: make_batches(BATCH - 1, 0))
    with pytest.raises(DataError, match="no batch"):
        loop.evaluate(make_model(strategy), make_batches(BATCH - 1, 0), strategy=strategy)


class Interrupting(keras.callbacks.Callback):
    """Sends this process a signal in the second epoch; a context manager that notes how it is left."""

    def __init__(self, number: signal.Signals, *, times: int = 1):
        super().__init__()
        self.number, self.times = number, times
        self.left_by: list[type[BaseException] | None] = []
        self.survived = False

    def __enter__(self) -> Interrupting:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self.left_by.append(kind)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations.numpy()) > 5:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)
                time.sleep(0)
            self.survived = True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_signals_end_training_between_calls(number: signal.Signals, times: int) -> None:
    strategy = make_strategy("none", "auto")
    model = make_model(strategy)
    spy, interrupting = Spy(), Interrupting(number, times=times)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        fit(model, strategy, callbacks=[interrupting, spy])
    assert interrupting.left_by == [KeyboardInterrupt]
    assert [event for event in spy.events if event[0] == "epoch end"] == [("epoch end", 0)]
    # The first lets callbacks end, the second does not.
    assert interrupting.survived is (times == 1)
    last = [value for kind, value in spy.events if kind == "batch end"][-1]
    assert int(model.optimizer.iterations.numpy()) > 5
    assert (last < 4) is (times == 1)


class Saver(keras.callbacks.Callback):
    """Saves after each epoch."""

    def __init__(self, checkpoints: Checkpoints):
        super().__init__()
        self.checkpoints = checkpoints

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.checkpoints.save(epoch + 1, is_best=epoch == 0)


def snapshot(model: Classifier) -> dict[str, bytes]:
    return {name: variable.numpy().tobytes() for name, variable in model.state().items()}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resumed_run_ends_bit_equal(tmp_path: Path, name: str) -> None:
    """Four epochs at once, against two, new objects, restore, two more; with dropout."""
    strategy = make_strategy(name, "auto")
    whole = make_model(strategy, dropout=0.5)
    history = fit(whole, strategy)

    first = make_model(strategy, dropout=0.5)
    fit(first, strategy, epochs=2, callbacks=[Saver(Checkpoints(tmp_path, first.state()))])
    assert snapshot(first) != snapshot(whole)

    second = make_model(strategy, dropout=0.5)
    checkpoints = Checkpoints(tmp_path, second.state())
    epoch = checkpoints.restore_last()
    assert epoch == 2
    resumed = fit(second, strategy, first_epoch=epoch)
    assert snapshot(second) == snapshot(whole)
    assert resumed == {key: values[2:] for key, values in history.items()}
    # Dropout's state is part of it: 5 steps an epoch, or the run would not be the same.
    seeds = [variable.numpy() for variable in second.state().values() if "seed_generator_state" in variable.path]
    assert [seed[1] for seed in seeds] == [EPOCHS * 5 * 1]
