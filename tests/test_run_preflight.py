"""Checks before and during a run: what is refused, warned about, recorded, and taken up again by a resumed run."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from preflight_support import good_teacher as good_teacher
from preflight_support import opened, options, printed, write
from run_support import IMAGE, TABLE, TEACHER, write_spec

from tdspec.errors import RunError
from tdspec.graph.terms import Term
from tdspec.run import preflight, run_dir
from tdspec.run import train as training
from tdspec.run.diagnostics import TermWatch, imbalances
from tdspec.run.gradients import Pull
from tdspec.run.outcome import Interrupted
from tdspec.run.preflight import check_terms, warnings_of
from tdspec.run.run_dir import RunFolder, read_metrics, read_record
from tdspec.run.train import train
from tdspec.spec.load import load

TALKING = {"method": "talking", "communication": {"iterations": 1}}


def _pull(low: float, high: float) -> Pull:
    return Pull(1.0, low, high, low + high)


def _terms(*names: str) -> Sequence[Term]:
    return [Term(name, 1.0, "l2", ("label",), ("student_prediction",)) for name in names]


def _imbalances(pulls: Mapping[str, Pull], balance: str = "none") -> Sequence[str]:
    return imbalances(_terms(*pulls), pulls, dict.fromkeys(pulls, 1.0), balance)


def test_terms_that_drown_and_are_drowned() -> None:
    assert _imbalances({"task": _pull(0.5, 0.4), "feature": _pull(0.5, 0.6)}) == []
    assert _imbalances({"task": _pull(0.004, 0.001), "feature": _pull(0.996, 0.999)}) == [
        "warning: 'task' is drowned after epoch 1: 0.4% of the gradient in the student's layers; raise losses.task, or "
        "write losses.balance: auto",
        "warning: 'feature' drowns the others after epoch 1: 100% of the gradient in a part of the student; lower "
        "losses.feature, or write losses.balance: auto",
    ]
    assert "balance" not in _imbalances({"task": _pull(0.97, 0.5), "feature": _pull(0.03, 0.5)}, "auto")[0]
    # A part without trained variables says nothing; nor does a term that trains codecs alone, nor one that is alone.
    assert _imbalances({"task": _pull(0.5, 0.0), "feature": _pull(0.5, 0.0)}) == []
    assert _imbalances({"task": _pull(0.5, 0.5), "feature": _pull(0.5, 0.5), "interaction": _pull(0, 0)}) == []
    # What counts is a pull times the highest weight of its term.
    even = {"task": _pull(1, 1), "logit": _pull(1, 1)}
    assert "'logit' drowns" in imbalances(_terms("task", "logit"), even, {"task": 0.1, "logit": 9.9}, "none")[0]
    # A user's own term has no key in the spec; of several teachers, the terms share one.
    own = [*_terms("task"), Term("own", 1.0, "l2", ("label",), ("student_prediction",))]
    pulls = {"task": _pull(1, 1), "own": _pull(0.004, 0.001)}
    assert "raise its weight," in imbalances(own, pulls, dict.fromkeys(pulls, 1.0), "none")[-1]
    shared = Term("feature_big", 1.0, "l2", ("big_message",), ("student_message",), teacher="big")
    pulls = {"task": _pull(0.03, 0.5), "feature_big": _pull(0.97, 0.5)}
    assert "lower losses.feature," in imbalances([*_terms("task"), shared], pulls, dict.fromkeys(pulls, 1.0), "none")[0]


def test_terms_without_a_gradient() -> None:
    """A batch without labels does not kill the task."""
    row = {"value": 1.0, "weight": 1.0, "factor": 1.0, "gradient": 1.0, "low": 0.5, "high": 0.5}
    dead = {**row, "gradient": 0.0}
    assert warnings_of({"task": {**dead, "value": 0.0}, "feature": row}) == []
    found = warnings_of({"task": {**dead, "value": 0.0}, "logit": dead, "feature": row})
    assert found == ["warning: the term 'logit' has no gradient on the first batches; it may be dead"]


def test_the_table_is_printed_and_recorded(good_teacher: Path, tmp_path: Path) -> None:
    given = options(tmp_path / "runs")
    run = train(load(write(tmp_path, good_teacher, **TALKING, train={"epochs": 1})), given)
    terms = read_record(run)["preflight"]["terms"]
    assert set(terms) == {"task", "interaction", "message_consistency", "state_consistency"}
    for part in ("low", "high"):
        assert sum(term[part] for term in terms.values()) == pytest.approx(1)
    assert all(term["factor"] == 1 and term["gradient"] > 0 for term in terms.values())
    lines = printed(given).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("the terms before the first step"))
    assert {line.split()[0] for line in lines[start + 2 : start + 6]} == set(terms)
    assert f"{terms['task']['low']:.1%}" in printed(given)


class _Nothing:
    """Stands for a meter whose terms are as a test says."""

    def __init__(self, pulls: dict[str, Pull], connected: bool = True):
        self.pulls, self.connected = pulls, connected

    def __call__(self, batch: Any) -> dict[str, Pull]:
        return self.pulls

    def is_connected(self, name: str) -> bool:
        return self.connected


@pytest.mark.parametrize(
    ("pull", "connected", "message"),
    [
        (Pull(float("nan"), 1, 1, 1), True, r"the term 'feature' is nan before the first step"),
        (Pull(1, float("inf"), 1, float("inf")), True, r"'feature' has a gradient that is not finite"),
        (Pull(1, 0, 0, 0), False, r"the term '\w+' has no gradient: nothing that is trained leads to it"),
    ],
)
def test_broken_terms_are_refused(
    good_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pull: Pull, connected: bool, message: str
) -> None:
    compiled, splits, strategy = opened(load(write(tmp_path, good_teacher)))
    fine = Pull(1, 1, 1, 1)
    meter = _Nothing({"task": fine, "logit": fine, "feature": pull}, connected)
    monkeypatch.setattr(preflight, "PullMeter", lambda *_: meter)
    run = run_dir.create(tmp_path / "runs", "pre", 0, None)
    with pytest.raises(RunError, match=message):
        check_terms(run, compiled, splits, strategy, io.StringIO())


def test_weights_that_are_not_finite_are_refused(good_teacher: Path, tmp_path: Path) -> None:
    compiled, splits, strategy = opened(load(write(tmp_path, good_teacher)))
    # of the last layer: on some processors TensorFlow's product with a bias and a relu makes 0 of NaN
    kernel = compiled.distiller.student.trainable_variables[-2]
    kernel.assign(np.full(kernel.shape, np.nan))
    run = run_dir.create(tmp_path / "runs", "pre", 0, None)
    with pytest.raises(RunError, match=r"the term '\w+' is nan before the first step"):
        check_terms(run, compiled, splits, strategy, io.StringIO())


def test_a_student_that_equals_its_teacher_has_a_dead_term(tmp_path: Path) -> None:
    """The logit term of a perfect copy has value and gradient 0 all along: said before, and after one epoch."""
    x = keras.Input((8, 8, 1))
    keras.Model(x, keras.layers.Dense(10)(keras.layers.Flatten()(x))).save(tmp_path / "same.keras")
    side = {"backbone": {"file": "same.keras"}, "head": "own", "input": IMAGE}
    values = {**TEACHER, "method": "logit", "teacher": side, "student": side}
    values["losses"] = {"task": 0, "logit": {"distance": "l2"}}
    given = options(tmp_path / "runs")
    train(load(write_spec(tmp_path / "same.yaml", values)), given)
    assert "warning: the term 'logit' has no gradient on the first batches; it may be dead" in printed(given)
    assert printed(given).count("warning: the term 'logit' is dead after epoch 1: its value is 0") == 1
    assert "after epoch 2" not in printed(given)


@pytest.mark.parametrize(
    ("after", "mean", "reason"),
    [
        (Pull(2, 1, 1, 1), 2.5, None),
        (Pull(2, 1, 1, 1), 0.0, "its value is 0 on the whole epoch"),
        (Pull(3, 1, 1, 1), 3.0, "its value has not changed"),
        (Pull(2, 0, 0, 0), 2.5, None),
    ],
)
def test_a_watch_warns_once(good_teacher: Path, tmp_path: Path, after: Pull, mean: float, reason: str | None) -> None:
    compiled, _, _ = opened(load(write(tmp_path, good_teacher, method="logit")))
    meter, lines = _Nothing({"task": Pull(9, 1, 1, 1), "logit": Pull(3, 1, 1, 1)}), []
    watch = TermWatch(compiled.distiller, meter, None, "none", lines.append)  # type: ignore[arg-type]
    watch.on_train_begin()
    for epoch in (0, 1):
        meter.pulls = {"task": Pull(8 - epoch, 1, 1, 1), "logit": after}
        logs = {"task": 8.0, "logit": mean}
        watch.on_epoch_end(epoch, logs)
        meter.pulls["logit"] = after
        assert logs["gradient_share/task"] + logs["gradient_share/logit"] == pytest.approx(1)
        if epoch == 0:
            expected = [] if reason is None else [f"warning: the term 'logit' is dead after epoch 1: {reason}"]
            assert lines == expected


BALANCED = {**TALKING, "losses": {"balance": "auto"}, "train": {"epochs": 4}}


def _state(run: RunFolder) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(run.checkpoints / "epoch-0004"))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if not key.startswith("_")}


def _rows(run: RunFolder) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_metrics(run)]


@pytest.mark.slow
def test_a_resumed_run_keeps_probe_and_factors_and_is_bit_equal(
    good_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headless = keras.models.load_model(good_teacher)
    keras.Model(headless.input, headless.layers[-2].output).save(tmp_path / "features.keras")
    changes = {**BALANCED, "method": "hybrid", "student": {"backbone": {"mlp": {"dropout": 0.2}}}}
    document = load(write(tmp_path, tmp_path / "features.keras", **changes, teacher={"head": "probe"}))
    whole = train(document, options(tmp_path / "whole"))
    record = read_record(whole)
    assert record["teacher"]["by"] == "probe" and record["teacher"]["probe"]["features"] == 32
    assert record["preflight"]["terms"]["logit"]["factor"] != 1

    saved = training.Recorder.on_epoch_end

    def stop_after_two(recorder: Any, epoch: int, logs: Any = None) -> None:
        saved(recorder, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        patch.setattr(training.Recorder, "on_epoch_end", stop_after_two)
        train(document, options(tmp_path / "stopped"))
    run = stopped.value.run
    first = json.dumps([read_record(run)[key] for key in ("teacher", "preflight", "teacher_sha256")])
    given = options(tmp_path / "stopped")
    train(document, given, folder=run.path, resume=True)
    assert json.dumps([read_record(run)[key] for key in ("teacher", "preflight", "teacher_sha256")]) == first
    assert "the terms before" not in printed(given) and record["teacher_sha256"] == read_record(run)["teacher_sha256"]
    expected, found = _state(whole), _state(run)
    assert expected.keys() == found.keys() and all(np.array_equal(expected[key], found[key]) for key in expected)
    assert _rows(run) == _rows(whole)


@pytest.mark.parametrize(("head", "said"), [({}, True), ({"bias": 4.6}, True), ({"bias": 3.0}, False)])
def test_a_regression_that_starts_far_from_its_labels_is_told(tmp_path: Path, head: Any, said: bool) -> None:
    table = {
        **TABLE,
        "student": {"backbone": {"mlp": {"features": {"x": {"type": "number"}}, "units": [2]}}, "head": head},
        "train": {"epochs": 1},
    }
    (tmp_path / "table.csv").write_text("x,label\n" + "".join(f"{n % 5},{2.9 + 0.2 * (n % 2)}\n" for n in range(64)))
    given = options(tmp_path / "runs")
    train(load(write_spec(tmp_path / "table.yaml", table)), given)
    assert ("note: the labels are" in printed(given)) == said
    assert ("write student.head.bias: 3" in printed(given) or "write student.head.bias: 2.9" in printed(given)) == said
