"""The loop: the same figures on one and two replicas, one trace, callbacks driven, calls that grow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from loop_support import BATCH, EPOCHS, STRATEGIES, Spy, fit, make_arrays, make_batches, make_model

from tdspec.run import loop
from tdspec.run.strategy import make_strategy


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
