"""A teacher's own figure: measured, compared with chance and with what is expected, and its probe."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from preflight_support import good_teacher as good_teacher
from preflight_support import opened, options, printed, write
from run_support import write_spec

from tdspec.errors import RunError
from tdspec.run import run_dir, teacher_check
from tdspec.run.linear import Fitted
from tdspec.run.probe import sampled
from tdspec.run.run_dir import RunFolder, read_record
from tdspec.run.teacher_check import figure_of, fit_head, judged, teacher_figure
from tdspec.run.train import train
from tdspec.spec.load import load

RANDOM = np.random.default_rng(0)


def test_figures_and_chance() -> None:
    labels = np.array([0, 0, 0, 1, 2])
    logits = np.eye(3)[[0, 0, 1, 1, 0]]
    found = figure_of("classification", Fitted(logits, labels), "own head")
    assert (found.figure, found.value, found.chance, found.examples) == ("accuracy", 0.6, 0.6, 5)
    assert not found.is_better_than_chance and found.misses(0.61) and not found.misses(0.6) and not found.misses(None)
    yes = figure_of("binary", Fitted(np.array([[1.0], [-1], [2], [-3]]), np.array([1.0, 0, 0, 0])), "own head")
    assert (yes.value, yes.chance) == (0.75, 0.75)
    pair = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    several = figure_of("multilabel", Fitted(np.array([[1.0, -1], [-1, 1], [1, 1], [-1, 1]]), pair), "own head")
    assert (several.value, several.chance) == (0.875, 0.75)
    numbers = figure_of("regression", Fitted(np.array([[1.0], [2], [3]]), np.array([1.0, 2, 6])), "own head")
    assert numbers.value == pytest.approx(np.sqrt(3)) and numbers.chance == pytest.approx(np.std([1, 2, 6]))
    assert numbers.figure == "rmse" and numbers.misses(1.7) and not numbers.misses(1.8)


def test_better_than_chance_by_a_clear_margin() -> None:
    labels = RANDOM.integers(0, 10, 1000)

    def found(share: float) -> bool:
        guesses = np.where(RANDOM.random(1000) < share, labels, RANDOM.integers(0, 10, 1000))
        return figure_of("classification", Fitted(np.eye(10)[guesses], labels), "own head").is_better_than_chance

    assert [found(share) for share in (0.0, 0.2, 1.0)] == [False, True, True]
    numbers = RANDOM.normal(size=500)
    for noise, better in ((0.5, True), (1.5, False)):
        guesses = (numbers + noise * RANDOM.normal(size=500))[:, None]
        assert figure_of("regression", Fitted(guesses, numbers), "own head").is_better_than_chance == better


def test_a_good_teacher_passes_and_is_recorded(good_teacher: Path, tmp_path: Path) -> None:
    given = options(tmp_path / "runs")
    run = train(load(write(tmp_path, good_teacher, teacher={"expect": 0.8}, train={"epochs": 1})), given)
    record = read_record(run)["teacher"]
    assert record["figure"] == "accuracy" and record["by"] == "own head" and record["examples"] == 359
    assert record["value"] > 0.85 and record["chance"] == pytest.approx(45 / 359)
    assert f"teacher: accuracy {record['value']:.4f} on 359 validation examples" in printed(given)
    assert "no better than chance" not in printed(given)


def test_a_wrong_scale_is_refused_and_the_right_one_is_named(good_teacher: Path, tmp_path: Path) -> None:
    path = write(tmp_path, good_teacher, teacher={"expect": 0.7, "input": {"scale": [0, 1]}})
    run = tmp_path / "run"
    with pytest.raises(
        RunError, match=r"refused: accuracy 0\.\d+ .* teacher\.expect says at least 0\.7, chance"
    ) as said:
        train(load(path), options(tmp_path / "runs"), folder=run)
    for words in ("teacher.input has scale [0.0, 1.0]", "with scale [0, 255]", "wrong weights", "another order"):
        assert words in said.value.hint
    record = read_record(RunFolder(run))
    assert record["status"] == "failed" and record["teacher"]["value"] < 0.3
    assert not (run / "metrics.jsonl").exists()


def test_without_expectation_a_wrong_scale_is_a_warning(good_teacher: Path, tmp_path: Path) -> None:
    compiled, splits, _ = opened(load(write(tmp_path, good_teacher, teacher={"input": {"scale": [0, 1]}})))
    figure = teacher_figure(compiled, splits)
    assert figure is not None
    assert judged(compiled, splits, figure).startswith("warning: the teacher is no better than chance; teacher:")
    again = teacher_figure(compiled, splits)
    assert again == figure  # trying other scales has changed nothing


def test_a_teacher_without_a_prediction_is_probed(good_teacher: Path, tmp_path: Path) -> None:
    headless = keras.models.load_model(good_teacher)
    keras.Model(headless.input, headless.layers[-2].output).save(tmp_path / "features.keras")
    path = write(tmp_path, tmp_path / "features.keras", method="feature", teacher={"head": "none"})
    compiled, splits, _ = opened(load(path))
    figure = teacher_figure(compiled, splits)
    assert figure is not None and figure.by == "probe" and figure.value > 0.8


def test_a_method_without_teacher_says_that_nothing_is_expected(good_teacher: Path, tmp_path: Path) -> None:
    given = options(tmp_path / "runs")
    run = train(load(write(tmp_path, good_teacher, method="scratch", teacher={"expect": 0.9})), given)
    assert read_record(run)["teacher"] is None
    assert "note: teacher.expect is not checked, since the method uses no teacher" in printed(given)


def test_a_fitted_head_predicts_is_stored_and_comes_back(good_teacher: Path, tmp_path: Path) -> None:
    headless = keras.models.load_model(good_teacher)
    keras.Model(headless.input, headless.layers[-2].output).save(tmp_path / "features.keras")
    document = load(write(tmp_path, tmp_path / "features.keras", method="logit", teacher={"head": "probe"}))
    compiled, splits, _ = opened(document)
    assert compiled.teacher is not None
    said = fit_head(compiled, splits, tmp_path, tmp_path / "checks")
    assert said == {"strength": said["strength"], "features": 32} and (tmp_path / "teacher_probe.npz").is_file()
    figure = teacher_figure(compiled, splits)
    assert figure is not None and figure.by == "probe" and figure.value > 0.8
    weights = compiled.teacher.whole.model.get_layer("prediction").get_weights()
    other, _, _ = opened(document)
    assert other.teacher is not None
    # What is stored is loaded, whatever the splits are now.
    fit_head(other, dataclasses.replace(splits, train=sampled(splits.train, 50, 0)), tmp_path, tmp_path / "checks")
    again = other.teacher.whole.model.get_layer("prediction").get_weights()
    assert all(np.array_equal(first, second) for first, second in zip(weights, again, strict=True))
    run_dir.write_bytes(tmp_path / "teacher_probe.npz", b"cut short")
    with pytest.raises(RunError, match="is damaged"):
        fit_head(other, splits, tmp_path, tmp_path / "checks")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["logit", "talking", "scratch"])
def test_a_run_with_a_probe_can_be_compared_with_its_teacher(good_teacher: Path, tmp_path: Path, method: str) -> None:
    from tdspec.report.similarity import measure

    headless = keras.models.load_model(good_teacher)
    keras.Model(headless.input, headless.layers[-2].output).save(tmp_path / "features.keras")
    changes = {"method": method, "teacher": {"head": "probe"}, "train": {"epochs": 1}}
    run = train(load(write(tmp_path, tmp_path / "features.keras", **changes)), options(tmp_path / "runs"))
    assert (run.path / "teacher_probe.npz").is_file() == (method != "scratch")
    assert measure(run, tmp_path / "runs").students[0].name == method


def test_runs_with_the_same_teacher_and_examples_share_what_is_found_out(
    good_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headless = keras.models.load_model(good_teacher)
    keras.Model(headless.input, headless.layers[-2].output).save(tmp_path / "features.keras")
    checks, heads = tmp_path / "checks", []
    slices = {"train": "all[:50%]", "validation": "all[50%:70%]", "test": "all[70%:]"}
    spec = {"method": "logit", "teacher": {"head": "probe"}, "data": {"splits": slices}}
    compiled, splits, _ = opened(load(write(tmp_path, tmp_path / "features.keras", **spec)))
    said = fit_head(compiled, splits, tmp_path / "one", checks)
    figure = teacher_check.shared_figure(compiled, splits, checks)
    assert figure == teacher_figure(compiled, splits)

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("computed again")

    # Another student, method and weight; another seed draws the same examples, as all of them are shown.
    others = {"method": "talking", "losses": {"interaction": 7.0}, "seed": 3}
    other, again, _ = opened(load(write(tmp_path, tmp_path / "features.keras", **{**spec, **others})))
    with monkeypatch.context() as patched:
        patched.setattr(teacher_check, "_probe_of", refuse)
        assert fit_head(other, again, tmp_path / "two", checks) == said
        fit_head(compiled, splits, tmp_path / "three", checks)
        patched.setattr(teacher_check, "teacher_figure", refuse)
        assert teacher_check.shared_figure(compiled, splits, checks) == figure
        with pytest.raises(AssertionError, match="computed again"):
            teacher_check.shared_figure(other, again, checks)  # whose seed draws other examples where there are many
        fewer = dataclasses.replace(splits, train=sampled(splits.train, 50, 0))
        with pytest.raises(AssertionError, match="computed again"):
            fit_head(compiled, fewer, tmp_path / "four", checks)
    for item in (compiled, other):
        assert item.teacher is not None
        heads.append(item.teacher.whole.model.get_layer("prediction").get_weights())
    assert all(np.array_equal(first, second) for first, second in zip(*heads, strict=True))


def test_what_was_found_out_of_another_teacher_or_input_is_another(good_teacher: Path, tmp_path: Path) -> None:
    checks, found = tmp_path / "checks", []
    for scale in ([0, 255], [0, 1], [0, 255]):
        compiled, splits, _ = opened(load(write(tmp_path, good_teacher, teacher={"input": {"scale": scale}})))
        found.append(teacher_check.shared_figure(compiled, splits, checks))
    assert found[0] == found[2] != found[1]
    assert len(list(checks.glob("figure-*.json"))) == 2
    assert compiled.teacher is not None
    kernel = compiled.teacher.whole.model.weights[0]
    kernel.assign(kernel * 0)
    assert teacher_check.shared_figure(compiled, splits, checks) != found[0]
    for file in checks.glob("figure-*.json"):
        file.write_text("{", "utf-8")
    with pytest.raises(RunError, match="is damaged"):
        teacher_check.shared_figure(compiled, splits, checks)


def test_samples_have_labels_and_are_the_same_again(good_teacher: Path, tmp_path: Path) -> None:
    few = {"data": {"labels_per_class": 3, "unlabeled": "keep"}}
    _, splits, _ = opened(load(write(tmp_path, good_teacher, **few)))
    assert splits.train.num_examples == 899 and sampled(splits.train, 1000, 0).num_examples == 30
    some = sampled(splits.validation, 40, 0)
    assert some.num_examples == 40 and np.array_equal(some.rows, sampled(splits.validation, 40, 0).rows)
    assert set(some.rows) <= set(splits.validation.rows)
    assert sampled(splits.validation, 359, 0) is splits.validation


def test_real_weights_and_a_wrong_scale(shared_folder: Path, tmp_path: Path) -> None:
    package = importlib.util.find_spec("cifar_10_model")
    if package is None or package.origin is None:
        pytest.skip("needs the network of the package cifar-10-model")
    model = tmp_path / "network.keras"
    weights = Path(package.origin).parent / "trained_models/cnn_model.h5"
    keras.models.load_model(weights, compile=False).save(model)
    with np.load(shared_folder / "data/cifar10_subset_10k_2k.npz") as file:
        np.savez(tmp_path / "c.npz", image=file["x_test"], label=file["y_test"].reshape(-1))
    spec = {
        "version": 1,
        "name": "real",
        "method": "logit",
        "data": {"source": "npz", "path": "c.npz", "splits": {"train": 0.4, "validation": 0.5, "test": 0.1}},
        "task": {"num_classes": 10},
        "teacher": {"backbone": {"file": str(model)}, "head": "own", "input": {"scale": [0, 255]}},
        "student": {"backbone": {"mlp": {"units": [8]}}, "input": {"size": [32, 32]}},
    }
    for scale, good in (([0, 255], True), ([0, 1], False)):
        path = write_spec(tmp_path / "real.yaml", spec, teacher={"input": {"scale": scale}})
        compiled, splits, _ = opened(load(path))
        figure = teacher_figure(compiled, splits)
        assert figure is not None and figure.is_better_than_chance == good
        assert abs(figure.value - (0.80 if good else 0.10)) < 0.04
