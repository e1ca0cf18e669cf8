"""From a spec to everything a run needs: weights, data, optimizer, names of the state."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from run_support import STUDENT, TEACHER, Trained, write_pair, write_spec

import tdspec
from tdspec.errors import SpecError, WeightsError
from tdspec.graph.weights import weights_sha256
from tdspec.run.prepare import (
    compile_optimizer,
    compile_with_weights,
    compile_without_weights,
    input_columns,
    open_data,
    state_of,
)
from tdspec.run.strategy import make_strategy
from tdspec.spec.checks import TERMS
from tdspec.spec.load import load


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """small.yaml with its teacher beside it."""
    return write_pair(tmp_path)


def random_teacher(folder: Path) -> Path:
    """A spec whose teacher has random weights, and a prediction that any method can compare."""
    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(9, activation="relu")(keras.layers.Flatten()(image))
    keras.Model(image, keras.layers.Dense(10)(keras.layers.Dense(7, activation="relu")(x))).save(folder / "t.keras")
    teacher = {
        "backbone": {"file": "t.keras"},
        "input": {"size": [8, 8], "channels": 1},
        "head": "own",
        "cut": {"low": 1, "high": 2},
    }
    return write_spec(folder / "random.yaml", {**STUDENT, "teacher": teacher})


def test_every_method_starts_from_the_same_student(tmp_path: Path) -> None:
    spec = random_teacher(tmp_path)
    students = {}
    for method in TERMS.keys() - {"attention"}:  # which compares positions, of which a vector has none
        compiled = compile_with_weights(load(spec, [f"method={method}"]), {})
        students[method] = weights_sha256(compiled.distiller.student)
        assert (compiled.teacher is None) == (method == "scratch")
    assert set(TERMS) >= {"scratch", "logit", "feature", "fitnet", "hybrid", "talking"}
    assert len(set(students.values())) == 1
    other = compile_with_weights(load(spec, ["method=scratch", "seed=1"]), {})
    assert weights_sha256(other.distiller.student) not in students.values()


@pytest.mark.parametrize("broken", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, broken: float) -> None:
    """In the first layer, behind which a relu makes 0 of them on some processors."""
    spec = random_teacher(tmp_path)
    teacher = keras.models.load_model(tmp_path / "t.keras")
    kernel = teacher.layers[2].kernel
    kernel.assign(np.where(np.arange(9) == 4, broken, kernel.numpy()))
    teacher.save(tmp_path / "t.keras")
    with pytest.raises(WeightsError, match=r"the teacher's weight 'dense(_\d+)?/kernel' is not finite"):
        compile_with_weights(load(spec), {})


def test_the_teacher_is_the_student_of_its_run(trained: Trained) -> None:
    (run,) = (trained.folder / "runs/teacher").iterdir()
    file = run / "student.keras"
    compiled = compile_with_weights(load(trained.folder / "small.yaml"), {"teacher": file})
    assert compiled.teacher is not None
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    expected = keras.models.load_model(file).predict({"image": images}, verbose=0)
    found = compiled.teacher.whole.model.predict({"image": images}, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert compiled.teacher.whole.model.trainable_variables == []
    with pytest.raises(WeightsError, match="no weight file"):
        compile_with_weights(load(trained.folder / "small.yaml"), {"teacher": run / "none.keras"})


def test_micro_batches_on_the_replicas_of_this_machine(tmp_path: Path) -> None:
    """`replicas: auto` is two halves of this CPU, which no check of the spec can know."""
    spec = write_spec(tmp_path / "spec.yaml", TEACHER, data={"source": "digits", "batch_size": 12})
    document = load(spec, ["train.strategy=mirrored", "train.accumulate_steps=4"])
    with make_strategy("mirrored", "auto").scope():
        compiled = compile_with_weights(document, {})
        with pytest.raises(
            SpecError, match=r"data\.batch_size: found 12, expected a multiple of 8: 2 replicas times 4"
        ):
            compile_optimizer(compiled, schedule="constant", total_steps=1)


def test_what_the_source_does_not_have_is_told_at_its_place(tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "spec.yaml", TEACHER, data={"source": "tfds", "name": "no_such_data"})
    line = next(n for n, text in enumerate(spec.read_text().splitlines(), 1) if "no_such_data" in text)
    with pytest.raises(SpecError, match="no_such_data") as refused:
        compile_without_weights(load(spec))
    (problem,) = refused.value.diagnostics
    assert problem.rule == "data" and problem.key.startswith("data") and problem.place.line <= line


def test_the_state_has_names_that_are_the_same_in_every_process(small: Path) -> None:
    states = []
    for _ in range(2):
        compiled = compile_with_weights(load(small, ["teacher.backbone={mlp: {units: [9, 7, 5]}, weights: random}",
                                                     "teacher.input={size: [8, 8], channels: 1}"]), {})  # fmt: skip
        compile_optimizer(compiled, schedule="cosine", total_steps=10)
        state = state_of(compiled)
        states.append({name: tuple(variable.shape) for name, variable in state.items()})
        trainable = {id(variable) for variable in compiled.distiller.trainable_variables}
        assert trainable <= {id(variable) for variable in state.values()}
        assert not {id(variable) for variable in compiled.teacher.whole.model.variables} & {  # type: ignore[union-attr]
            id(variable) for variable in state.values()
        }
    assert states[0] == states[1]
    owners = {name.split("/")[0] for name in states[0]}
    assert owners == {
        "student", "student_codec_encode", "student_codec_decode", "teacher_codec_encode", "teacher_codec_decode",
        "optimizer",
    }  # fmt: skip
    assert states[0]["student/000_kernel"] == (64, 10)


def test_dropout_seeds_are_part_of_the_state(tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "spec.yaml", TEACHER, student={"backbone": {"mlp": {"dropout": 0.2}}})
    compiled = compile_with_weights(load(spec), {})
    compile_optimizer(compiled, schedule="constant", total_steps=1)
    assert any("seed" in name for name in state_of(compiled))


def test_columns_and_batches_are_what_the_graph_is_fed(small: Path) -> None:
    compiled = compile_without_weights(load(small, ["method=scratch"]))
    (column,) = input_columns(compiled)
    assert (column.name, column.kind, column.shape) == ("image", "image", (8, 8, 1))
    splits = open_data(compiled, download=False)
    features, labels, weights = next(iter(splits.train.batches(64, epoch=0)))
    assert {name: tuple(value.shape) for name, value in features.items()} == {"image": (64, 8, 8, 1)}
    assert labels.shape == weights.shape == (64,)


def test_the_optimizer_is_that_of_the_spec(small: Path) -> None:
    compiled = compile_with_weights(load(small, ["method=scratch", "train.optimizer={type: sgd, momentum: 0.5}"]), {})
    compile_optimizer(compiled, schedule="constant", total_steps=1)
    optimizer = compiled.distiller.optimizer
    assert isinstance(optimizer, keras.optimizers.SGD) and optimizer.momentum == 0.5
    assert float(optimizer.learning_rate) == pytest.approx(0.001)


def test_compile_in_python_loads_what_is_here(trained: Trained, small: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        distiller = tdspec.compile(trained.folder / "small.yaml", runs=trained.folder / "runs")
    assert distiller.teacher is not None
    record = json.loads((trained.run / "run.json").read_text())
    assert weights_sha256(distiller.teacher) == record["teacher_sha256"]
    with pytest.warns(UserWarning, match="the teacher has fresh weights: .* has no trained run in "):
        tdspec.compile(small, runs=small.parent / "runs")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        alone = tdspec.compile(small, ("method=scratch",))
    images = np.zeros((70, 8, 8, 1), np.uint8)
    history = alone.fit({"image": images}, np.arange(70) % 10, batch_size=32, epochs=1, verbose=0)
    assert {"loss", "task", "accuracy"} <= set(history.history)
    assert alone.predict({"image": images}, verbose=0).shape == (70, 10)


def test_schedules_in_python_need_the_length_of_the_run(trained: Trained) -> None:
    """Without it a cosine would be at its end after one step, and nobody would see."""
    spec, overrides = trained.folder / "small.yaml", ("losses.state_consistency.schedule=cosine",)
    runs = trained.folder / "runs"
    with pytest.raises(ValueError, match="the weight of 'state_consistency' has a schedule: expected total_steps"):
        tdspec.compile(spec, overrides, runs=runs)
    distiller = tdspec.compile(spec, overrides, runs=runs, total_steps=100)
    rates = []
    for step in (0, 50, 100):
        distiller.optimizer.iterations.assign(step)
        rates.append(float(distiller.optimizer.learning_rate))
    assert distiller.total_steps == 100 and rates[0] > rates[1] > rates[2]
