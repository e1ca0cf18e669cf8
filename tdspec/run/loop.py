"""One training loop for every strategy.

In: a compiled `keras.Model` whose `train_step` and `test_step` run inside `strategy.run`, update `model.metrics` and
return a dict that names those they updated; `tf.data` datasets of global batches. Out: the trained model, and each
metric by name, epoch by epoch.
Several steps make one call of a graph, so that Python costs nothing, and a call lasts well under a second, so that
progress and interruptions are prompt. The number of steps in a call is a tensor: one graph serves them all. Short
steps may come in stacks, each of which is one program (`stacks.py`).
Leaves out: checkpoints, records and progress, which are callbacks, and XLA, which is the model's matter.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tdspec.errors import DataError, RunError
from tdspec.run.signals import postponed_signals
from tdspec.run.stacks import on_elements, stacked
from tdspec.run.team import team_of

SECONDS_PER_CALL = 0.5

# Given the number of steps run so far; whether to stop.
AfterCall = Callable[[int], bool]


def fit(
    model: keras.Model,
    *,
    strategy: tf.distribute.Strategy,
    train_batches: Callable[[int], tf.data.Dataset],
    validation_batches: tf.data.Dataset,
    epochs: int,
    first_epoch: int = 0,
    height: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    """Train `model`, and evaluate it after each epoch.

    Args:
        model: compiled and built, with its optimizer, in the strategy's scope.
        strategy: what the model was made under.
        train_batches: the global batches of an epoch (from 0), all epochs of one element spec; must end.
        validation_batches: global batches.
        epochs: the last epoch is `epochs - 1`.
        first_epoch: where a resumed run goes on.
        height: batches in a stack; 1 where each is a step of its own, as under every strategy but the default.
        callbacks: driven as Keras's `fit` drives them, but by calls of several steps: `on_train_batch_end` gets the
            index of the call's last step. Those that are context managers are left also when training breaks off.

    Returns:
        By name the metrics that `train_step` returns, and by "val_" + name those of `test_step`, one value an epoch.

    Raises:
        RunError: a metric became NaN or infinite.
        DataError: there is no batch.
        KeyboardInterrupt: between two calls; callbacks are not cut short.
    """
    history: dict[str, list[float]] = {}
    model.stop_training = False
    with contextlib.ExitStack() as stack:
        deliver_signals = stack.enter_context(postponed_signals())
        train = _Runner(model.train_step, strategy, deliver_signals, height)
        test = _Runner(model.test_step, strategy, deliver_signals)
        validation = test.fed(validation_batches)
        for callback in callbacks:
            if isinstance(callback, contextlib.AbstractContextManager):
                stack.enter_context(callback)
        driver = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs)
        driver.on_train_begin()
        for epoch in range(first_epoch, epochs):
            driver.on_epoch_begin(epoch)
            logs = _train_epoch(model, train, train.fed(train_batches(epoch)), epoch, driver)
            logs |= {f"val_{name}": value for name, value in _test(model, test, validation, driver).items()}
            _check_finite(logs, f"after epoch {epoch + 1}")
            for name, value in logs.items():
                history.setdefault(name, []).append(value)
            driver.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        driver.on_train_end()
    return history


def evaluate(model: keras.Model, batches: tf.data.Dataset, *, strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Run `model.test_step` over all batches and read the metrics.

    Metrics add up over steps and replicas before they divide, so that batches need not weigh the same: rows whose
    sample weight is 0 count for nothing.

    Args:
        model: compiled and built in the strategy's scope.
        batches: global batches.
        strategy: what the model was made under.

    Returns:
        By name the metrics that `test_step` returns.

    Raises:
        DataError: there is no batch.
    """
    with postponed_signals() as deliver_signals:
        test = _Runner(model.test_step, strategy, deliver_signals)
        return _test(model, test, test.fed(batches), None)


class _Runner:
    """Runs a step on all batches of a dataset, several in a call; knows how many make a call of `SECONDS_PER_CALL`."""

    def __init__(
        self,
        step: Callable[[Any], Any],
        strategy: tf.distribute.Strategy,
        deliver_signals: Callable[[], None],
        height: int = 1,
    ):
        self._strategy, self._height = strategy, height
        self._team = team_of(strategy)
        self._names: set[str] = set()
        self._run_steps = _compile(step, strategy, self._names, height)
        self._steps_per_call = 1
        self._deliver_signals = deliver_signals

    def fed(self, batches: tf.data.Dataset) -> Any:
        """Global batches as they come to the replicas, or in stacks."""
        return _distribute(batches if self._height == 1 else stacked(batches, self._height), self._strategy)

    def run(self, fed: Any, after_call: AfterCall) -> None:
        """Go on until the batches end, or `after_call` says so."""
        iterator = iter(fed)
        done = 0
        while True:
            num_steps = self._call(iterator)
            self._settle()
            done += num_steps
            if not num_steps or after_call(done):
                break
        if not done:
            raise DataError("there is no batch to run on", "lower data.batch_size, or give the split more examples")

    def read_metrics(self, model: keras.Model) -> dict[str, float]:
        """The values of the metrics that the step updates; the others of the model would show a meaningless 0."""
        return {metric.name: float(metric.result()) for metric in model.metrics if metric.name in self._names}

    def _settle(self) -> None:
        """Between two calls: end where this or another worker is told to, and agree on the length of the next one."""
        told: KeyboardInterrupt | None = None
        try:
            self._deliver_signals()
        except KeyboardInterrupt as interrupt:
            told = interrupt
        self._steps_per_call, stop = self._team.agree(self._steps_per_call, stop=told is not None)
        if stop:
            raise told or KeyboardInterrupt("another worker was told to stop")

    def _call(self, iterator: Any) -> int:
        start = time.perf_counter()
        num_steps = int(self._run_steps(iterator, tf.constant(self._steps_per_call)))
        if num_steps >= self._steps_per_call:
            seconds_per_step = (time.perf_counter() - start) / num_steps
            # At most doubled: the first call builds the graph, and a measured time may be off.
            self._steps_per_call = max(1, min(2 * num_steps, int(SECONDS_PER_CALL / seconds_per_step)))
        return num_steps


def _compile(
    step: Callable[[Any], Any], strategy: tf.distribute.Strategy, names: set[str], height: int
) -> Callable[[Any, tf.Tensor], tf.Tensor]:
    """A graph of (iterator, enough steps) that runs `step` on every replica and returns the number of steps it ran.

    A stack that was begun is finished. The keys of what `step` returns are added to `names` when the graph is built.
    """

    @tf.autograph.experimental.do_not_convert
    def run_step(batch: Any) -> None:
        names.update(step(batch))

    run_element = on_elements(lambda batch: strategy.run(run_step, args=(batch,)), height)

    @tf.function
    def run_steps(iterator: Any, enough: tf.Tensor) -> tf.Tensor:
        num_steps = tf.zeros((), tf.int32)
        while num_steps < enough:
            # Whether there is another batch is asked in the graph: an error at the end could cut a step short.
            element = iterator.get_next_as_optional()
            if not element.has_value():
                break
            num_steps += run_element(element.get_value(), height)
        return num_steps

    return run_steps


def _distribute(batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Any:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(batches.with_options(options))


def as_distributed(element_spec: Any, strategy: tf.distribute.Strategy) -> Any:
    """What a strategy makes of the element spec of global batches: among workers their size is not known beforehand."""
    if team_of(strategy).size == 1:
        return element_spec
    return tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype), element_spec)


def _train_epoch(
    model: keras.Model, train: _Runner, batches: Any, epoch: int, driver: keras.callbacks.CallbackList
) -> dict[str, float]:
    """One epoch; the metrics at its end."""
    model.reset_metrics()
    logs: dict[str, float] = {}
    driver.on_train_batch_begin(0)

    def after_call(done: int) -> bool:
        logs.update(train.read_metrics(model))
        _check_finite(logs, f"in epoch {epoch + 1}, by step {done}")
        driver.on_train_batch_end(done - 1, logs)
        return bool(model.stop_training)

    train.run(batches, after_call)
    return logs


def _test(
    model: keras.Model, test: _Runner, batches: Any, driver: keras.callbacks.CallbackList | None
) -> dict[str, float]:
    """One pass over `batches`; the metrics at its end."""
    driver = driver or keras.callbacks.CallbackList()
    model.reset_metrics()
    driver.on_test_begin()

    def after_call(done: int) -> bool:
        driver.on_test_batch_end(done - 1)
        return False

    test.run(batches, after_call)
    logs = test.read_metrics(model)
    driver.on_test_end(logs)
    return logs


def _check_finite(logs: Mapping[str, float], where: str) -> None:
    broken = [f"{name} is {value}" for name, value in logs.items() if not math.isfinite(value)]
    if broken:
        raise RunError(
            f"training diverged {where}: {', '.join(broken)}",
            "lower train.optimizer.learning_rate or the weights in losses, or set train.optimizer.global_clipnorm",
        )
