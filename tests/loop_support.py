"""What the tests of the loop share: a small model with steps of its own, its data, and a callback that listens."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tdspec.run import loop
from tdspec.run.optimizers import make_optimizer

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
