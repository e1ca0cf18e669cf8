"""The step: which variables each term trains, what mode each model runs in, what evaluating leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import SMALL_IMAGE, Array, compiled, mlp, only, pixels, relative_l2, write

from tdspec.graph.distances import relative_l2 as keras_relative_l2
from tdspec.graph.distiller import Distiller

LABEL = np.arange(8)
MODEL = {"student_lower", "student_middle"}
HEARS = {"student_hears", "student_hears_low", "student_hears_high"}
ASKED = {"teacher_hears", "teacher_hears_low"}
MLP = {"type": "mlp", "hidden_dim": 8}  # its decoder has a layer that both halves share


def _parts(distiller: Distiller) -> dict[str, list[Any]]:
    """What can be trained, by the parts of the equations: segments of the student, E, and each half of D."""
    segments, parts = distiller.student_segments, {}
    whole = {id(variable): variable for variable in distiller.student.trainable_variables}
    if segments is None:
        return {"student": list(whole.values())}
    for name in ("lower", "middle", "upper"):
        parts[f"student_{name}"] = getattr(segments, name).trainable_variables
    for side, codec in (("student", distiller.student_codec), ("teacher", distiller.teacher_codec)):
        if codec is not None:
            parts[f"{side}_encoder"] = codec.encode.trainable_variables
            parts[f"{side}_hears"] = codec.decode.get_layer("hidden").trainable_variables
            for half in {layer.name for layer in codec.decode.layers} & {"low", "high"}:
                parts[f"{side}_hears_{half}"] = codec.decode.get_layer(half).trainable_variables
    return parts


def _trained_by(distiller: Distiller) -> set[str]:
    """The parts that a gradient of the objective reaches."""
    with tf.GradientTape() as tape:
        tensors = distiller({"image": pixels()}, training=True)
        values = distiller.term_values(tensors, LABEL, np.ones(8, "float32"))
        total = sum(tf.reduce_mean(value) for value in values.values())
    variables = distiller.trained_variables
    gradients = tape.gradient(total, [variable.value for variable in variables])
    moved = {id(v) for v, g in zip(variables, gradients, strict=True) if g is not None and np.any(np.asarray(g) != 0)}
    parts = _parts(distiller)
    assert moved <= {id(variable) for variables in parts.values() for variable in variables}
    return {name for name, variables in parts.items() if any(id(variable) in moved for variable in variables)}


CODECS = {"student_encoder", "teacher_encoder"}
STATE_TERMS: list[tuple[str, str, int, set[str]]] = [
    ("hybrid", "feature", 1, {*MODEL, *CODECS}),
    ("fitnet", "fitnet", 1, {*MODEL, *HEARS}),
    ("talking", "message_consistency", 1, {*MODEL, *CODECS}),
    ("talking", "state_consistency", 1, {*MODEL, *CODECS, *HEARS, *ASKED, "teacher_hears_high"}),
    ("talking", "interaction", 1, {*MODEL, *CODECS, *HEARS, *ASKED}),
    ("talking", "interaction", 3, {*MODEL, *CODECS, *HEARS, *ASKED}),
    # the teacher reads, and does not answer
    ("talking", "interpretation", 1, {*MODEL, "student_encoder", *ASKED}),
    ("talking", "interpretation", 2, {*MODEL, *CODECS, *ASKED, "student_hears", "student_hears_low"}),
    ("one_way_control", "interpretation", 1, {"teacher_encoder", *ASKED}),
    # the teacher listens to itself: the student is the target only, and its encoder is never asked
    ("one_way_control", "interaction", 1, {*MODEL, "teacher_encoder", *HEARS, *ASKED}),
    ("one_way_control", "interaction", 3, {*MODEL, "teacher_encoder", *HEARS, *ASKED}),
]


@pytest.mark.parametrize(("method", "term", "iterations", "expected"), STATE_TERMS)
@pytest.mark.parametrize("distance", ["l2", "relative_l2"])
def test_each_term_of_states_trains_what_it_should(
    tmp_path: Path, method: str, term: str, iterations: int, expected: set[str], distance: str
) -> None:
    communication = {"message": {"dim": 6}, "encoder": MLP, "iterations": iterations}
    losses = only(method, term, distance=distance)
    distiller = compiled(tmp_path, method, losses=losses, communication=communication).distiller
    assert _trained_by(distiller) == expected


@pytest.mark.parametrize("distance", ["kl", "l2"])
def test_predictions_train_the_whole_student(tmp_path: Path, distance: str) -> None:
    losses = only("hybrid", "logit", distance=distance)
    distiller = compiled(tmp_path, "hybrid", losses=losses, communication={"encoder": MLP}).distiller
    assert _trained_by(distiller) == {*MODEL, "student_upper"}
    assert _trained_by(compiled(tmp_path, "scratch").distiller) == {"student"}


@pytest.mark.parametrize("method", ["logit", "feature", "fitnet", "hybrid", "talking", "one_way_control"])
def test_no_gradient_reaches_the_teacher(tmp_path: Path, method: str) -> None:
    """Not because it is left out of a list only: on the data its states are constants, even for a tape that watches."""
    distiller = compiled(tmp_path, method, communication={"iterations": 2}).distiller
    assert distiller.teacher is not None
    variables = distiller.teacher.variables
    assert variables and not {id(v) for v in variables} & {id(v) for v in distiller.trained_variables}
    assert not distiller.teacher.trainable_variables
    before = [variable.numpy() for variable in variables]
    distiller.compile(keras.optimizers.Adam(0.1))
    for _ in range(2):
        distiller.train_step(({"image": pixels()}, LABEL))
    assert all(np.array_equal(old, variable) for old, variable in zip(before, variables, strict=True))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([variable.value for variable in variables])
        tensors = distiller({"image": pixels()}, training=True)
        names = ("teacher_low", "teacher_high", "teacher_prediction")
        on_the_data = [tf.reduce_sum(tensors[name]) for name in names if name in tensors]
    if on_the_data:
        assert tape.gradient(on_the_data, [v.value for v in variables]) == [None] * len(variables)


def test_the_gradient_of_relative_l2_flows_through_the_variance() -> None:
    random = np.random.default_rng(0)
    target, prediction = random.normal(size=(6, 3)), random.normal(size=(6, 3))
    tensors = tf.constant(target, "float32"), tf.constant(prediction, "float32")
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = tf.reduce_mean(keras_relative_l2(*tensors))
    for found, which in zip(tape.gradient(total, tensors), (0, 1), strict=True):
        assert np.allclose(found, _numeric_gradient(relative_l2, [target, prediction], which), atol=2e-5)


def _numeric_gradient(function: Callable[..., float], arguments: list[Array], which: int, step: float = 1e-6) -> Array:
    result = np.zeros_like(arguments[which])
    for index in np.ndindex(*result.shape):
        up, down = ([argument.copy() for argument in arguments] for _ in range(2))
        up[which][index] += step
        down[which][index] -= step
        result[index] = (function(*up) - function(*down)) / (2 * step)
    return result


def _lively(path: Path, name: str, *, momentum: float = 0.9) -> dict[str, Any]:
    """A .keras file with BatchNormalization and Dropout inside what will be its middle part."""
    image = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(image)
    x = keras.layers.Dense(6, activation="tanh", name="first")(x)
    x = keras.layers.Dense(6, name="second")(x)
    x = keras.layers.BatchNormalization(momentum=momentum, name="norm")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    x = keras.layers.Dense(5, activation="tanh", name="third")(x)
    model = keras.Model(image, x, name=name)
    model.get_layer("norm").set_weights([np.full(6, 0.3), np.full(6, -0.1), np.full(6, 0.4), np.full(6, 0.7)])
    model.save(path / f"{name}.keras")
    return {"file": f"{name}.keras", "weights": "random"}


def _lively_pair(folder: Path, iterations: int) -> Distiller:
    return compiled(
        folder,
        teacher=_lively(folder, "teacher_file"),
        student=_lively(folder, "student_file"),
        teacher_cut=("first", "third"),
        student_cut=("first", "third"),
        communication={"iterations": iterations},
    ).distiller


def _norm(model: keras.Model) -> Any:
    return next(layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization))


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_modes_in_a_step(tmp_path: Path, iterations: int) -> None:
    """The teacher infers; the student's BatchNormalization learns from the data, and from nothing else."""
    distiller = _lively_pair(tmp_path, iterations)
    teacher, student = distiller.teacher, distiller.student
    segments, own = distiller.teacher_segments, distiller.student_segments
    assert teacher is not None and segments is not None and own is not None
    frozen = [variable.numpy() for variable in teacher.variables]
    norm, first, second = _norm(student), own.lower.get_layer("first"), own.middle.get_layer("second")
    moving = [norm.moving_mean.numpy(), norm.moving_variance.numpy()]
    kernel, bias = (np.asarray(weight) for weight in first.get_weights())
    hidden = np.tanh(pixels().reshape(8, -1) / 255.0 @ kernel + bias)
    kernel, bias = (np.asarray(weight) for weight in second.get_weights())
    reach = hidden @ kernel + bias
    distiller.compile(keras.optimizers.SGD(0.01))
    distiller.train_step(({"image": pixels()}, LABEL))
    assert np.allclose(norm.moving_mean, 0.9 * moving[0] + 0.1 * reach.mean(axis=0), atol=1e-5)
    assert np.allclose(norm.moving_variance, 0.9 * moving[1] + 0.1 * reach.var(axis=0), atol=1e-5)
    assert all(np.array_equal(old, variable) for old, variable in zip(frozen, teacher.variables, strict=True))
    tensors = distiller({"image": pixels()}, training=True)
    low = segments.lower({"image": pixels()}, training=False)
    high = segments.middle([low], training=False)
    # its BatchNormalizations are folded, which changes the last digits
    for name, expected in (("teacher_low", low), ("teacher_high", high)):
        assert np.allclose(tensors[name], expected, rtol=1e-5, atol=1e-5)


def test_only_the_pass_on_the_data_drops(tmp_path: Path) -> None:
    """A second question comes from what was heard by the middle part in inference; the data go through with dropout."""
    distiller = _lively_pair(tmp_path, 2)
    tensors = distiller({"image": pixels()}, training=True)
    ours, theirs = distiller.student_segments, distiller.teacher_segments
    mine, other = distiller.student_codec, distiller.teacher_codec
    assert ours and theirs and mine and other
    assert not np.allclose(tensors["student_high"], ours.middle([tensors["student_low"]], training=False))
    heard = tensors["student_low_1"]
    question = mine.encode([heard, ours.middle([heard], training=False)])
    low = other.decode(question)[0]
    answer = other.encode([low, theirs.middle([low], training=False)])
    for name, expected in zip(("student_low_2", "student_high_2"), mine.decode(answer), strict=True):
        assert np.allclose(tensors[name], expected, atol=1e-5)


def test_a_teacher_that_only_predicts_infers_too(tmp_path: Path) -> None:
    own = {"backbone": mlp(7, 6, 5, dropout=0.5), "input": SMALL_IMAGE}
    write(tmp_path, "dropping", {"method": "scratch", "student": own})
    distiller = compiled(tmp_path, "logit", teacher={"spec": "dropping.yaml"}).distiller
    assert distiller.teacher is not None
    found = distiller({"image": pixels()}, training=True)["teacher_prediction"]
    assert np.array_equal(found, distiller.teacher({"image": pixels()}, training=False))
    assert not np.allclose(found, distiller.teacher({"image": pixels()}, training=True))


def test_evaluate_and_predict_run_the_student_alone_and_change_nothing(tmp_path: Path) -> None:
    distiller = _lively_pair(tmp_path, 1)
    distiller.compile("adam")
    assert distiller.teacher is not None and distiller.teacher_codec is not None
    for variable in (*distiller.teacher.variables, *distiller.teacher_codec.encode.variables):
        variable.assign(np.full(variable.shape, np.nan))
    before = [variable.numpy() for variable in distiller.variables]
    images = {"image": pixels(11)}
    figures = distiller.evaluate(images, np.arange(11) % 10, batch_size=4, verbose=0, return_dict=True)
    prediction = distiller.predict(images, batch_size=4, verbose=0)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, distiller.variables, strict=True))
    expected = np.asarray(distiller.student(images, training=False), "float64")
    assert np.allclose(prediction, expected, atol=1e-6)
    log_q = expected - np.log(np.exp(expected).sum(axis=1, keepdims=True))
    assert figures == pytest.approx(
        {
            "task": -log_q[range(11), np.arange(11) % 10].mean(),
            "accuracy": np.mean(expected.argmax(axis=1) == np.arange(11) % 10),
        },
        abs=1e-5,
    )


def test_fit_logs_every_term_by_its_name(tmp_path: Path) -> None:
    distiller = compiled(tmp_path).distiller
    distiller.compile(keras.optimizers.SGD(0.0))
    weight = np.array([0, 1, 2, 0.5, 0, 3, 1, 1], "float32")
    data = {"image": pixels()}
    log = distiller.fit(
        data, LABEL, sample_weight=weight, batch_size=8, epochs=2, verbose=0, validation_data=(data, LABEL)
    ).history
    terms = ("loss", "task", "interaction", "message_consistency", "state_consistency")
    assert set(log) == {*terms, "accuracy", "val_task", "val_accuracy"}
    values = distiller.term_values(distiller(data), LABEL, np.ones(8, "float32"))
    means = {name: float(np.mean(value)) for name, value in values.items()}
    means["task"] = float(np.sum(weight * values["task"]) / weight.sum())
    for name, mean in means.items():
        assert log[name] == pytest.approx([mean, mean], rel=1e-5), name
    weights = {term.name: term.weight for term in distiller.terms}
    assert log["loss"][0] == pytest.approx(sum(weights[name] * means[name] for name in means), rel=1e-5)
    assert log["val_task"][0] == pytest.approx(float(np.mean(values["task"])), rel=1e-5)


def test_labels_and_weights_in_a_column_are_the_same(tmp_path: Path) -> None:
    weight = np.linspace(0, 1, 8).astype("float32")

    def log(*data: Any) -> dict[str, float]:
        distiller = compiled(tmp_path, "scratch").distiller
        distiller.compile(keras.optimizers.SGD(0.1))
        return {name: float(value) for name, value in distiller.train_step(({"image": pixels()}, *data)).items()}

    assert log(LABEL[:, None], weight[:, None]) == log(LABEL, weight)


def test_a_batch_without_any_label_has_no_task(tmp_path: Path) -> None:
    distiller = compiled(tmp_path).distiller
    distiller.compile("adam")
    log = distiller.train_step(({"image": pixels()}, np.full(8, -1), np.zeros(8, "float32")))
    assert float(log["task"]) == 0 and np.isfinite(float(log["loss"])) and float(log["interaction"]) > 0


def test_a_task_of_weight_0_is_not_logged(tmp_path: Path) -> None:
    distiller = compiled(tmp_path, losses={"task": 0.0}).distiller
    distiller.compile("adam")
    log = distiller.fit({"image": pixels()}, LABEL, verbose=0, validation_data=({"image": pixels()}, LABEL)).history
    assert "task" not in log and log["val_task"][0] > 0
    assert log["loss"][0] > 0
