"""Several steps as one program: the numbers of steps one by one, whatever the last stack lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array, compiled, mlp, pixels, vit
from loop_support import BATCH, Spy, fit, make_arrays, make_batches, make_model
from run_support import TEACHER, call, write_spec

from tdspec.graph.step import Xla
from tdspec.run import loop
from tdspec.run.stacks import HEIGHT, on_elements, stacked
from tdspec.run.strategy import make_strategy

DEFAULT = make_strategy("none", "auto")


def test_stacks_hold_the_batches_in_their_order_and_zeros_at_the_end() -> None:
    x, y, weight = make_arrays(5 * BATCH, seed=1)
    stacks = stacked(make_batches(5 * BATCH, seed=1), 3)
    assert stacks.element_spec[0][0].shape == (3, BATCH, x.shape[1])
    found = list(stacks.as_numpy_iterator())
    assert [count for _, count in found] == [3, 2]
    for kind, expected in enumerate((x, y, weight)):
        rows = np.concatenate([batches[kind] for batches, _ in found])
        assert rows.dtype == expected.dtype
        assert np.array_equal(rows[:5].reshape(expected.shape), expected) and not rows[5].any()


def test_stacks_keep_their_batches_from_being_tuned() -> None:
    batches = make_batches(5 * BATCH, seed=1)
    options = tf.data.Options()
    options.autotune.enabled = False
    assert stacked(batches.with_options(options), 2).options().autotune.enabled is False


@pytest.mark.parametrize("most", [2, 9])
def test_no_more_steps_than_there_are_or_are_asked_for(most: int) -> None:
    total = tf.Variable(0.0)
    run = on_elements(lambda batch: total.assign_add(tf.reduce_sum(batch[0])), 3)
    batches = tf.data.Dataset.from_tensor_slices(([[1.0], [10.0]], [[0.0], [0.0]]))
    element = next(iter(stacked(batches, 3)))
    assert int(run(element, most)) == 2 and float(total) == 11.0
    assert int(run(element, 1)) == 1 and float(total) == 12.0


@pytest.mark.parametrize("height", [2, HEIGHT])
def test_the_loop_gives_the_weights_and_figures_of_single_steps(height: int) -> None:
    """5 batches an epoch, so that the last stack is short; the schedule goes on."""
    results = []
    for each in (1, height):
        model = make_model(DEFAULT)
        spy = Spy()
        history = fit(model, DEFAULT, height=each, callbacks=[spy])
        results.append((history, {name: item.numpy() for name, item in model.state().items()}, spy))
    (history, state, spy), (other_history, other_state, other_spy) = results
    assert {name: pytest.approx(values, rel=1e-5) for name, values in history.items()} == other_history
    for name, value in state.items():
        np.testing.assert_allclose(other_state[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    for one in (spy, other_spy):
        ends = [index for kind, index in one.events if kind == "batch end"]
        assert ends.count(4) == 4 and max(ends) == 4, "the last call of an epoch ends with its fifth batch"


def _batches(count: int) -> tf.data.Dataset:
    rows = ({"image": pixels(8 * count)}, np.arange(8 * count) % 10, np.ones(8 * count, "float32"))
    return tf.data.Dataset.from_tensor_slices(rows).batch(8, drop_remainder=True)


def _distilled(folder: Path, height: int, accumulate_steps: int) -> tuple[dict[str, Any], list[Array]]:
    """History and weights of two epochs of a stack and two batches more."""
    distiller = compiled(folder, student=mlp(6, 5, dropout=0.3)).distiller
    distiller.compile(keras.optimizers.Adam(0.01), jit="on", accumulate_steps=accumulate_steps)
    batches = _batches(HEIGHT + 2)
    distiller.prepare(batches.element_spec, DEFAULT)
    history = loop.fit(
        distiller,
        strategy=DEFAULT,
        train_batches=lambda epoch: batches,
        validation_batches=batches,
        epochs=2,
        height=height,
    )
    return history, [variable.numpy() for variable in (*distiller.variables, *distiller.optimizer.variables)]


@pytest.mark.parametrize("accumulate_steps", [1, 2])
def test_a_distillation_in_stacks_is_one_in_single_steps(tmp_path: Path, accumulate_steps: int) -> None:
    """Both by XLA, which draws the same dropout in a loop; its seeds go on."""
    history, weights = _distilled(tmp_path, 1, accumulate_steps)
    stacked_history, stacked_weights = _distilled(tmp_path, HEIGHT, accumulate_steps)
    assert stacked_history == {name: pytest.approx(values, rel=1e-5) for name, values in history.items()}
    for one, two in zip(weights, stacked_weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def _found(folder: Path, spec: Any = None, jit: str = "on", strategy: str = "none", **sections: Any) -> Xla:
    scope = make_strategy(strategy, 2 if strategy == "mirrored" else "auto")
    with scope.scope():
        distiller = compiled(folder, **sections).distiller
        distiller.compile("sgd", jit=jit)
    return distiller.prepare(spec or _batches(2).element_spec, scope)


def test_short_steps_without_convolutions_repeat(tmp_path: Path) -> None:
    assert _found(tmp_path) == Xla(True, repeats=True)
    assert _found(tmp_path, student=vit()) == Xla(True), "its patches are a convolution's"
    assert _found(tmp_path, jit="off") == Xla(False)
    assert _found(tmp_path, strategy="mirrored") == Xla(True), "a replica's step is not one program"
    unknown = tf.nest.map_structure(
        lambda spec: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype), _batches(2).element_spec
    )
    assert _found(tmp_path, unknown) == Xla(True), "what has no size cannot be stacked"


def test_long_steps_do_not_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdspec.graph.step.SHORT", 1)
    assert _found(tmp_path) == Xla(True)


def test_a_run_takes_its_steps_in_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Where XLA compiles it, and only there; the record of both has the same figures."""
    heights = []
    plain = loop.stacked
    monkeypatch.setattr(loop, "stacked", lambda batches, height: heights.append(height) or plain(batches, height))
    figures = []
    for jit in ("on", "off"):
        path = write_spec(tmp_path / f"{jit}.yaml", TEACHER, name=jit, train={"jit": jit})
        ended = call(capfd, "train", str(path), "--runs", str(tmp_path / "runs"))
        assert ended.code == 0, ended
        figures.append(json.loads((Path(ended.last_line) / "run.json").read_text())["metrics"]["test"])
    assert heights == [HEIGHT, HEIGHT], "one an epoch, of the first run"
    assert figures[0] == pytest.approx(figures[1], rel=1e-4)
