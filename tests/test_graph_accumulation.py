"""Micro-batches: the weights and every figure are those of the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array, compiled, pixels, slow_but

from tdspec.errors import GraphError
from tdspec.graph.programs import on_flat
from tdspec.graph.step import Step
from tdspec.run.strategy import make_strategy

UNEVEN = np.array([0, 0, 0, 1, 1, 2, 1, 0.5], "float32")
STEPS = 3
Result = tuple[dict[str, float], dict[str, Array]]


def _train(
    folder: Path,
    accumulate_steps: int,
    *,
    strategy: str = "none",
    jit: str = "off",
    weighted: bool = True,
    learning_rate: float = 0.003,
    **more: Any,
) -> Result:
    """Figures and variables after some steps on batches of 8."""
    scope = make_strategy(strategy, 2 if strategy == "mirrored" else "auto")
    with scope.scope():
        distiller = compiled(folder, **more).distiller
        distiller.compile(keras.optimizers.AdamW(learning_rate), jit=jit, accumulate_steps=accumulate_steps)
    weights = np.tile(UNEVEN, STEPS) if weighted else np.ones(8 * STEPS, "float32")
    rows = ({"image": pixels(8 * STEPS)}, np.arange(8 * STEPS) % 10, weights)
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(8, drop_remainder=True)

    @tf.function(autograph=False)
    def step(batch: Any) -> None:
        scope.run(lambda part: distiller.train_step(part) and None, args=(batch,))

    for batch in scope.experimental_distribute_dataset(batches):
        step(batch)
    figures = {metric.name: float(metric.result()) for metric in distiller.metrics}
    # model by model, since the Distiller's own order is another one with rematerialisation
    models = [
        distiller.student,
        *(part for codec in distiller.codecs.values() for part in (codec.encode, codec.decode)),
    ]
    variables = [variable for model in models for variable in model.variables]
    return figures, {f"{index} {variable.path}": variable.numpy() for index, variable in enumerate(variables)}


def _assert_equal(found: Result, expected: Result, tolerance: float = 1e-5) -> None:
    assert found[0] == pytest.approx(expected[0], rel=tolerance, abs=tolerance)
    for (name, one), two in zip(found[1].items(), expected[1].values(), strict=True):
        assert np.allclose(one, two, rtol=tolerance, atol=tolerance), name


SLOW_ON = pytest.param("on", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("jit", "weighted"),
    [
        ("off", True),
        pytest.param("off", False, marks=pytest.mark.slow),
        ("on", True),
        pytest.param("on", False, marks=pytest.mark.slow),
    ],
)
def test_talking_is_that_of_the_whole_batch(tmp_path: Path, jit: str, weighted: bool) -> None:
    """Its default distance, relative_l2, looks across the batch."""
    options: dict[str, Any] = {"weighted": weighted, "communication": {"iterations": 2}}
    whole = _train(tmp_path, 1, **options)
    _assert_equal(_train(tmp_path, 4, jit=jit, **options), whole)


@pytest.mark.parametrize("jit", ["off", SLOW_ON])
def test_on_two_replicas(tmp_path: Path, jit: str) -> None:
    _assert_equal(_train(tmp_path, 2, strategy="mirrored", jit=jit), _train(tmp_path, 1))


@pytest.mark.parametrize("method", slow_but(("dist",), ["dist", "relational", "scratch"]))
def test_other_terms_that_look_across_the_batch(tmp_path: Path, method: str) -> None:
    _assert_equal(_train(tmp_path, 2, method=method), _train(tmp_path, 1, method=method))


def _with_norm(folder: Path, dropout: float, **train: Any) -> dict[str, Any]:
    """A student with BatchNormalization, and Dropout unless it is 0, inside its middle part."""
    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(6, activation="tanh", name="first")(keras.layers.Flatten()(image))
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(keras.layers.Dense(6, name="second")(x))
    x = keras.layers.Dropout(dropout, name="drop")(x)
    x = keras.layers.Dense(5, activation="tanh", name="third")(x)
    keras.Model(image, x).save(folder / "student_file.keras")
    student = {"file": "student_file.keras", "weights": "random"}
    return {"student": student, "student_cut": ("second", "third"), "train": train}


def _statistics(result: Result) -> list[Array]:
    return [value for name, value in result[1].items() if "moving" in name]


@pytest.mark.parametrize(
    ("strategy", "jit"), [("none", "off"), ("mirrored", "off"), pytest.param("none", "on", marks=pytest.mark.slow)]
)
def test_batch_statistics_are_those_of_micro_batches(tmp_path: Path, strategy: str, jit: str) -> None:
    """Updated once for each of them, as if it were a batch; here nothing else changes."""
    norm = _with_norm(tmp_path, 0.0)
    inputs = compiled(tmp_path, **norm).distiller({"image": pixels(8 * STEPS)})["student_low"].numpy()
    # with two replicas and two micro-batches, the first one has the first two examples of each replica
    order = [0, 1, 2, 3, 4, 5, 6, 7] if strategy == "none" else [0, 1, 4, 5, 2, 3, 6, 7]
    mean, variance = np.zeros(6), np.ones(6)
    for batch in inputs.reshape(STEPS, 8, 6):
        for part in batch[order].reshape(2, 4, 6):
            mean, variance = 0.5 * mean + 0.5 * part.mean(0), 0.5 * variance + 0.5 * part.var(0)
    found = _train(tmp_path, 2, strategy=strategy, jit=jit, learning_rate=1e-9, **norm)
    for name, expected in (("moving_mean", mean), ("moving_variance", variance)):
        (statistic,) = (value for path, value in found[1].items() if name in path)
        assert np.allclose(statistic, expected, rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize("jit", [False, True])
def test_dropout_draws_the_same_in_both_passes(tmp_path: Path, jit: bool) -> None:
    """The prediction is W h + b: W times its gradient is W h, if h in the second pass is that of the first."""
    distiller = compiled(tmp_path, "scratch", **_with_norm(tmp_path, 0.5)).distiller
    distiller.compile("sgd")
    step = Step(distiller, "off", 4)
    trained = [tf.convert_to_tensor(variable.value) for variable in distiller.trained_variables]
    others = [tf.convert_to_tensor(variable.value) for variable in step._others]
    names = [variable.path for variable in distiller.trained_variables]
    kernel, bias = (names.index(f"prediction/{name}") for name in ("kernel", "bias"))

    def found(image: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(trained)
            tensors, state = step._forward(trained, others, {"image": image})
            total = tf.reduce_sum(tensors["student_prediction"])
        gradients = tape.gradient(total, trained)
        return tensors["student_prediction"], gradients[kernel], state

    image = tf.constant(pixels())
    prediction, gradient, state = (on_flat(found, (image,)) if jit else found)(image)
    expected = np.sum(prediction - trained[bias])
    assert np.sum(trained[kernel] * gradient) == pytest.approx(expected, rel=1e-5)
    assert len({tuple(np.round(row, 5)) for row in prediction.numpy()}) == 8
    assert any(value.dtype != "float32" and value[1] == 4 for value in state), "one draw for each micro-batch"


def test_a_batch_that_does_not_divide(tmp_path: Path) -> None:
    distiller = compiled(tmp_path, "scratch").distiller
    distiller.compile("sgd", accumulate_steps=3)
    with pytest.raises(GraphError, match="a batch of 8 examples on a replica does not divide into 3 micro-batches"):
        distiller.train_step(({"image": pixels()}, np.arange(8)))


def test_keras_fit(tmp_path: Path) -> None:
    """Batches whose size the graph does not know."""
    logs = []
    for count in (1, 4):
        distiller = compiled(tmp_path).distiller
        distiller.compile(keras.optimizers.SGD(0.0003), jit="off", accumulate_steps=count)
        history = distiller.fit({"image": pixels(20)}, np.arange(20) % 10, batch_size=8, shuffle=False, verbose=0)
        logs.append({name: values[-1] for name, values in history.history.items()})
    assert logs[1] == pytest.approx(logs[0], rel=1e-5)


@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_with_rematerialisation(tmp_path: Path, precision: str) -> None:
    """A second forward pass within which there is another one."""
    plain: dict[str, Any] = {"communication": {"iterations": 2}, "train": {"precision": precision}}
    both = {**plain, "train": {"precision": precision, "remat": "iterations"}}
    expected, found = _train(tmp_path, 1, **plain), _train(tmp_path, 2, **both)
    _assert_equal(found, expected, 1e-5 if precision == "float32" else 2e-2)
