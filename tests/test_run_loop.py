"""The loop: the same figures on one and two replicas, one trace, clean ends, exact resume."""

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

from tdspec.errors import DataError, RunError
from tdspec.run import loop
from tdspec.run.checkpoints import Checkpoints
from tdspec.run.optimizers import make_optimizer
from tdspec.run.signals import stop_on_signals
from tdspec.run.strategy import make_strategy

DIM, CLASSES, BATCH, EPOCHS = 6, 3, 8, 4
STRATEGIES = ["none", "mirrored"]


class Classifier(keras.Model):
    """A small model with a training step of its own, as the loop asks for it; counts how often its steps are traced."""

    def __init__(self, *, dropout: float, num_replicas: int):
        super().__init__()
        self.hidden = keras.layers.Dense(16, activation="tanh")
        self.dropout = keras.layers.Dropout(dropout, seed=5)
        self.head = keras.layers.Dense(CLASSES)
        self.num_replicas = num_replicas
        self.means = {name: keras.metrics.Mean(name=name) for name in ("loss", "task", "size")}
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        self.traces = {"train": 0, "test": 0}

    def build(self, input_shape: Any) -> None:
        self.hidden.build((None, DIM))
        self.dropout.build((None, 16))
        self.head.build((None, 16))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.head(self.dropout(self.hidden(inputs), training=training))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*self.means.values(), self.accuracy]

    def train_step(self, data: Any) -> dict[str, Any]:
        self.traces["train"] += 1
        x, y, weight = data
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            values = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
            count = tf.distribute.get_replica_context().all_reduce("SUM", tf.reduce_sum(weight))
            share = tf.reduce_sum(values * weight) / count
        variables = [variable.value for variable in self.trainable_variables]
        self.optimizer.apply_gradients(zip(tape.gradient(share, variables), self.trainable_variables, strict=True))
        self.means["loss"].update_state(share * self.num_replicas)
        self.means["size"].update_state(tf.reduce_sum(tf.square(logits), axis=-1))
        self._record(y, logits, values, weight)
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data: Any) -> dict[str, Any]:
        self.traces["test"] += 1
        x, y, weight = data
        logits = self(x, training=False)
        self._record(y, logits, keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True), weight)
        return {"task": self.means["task"].result(), "accuracy": self.accuracy.result()}

    def _record(self, y: Any, logits: Any, values: Any, weight: Any) -> None:
        self.means["task"].update_state(values, weight)
        self.accuracy.update_state(y, logits, weight)

    def state(self) -> dict[str, keras.Variable]:
        """Everything that training changes, by names that do not count the models of this process."""
        groups = {"student": self.variables, "optimizer": self.optimizer.variables}
        return {f"{group}/{index}": item for group, items in groups.items() for index, item in enumerate(items)}


def make_model(strategy: tf.distribute.Strategy, *, dropout: float = 0.0, learning_rate: float = 0.02) -> Classifier:
    keras.utils.set_random_seed(3)
    with strategy.scope():
        model = Classifier(dropout=dropout, num_replicas=strategy.num_replicas_in_sync)
        model.build((None, DIM))
        model.compile(
            make_optimizer(
                type="adamw",
                learning_rate=learning_rate,
                weight_decay=0.01,
                momentum=0.0,
                global_clipnorm=0.5,
                schedule="cosine",
                total_steps=EPOCHS * 5,
                jit=False,
            )
        )
        model.optimizer.build(model.trainable_variables)
    return model


def make_arrays(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (rows, DIM), labels (rows,) and weights (rows,); every third weight is 0."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((rows, DIM)).astype("float32")
    weight = (np.arange(rows) % 3 > 0).astype("float32")
    return x, x[:, :CLASSES].argmax(axis=1).astype("int32"), weight


def make_batches(rows: int, seed: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(make_arrays(rows, seed)).batch(BATCH, drop_remainder=True)


def fit(model: Classifier, strategy: tf.distribute.Strategy, **changes: Any) -> dict[str, list[float]]:
    arguments = {
        "train_batches": lambda epoch: make_batches(5 * BATCH, epoch),
        "validation_batches": make_batches(3 * BATCH, 99),
        "epochs": EPOCHS,
    }
    return loop.fit(model, strategy=strategy, **(arguments | changes))


class Spy(keras.callbacks.Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any]] = []
        self.logs: list[dict[str, float]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.events.append(("train begin", self.params["epochs"]))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.events.append(("epoch begin", epoch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.events.append(("batch end", batch))

    def on_test_end(self, logs: Any = None) -> None:
        self.events.append(("test end", sorted(logs)))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.events.append(("epoch end", epoch))
        self.logs.append(dict(logs))

    def on_train_end(self, logs: Any = None) -> None:
        self.events.append(("train end", None))


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_does_what_a_plain_loop_does(name: str) -> None:
    """Against the model's own step on the default device, batch after batch."""
    plain = make_model(tf.distribute.get_strategy())
    expected: dict[str, list[float]] = {}
    for epoch in range(EPOCHS):
        for prefix, step, batches in (
            ("", plain.train_step, make_batches(5 * BATCH, epoch)),
            ("val_", plain.test_step, make_batches(3 * BATCH, 99)),
        ):
            plain.reset_metrics()
            for batch in batches:
                values = step(batch)
            for key, value in values.items():
                expected.setdefault(prefix + key, []).append(float(value))
    strategy = make_strategy(name, "auto")
    model = make_model(strategy)
    history = fit(model, strategy)
    assert list(history) == ["loss", "task", "size", "accuracy", "val_task", "val_accuracy"]
    for key, figures in expected.items():
        np.testing.assert_allclose(history[key], figures, rtol=1e-5)
    for ours, theirs in zip(model.variables, plain.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)
    assert history["val_task"][-1] < history["val_task"][0]
    # Once a replica, however many epochs and calls there are.
    assert model.traces == {"train": strategy.num_replicas_in_sync, "test": strategy.num_replicas_in_sync}


@pytest.mark.parametrize("name", STRATEGIES)
def test_evaluation_is_exact_for_rows_without_weight(name: str) -> None:
    strategy = make_strategy(name, "auto")
    model = make_model(strategy)
    x, y, weight = make_arrays(2 * BATCH, 1)
    weight[BATCH + 1 :] = 0.0  # The last batch holds one example, so one of two replicas holds none.
    batches = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(BATCH, drop_remainder=True)
    logits = model(x).numpy().astype("float64")
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    losses = -np.log(chances[np.arange(len(y)), y])
    before = [variable.numpy() for variable in model.variables]
    for _ in range(2):
        found = loop.evaluate(model, batches, strategy=strategy)
        assert found == {
            "task": pytest.approx((losses * weight).sum() / weight.sum(), rel=1e-5),
            "accuracy": pytest.approx(((logits.argmax(axis=1) == y) * weight).sum() / weight.sum(), rel=1e-6),
        }
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@pytest.mark.parametrize("name", STRATEGIES)
def test_batches_of_unknown_number_and_uneven_size(name: str) -> None:
    def epoch_batches(epoch: int) -> tf.data.Dataset:
        rows = tf.data.Dataset.from_tensor_slices(make_arrays(60, epoch))
        return rows.filter(lambda x, y, weight: x[0] > -1.0).batch(BATCH)

    strategy = make_strategy(name, "auto")
    model = make_model(strategy)
    spy = Spy()
    history = fit(model, strategy, train_batches=epoch_batches, callbacks=[spy])
    steps = [sum(1 for _ in epoch_batches(epoch)) for epoch in range(EPOCHS)]
    assert int(model.optimizer.iterations.numpy()) == sum(steps)
    assert len(history["loss"]) == EPOCHS


def test_callbacks_are_driven() -> None:
    strategy = make_strategy("none", "auto")
    spy = Spy()
    history = fit(make_model(strategy), strategy, epochs=4, first_epoch=2, callbacks=[spy])
    kinds = [event for event in spy.events if event[0] != "batch end"]
    tested = ("test end", ["accuracy", "task"])
    assert kinds == [
        ("train begin", 4),
        ("epoch begin", 2),
        tested,
        ("epoch end", 2),
        ("epoch begin", 3),
        tested,
        ("epoch end", 3),
        ("train end", None),
    ]
    assert [[logs[name] for logs in spy.logs] for name in history] == list(history.values())
    ends = [value for kind, value in spy.events if kind == "batch end"]
    assert ends.count(4) == 2 and max(ends) == 4


def test_nothing_is_left_to_train() -> None:
    strategy = make_strategy("none", "auto")
    assert fit(make_model(strategy), strategy, epochs=3, first_epoch=3) == {}


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


def test_calls_grow_until_they_take_half_a_second() -> None:
    """400 steps in a handful of calls, none of which is long."""
    strategy = make_strategy("none", "auto")
    spy = Spy()
    fit(
        make_model(strategy),
        strategy,
        train_batches=lambda epoch: make_batches(400 * BATCH, 0),
        epochs=1,
        callbacks=[spy],
    )
    ends = [value for kind, value in spy.events if kind == "batch end"]
    assert ends[0] == 0 and ends[-1] == 399
    assert len(ends) < 40
