"""The step compiled by XLA: the plain step's numbers, on one replica and on two, and not one product more."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array, compiled, pixels

from tdspec.errors import GraphError
from tdspec.graph.distiller import Distiller
from tdspec.graph.programs import on_flat
from tdspec.graph.step import Batch, Step
from tdspec.graph.terms import Term
from tdspec.run.strategy import make_strategy

UNEVEN = np.array([0, 0, 0, 1, 1, 2, 1, 0.5], "float32")
STEPS = 5


def _batches() -> tf.data.Dataset:
    rows = ({"image": pixels(8 * STEPS)}, np.arange(8 * STEPS) % 10, np.tile(UNEVEN, STEPS))
    return tf.data.Dataset.from_tensor_slices(rows).batch(8, drop_remainder=True)


def _train(folder: Path, strategy: str, jit: str, **options: Any) -> tuple[dict[str, float], dict[str, Array]]:
    """Figures and variables after some steps."""
    scope = make_strategy(strategy, 2 if strategy == "mirrored" else "auto")
    with scope.scope():
        distiller = compiled(folder, options.pop("method", "talking"), **options).distiller
        distiller.compile(keras.optimizers.SGD(0.0003), jit=jit)
    distiller.prepare(_batches().element_spec, scope)

    @tf.function(autograph=False)
    def step(batch: Any) -> None:
        scope.run(lambda part: distiller.train_step(part) and None, args=(batch,))

    for batch in scope.experimental_distribute_dataset(_batches()):
        step(batch)
    figures = {metric.name: float(metric.result()) for metric in distiller.metrics}
    named = {f"{index} {variable.path}": variable.numpy() for index, variable in enumerate(distiller.variables)}
    return figures, {name: value for name, value in named.items() if "metric" not in name}


def _assert_equal(found: Any, expected: Any) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-5)
    for (name, one), two in zip(found[1].items(), expected[1].values(), strict=True):
        assert np.allclose(one, two, rtol=1e-5, atol=1e-5), name


def _file(folder: Path, name: str, dropout: float) -> dict[str, Any]:
    """A .keras file with BatchNormalization, and Dropout unless it is 0, inside what will be its middle part."""
    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(6, activation="tanh", name="first")(keras.layers.Flatten()(image))
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(keras.layers.Dense(6, name="second")(x))
    x = keras.layers.Dropout(dropout, name="drop")(x)
    x = keras.layers.Dense(5, activation="tanh", name="third")(x)
    keras.Model(image, x, name=name).save(folder / f"{name}.keras")
    return {"file": f"{name}.keras", "weights": "random"}


def _pair(folder: Path, dropout: float, iterations: int) -> dict[str, Any]:
    return {
        "teacher": _file(folder, "teacher_file", dropout),
        "student": _file(folder, "student_file", dropout),
        "teacher_cut": ("first", "third"),
        "student_cut": ("first", "third"),
        "communication": {"iterations": iterations},
    }


@pytest.mark.parametrize("iterations", [0, 2])
def test_xla_changes_no_number(tmp_path: Path, iterations: int) -> None:
    """Nor do the batch's statistics change."""
    options = _pair(tmp_path, 0.0, iterations)
    plain = _train(tmp_path, "none", "off", **options)
    _assert_equal(_train(tmp_path, "none", "on", **options), plain)
    assert any("moving_mean" in name and np.any(value) for name, value in plain[1].items())


def test_dropout_draws_anew_in_each_step(tmp_path: Path) -> None:
    """XLA draws other numbers from a seed than TensorFlow does; the seeds advance alike, so that a run can resume."""
    plain, jitted = (_train(tmp_path, "none", jit, **_pair(tmp_path, 0.5, 1)) for jit in ("off", "on"))
    seeds = [{n: v.tolist() for n, v in result[1].items() if "seed_generator" in n} for result in (plain, jitted)]
    assert seeds[0] == seeds[1] and any(seed[1] >= STEPS for seed in seeds[0].values())
    assert jitted[0]["task"] != plain[0]["task"]
    again = _train(tmp_path, "none", "on", **_pair(tmp_path, 0.5, 1))
    assert all(np.array_equal(one, two) for one, two in zip(jitted[1].values(), again[1].values(), strict=True))


def test_masks_are_drawn_by_a_fast_generator(tmp_path: Path) -> None:
    distiller = compiled(tmp_path, **_pair(tmp_path, 0.5, 1)).distiller
    assert set(re.findall(r"algorithm=(\w+)", _program(distiller))) == {"rng_philox"}


def test_two_replicas_by_xla_are_one_device(tmp_path: Path) -> None:
    """Distances that look at the whole batch do so over the replicas."""
    _assert_equal(_train(tmp_path, "mirrored", "on"), _train(tmp_path, "none", "off"))


def _with_norm(folder: Path, **train: Any) -> dict[str, Any]:
    student = _file(folder, "student_file", 0.0)
    return {"student": student, "student_cut": ("first", "third"), "train": train}


def test_statistics_over_replicas_keep_xla_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(GraphError, match="BatchNormalization sums over the replicas") as caught:
        compiled_on = compiled(tmp_path, **_with_norm(tmp_path)).distiller
        compiled_on.compile("sgd", jit="on")
        compiled_on.prepare(_batches().element_spec, make_strategy("mirrored", 2))
    assert "train.synchronize_batch_norm: false" in caught.value.hint
    with caplog.at_level("WARNING", logger="absl"):
        auto = _train(tmp_path, "mirrored", "auto", **_with_norm(tmp_path))
    assert caplog.text.count("without XLA") == 1
    _assert_equal(auto, _train(tmp_path, "mirrored", "off", **_with_norm(tmp_path)))


@pytest.mark.slow
def test_replicas_with_statistics_of_their_own(tmp_path: Path) -> None:
    own = _with_norm(tmp_path, synchronize_batch_norm=False)
    _assert_equal(_train(tmp_path, "mirrored", "on", **own), _train(tmp_path, "mirrored", "off", **own))


class Spelling(keras.layers.Layer):
    """Has an operation that XLA does not know."""

    def call(self, inputs: Any) -> Any:
        return tf.strings.to_number(tf.strings.as_string(tf.stop_gradient(inputs))) + 0.0 * inputs


def _unknown_to_xla(jit: str) -> Distiller:
    inputs = keras.Input((3,), name="x")
    student = keras.Model({"x": inputs}, keras.layers.Dense(1)(Spelling()(inputs)))
    term = Term("task", 1.0, "task", ("label",), ("student_prediction",))
    distiller = Distiller(
        {"x": inputs},
        {"student_prediction": student({"x": inputs})},
        (term,),
        task_type="regression",
        student=student,
        student_segments=None,
        teachers=(),
        codecs={},
        name="unknown",
    )
    distiller.compile(keras.optimizers.SGD(0.1), jit=jit)
    return distiller


def test_what_xla_does_not_know(caplog: pytest.LogCaptureFixture) -> None:
    data = ({"x": np.ones((4, 3), "float32")}, np.ones(4, "float32"))
    with pytest.raises(
        GraphError, match=r"train\.jit is on, but XLA cannot compile the model: it does not know AsString"
    ) as caught:
        _unknown_to_xla("on").train_step(data)
    assert "jit: off" in caught.value.hint
    with caplog.at_level("WARNING", logger="absl"):
        distiller = _unknown_to_xla("auto")
        losses = [float(distiller.train_step(data)["loss"]) for _ in range(3)]
    assert caplog.text.count("the step runs without XLA: XLA cannot compile") == 1
    assert losses[2] < losses[0]


def _with_convolution(folder: Path, layer: Any) -> dict[str, Any]:
    image = keras.Input((8, 8, 1))
    x = layer(name="first")(image)
    x = keras.layers.Dense(5, name="third")(keras.layers.Flatten(name="flat")(x))
    keras.Model(image, x, name="convolutions").save(folder / "convolutions.keras")
    backbone = {"file": "convolutions.keras", "weights": "random"}
    return {"teacher": backbone, "teacher_cut": ("first", "third"), "communication": {"iterations": 1}}


@pytest.mark.parametrize("strategy", ["none", "mirrored"])
@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (
            partial(keras.layers.DepthwiseConv2D, 3, depth_multiplier=2, strides=4),
            r"on a CPU XLA is many times slower with DepthwiseConv2dNative \(jit: on uses",
        ),
        (
            partial(keras.layers.Conv2D, 64, 7, padding="same"),
            r"\d\d% of its FLOPs are convolutions, with which XLA is no faster on a CPU, or slower \(jit: on uses",
        ),
    ],
)
def test_where_xla_is_slow_it_is_not_used_unless_it_has_to(
    layer: Any, expected: str, tmp_path: Path, strategy: str, caplog: pytest.LogCaptureFixture
) -> None:
    scope = make_strategy(strategy, 2 if strategy == "mirrored" else "auto")
    used = {}
    for jit in ("auto", "on"):
        with scope.scope(), caplog.at_level("WARNING", logger="absl"):
            distiller = compiled(tmp_path, **_with_convolution(tmp_path, layer)).distiller
            distiller.compile("sgd", jit=jit)
            used[jit] = distiller.prepare(_batches().element_spec, scope)
    assert [used[jit].compiles for jit in used] == [False, True]
    assert re.search(expected, used["auto"].why_not) and used["on"].why_not == ""
    assert len(re.findall(f"the step runs without XLA: {expected}", caplog.text)) == 1


def test_a_loop_of_ones_own_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    distiller = compiled(tmp_path, "talking").distiller
    distiller.compile("sgd", jit="on")
    # with AutoGraph, which converts what it can and warns of what it cannot
    tf.function(distiller.train_step)(next(iter(_batches())))
    assert caplog.text == ""


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="jit is 'yes', expected one of auto, on, off"):
        _unknown_to_xla("yes")


def test_keras_fit_by_xla(tmp_path: Path) -> None:
    """Batches whose size the graph does not know, the last one smaller."""
    logs = []
    for jit in ("off", "on"):
        distiller = compiled(tmp_path).distiller
        distiller.compile(keras.optimizers.SGD(0.0003), jit=jit)
        history = distiller.fit({"image": pixels(20)}, np.arange(20) % 10, batch_size=8, shuffle=False, verbose=0)
        logs.append({name: values[-1] for name, values in history.history.items()})
    assert logs[1] == pytest.approx(logs[0], rel=1e-5)


def _program(distiller: Distiller) -> str:
    """A step as XLA reads it, after dropping what nobody needs."""
    distiller.compile("sgd")
    batch = Batch({"image": tf.constant(pixels())}, tf.constant(np.arange(8)), tf.ones(8))
    program = on_flat(Step(distiller, "on")._plain, (batch,))
    return str(program.experimental_get_compiler_ir(*tf.nest.flatten(batch))(stage="hlo"))


def _products(distiller: Distiller) -> int:
    """Matrix products of a step."""
    return len(re.findall(r" dot\(", _program(distiller)))


@pytest.mark.parametrize(
    ("method", "losses", "iterations", "expected"),
    [
        # student 3 forward, 3 for its kernels, 2 for its states
        ("scratch", {}, 0, 8),
        # and 4 of the teacher forward, none backward
        ("logit", {}, 0, 12),
        # of the teacher 3; the two messages 2, their kernels 2, the student's states behind its message 1
        ("feature", {}, 0, 16),
        # a question 1, heard 1, interpreted 2, answered 1, heard 2: and as many for their states; 5 kernels;
        # of the teacher nothing on the data
        ("talking", {"message_consistency": 0.0, "state_consistency": 0.0}, 1, 27),
    ],
)
def test_nothing_is_computed_that_no_term_needs(
    tmp_path: Path, method: str, losses: dict[str, Any], iterations: int, expected: int
) -> None:
    communication = {"message": {"dim": 4}, "encoder": {"type": "linear"}, "iterations": iterations}
    distiller = compiled(tmp_path, method, losses=losses, communication=communication).distiller
    assert _products(distiller) == expected


def test_two_halves_have_the_products_of_the_whole(tmp_path: Path) -> None:
    """TensorFlow's gradient of the forward program would have those of the teacher's kernels, too."""
    distiller = compiled(tmp_path).distiller
    whole = _products(distiller)
    distiller.compile("sgd", jit="on")
    strategy = make_strategy("mirrored", 2)
    batch = Batch({"image": tf.constant(pixels())}, tf.constant(np.arange(8)), tf.ones(8))
    halves: Any = Step(distiller, "on").prepare(batch, strategy)
    programs = [half.experimental_get_compiler_ir(*half.input_signature) for half in (halves.forward, halves.backward)]
    texts = [str(program(stage="hlo")) for program in programs]
    assert sum(len(re.findall(r" dot\(", text)) for text in texts) == whole
