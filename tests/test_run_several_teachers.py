"""Runs with several teachers: what is recorded of each, exact resume, weights loaded, probes, cuts listed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from run_support import IMAGE, STUDENT, TEACHER, call, write_spec

from tdspec.errors import RunError, UsageError
from tdspec.graph.compiler import build
from tdspec.graph.differences import describe
from tdspec.graph.picture import draw
from tdspec.graph.plan import plan_of
from tdspec.graph.plan_views import plans_apart
from tdspec.graph.summary import plan_lines
from tdspec.pipeline import cut_points
from tdspec.run import prepare
from tdspec.run.outcome import Interrupted
from tdspec.run.prepare import compile_without_weights, state_of
from tdspec.run.run_dir import RunFolder, read_metrics, read_record
from tdspec.run.teachers import named_specs
from tdspec.run.train import Options, Run, train
from tdspec.spec.load import Document, load

pytestmark = pytest.mark.slow

TEACHERS = [
    {"name": "own", "weight": "learned", "backbone": {"spec": "teacher.yaml"}, "cut": {"low": 1, "high": 3}},
    {
        "name": "probed",
        "weight": "learned",
        "backbone": {"mlp": {"units": [20, 14]}, "weights": "random"},
        "input": dict(IMAGE),
        "cut": {"low": 1, "high": 2},
        "head": "probe",
    },
]


def _spec(folder: Path, **changes: Any) -> Path:
    write_spec(folder / "teacher.yaml", TEACHER, train={"epochs": 1})
    values = {key: value for key, value in STUDENT.items() if key != "teacher"} | {"teachers": TEACHERS}
    return write_spec(folder / "two.yaml", values, name="two", method="talking_hybrid", **changes)


def keep(run: Run) -> Mapping[str, Any]:
    """The least that ends a run: the student's file."""
    run.compiled.distiller.student.save(run.folder.student)
    return {}


def _stop(run: Run) -> Mapping[str, Any]:
    raise KeyboardInterrupt


def _options(root: Path, finish: Any = keep) -> Options:
    return Options(root, finish, io.StringIO())


def _tensors(folder: Path) -> dict[str, Any]:
    reader = tf.train.load_checkpoint(str(folder))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith("_")]
    return {name: reader.get_tensor(name) for name in names}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    return load(_spec(tmp_path_factory.mktemp("two")))


@pytest.fixture(scope="module")
def ended(document: Document, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    given = _options(tmp_path_factory.mktemp("runs"))
    run = train(document, given)
    assert isinstance(given.stream, io.StringIO)
    return run, given.stream.getvalue()


def test_each_teacher_is_measured_and_recorded(ended: tuple[RunFolder, str]) -> None:
    run, printed = ended
    record = read_record(run)
    assert set(record["teacher"]) == set(record["teacher_sha256"]) == {"own", "probed"}
    assert record["teacher"]["own"]["by"] == "own head" and record["teacher"]["probed"]["by"] == "probe"
    assert record["teacher"]["probed"]["probe"]["features"] == 14
    assert (run.path / "probed_probe.npz").is_file() and (run.path / "spec.own.yaml").is_file()
    assert "\nown: accuracy " in printed and "\nprobed: accuracy " in printed
    assert load(run.spec).sha256 == record["spec_sha256"]


def test_each_term_of_each_teacher_is_logged_and_so_are_the_weights(ended: tuple[RunFolder, str]) -> None:
    rows = read_metrics(ended[0])
    names = ("interaction", "message_consistency", "state_consistency", "logit")
    for row in rows:
        assert {f"{name}_{teacher}" for name in names for teacher in ("own", "probed")} < set(row)
        assert all(0 < row[f"teacher_weight/{teacher}"] < 2 for teacher in ("own", "probed"))
    assert rows[0]["teacher_weight/own"] != rows[1]["teacher_weight/own"]


def test_a_stopped_run_goes_on_exactly(
    document: Document, ended: tuple[RunFolder, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after its first epoch, in which learned weights and codecs of both teachers have moved."""
    from tdspec.run import diagnostics

    root, whole = tmp_path, ended[0]
    epochs = []

    def stop_once(self: Any, epoch: int, logs: Any = None) -> None:
        if epoch == 1 and not epochs:
            epochs.append(epoch)
            raise KeyboardInterrupt

    monkeypatch.setattr(diagnostics.TeacherWeights, "on_epoch_begin", stop_once)
    with pytest.raises(Interrupted) as stopped:
        train(document, _options(root), folder=None)
    run = train(document, _options(root), folder=stopped.value.run.path, resume=True)
    expected, found = (_tensors(folder.checkpoints / "epoch-0002") for folder in (whole, run))
    assert expected.keys() == found.keys()
    assert {"000_own_scale", "001_probed_scale"} == {name.split("/")[1] for name in found if "teacher_scales" in name}
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_the_state_has_everything_that_is_trained(document: Document) -> None:
    compiled = build(document, prepare.describe)
    compiled.distiller.compile("sgd")
    state = {id(variable) for variable in state_of(compiled).values()}
    assert {id(variable) for variable in compiled.distiller.trained_variables} <= state
    owners = {name.split("/")[0] for name in state_of(compiled)}
    codecs = {f"{name}_codec_{part}" for name in ("student", "own", "probed") for part in ("encode", "decode")}
    assert owners == {"student", *codecs, "teacher_scales", "optimizer"}


def test_a_teacher_that_is_not_good_enough_is_refused_by_its_name(tmp_path: Path) -> None:
    spec = _spec(tmp_path)
    document = load(spec, ["teachers[1].expect=0.99", "teachers[0].weight=0"])
    with pytest.raises(RunError, match="the teacher 'probed' is refused") as caught:
        train(document, _options(tmp_path / "runs"))
    assert "teachers[" in str(caught.value) or "expect" in str(caught.value)
    # a teacher of weight 0 is not even trained
    assert not (tmp_path / "runs/teacher").exists()


def test_named_specs(document: Document, tmp_path: Path) -> None:
    assert list(named_specs(document)) == ["own"]
    spec = _spec(tmp_path)
    assert named_specs(load(spec, ["teachers[0].weight=0"])) == {}
    assert named_specs(load(spec, ["method=scratch"])) == {}


def test_cuts_of_one_of_them(document: Document, capfd: pytest.CaptureFixture[str]) -> None:
    assert list(cut_points(document, None)) == ["own", "probed", "student"]
    assert list(cut_points(document, "teacher")) == ["own", "probed"]
    (rows,) = (rows for _, rows in cut_points(document, "probed").values())
    assert [row["cut"] for row in rows if row["cut"]] == [["low"], ["high"]]
    with pytest.raises(UsageError, match="expected 'own', 'probed' or 'student'"):
        cut_points(document, "prob")


def test_plan_picture_and_differences(document: Document, tmp_path: Path) -> None:
    plan = json.loads(json.dumps(plan_of(compile_without_weights(document))))
    assert "teacher" not in plan and [item["name"] for item in plan["teachers"]] == ["own", "probed"]
    assert [item["weight"] for item in plan["teachers"]] == ["learned", "learned"]
    own, probed = plans_apart(plan)
    assert {codec["name"] for codec in own["codecs"]} == {
        f"{side}_codec.{part}" for side in ("student", "teacher") for part in ("encode", "decode")
    }
    names = [term["name"] for term in probed["terms"]]
    assert names == ["task", "interaction", "message_consistency", "state_consistency", "logit"]
    assert own["teacher"]["segments"][0]["output"] == "teacher_low"
    assert probed["terms"][1]["prediction"] == ["student_low_1", "student_high_1"]
    picture = draw(plan)
    assert picture == draw(plan) and "own, frozen" in picture and "probed, frozen" in picture
    lines = "\n".join(plan_lines(plan))
    assert "exp(-s) * L + s" in lines and "interaction_probed" in lines
    other = load(_spec(tmp_path), ["teachers[0].weight=2", "teachers[1].weight=0"])
    changes = "\n".join(describe(plan, plan_of(compile_without_weights(other))))
    assert "own weight: learned -> 2.0" in changes and "probed removed" in changes
    assert "term interaction_own weight: 0.3 -> 0.6" in changes


def test_the_command_line(document: Document, capfd: pytest.CaptureFixture[str]) -> None:
    file = document.source.file
    assert call(capfd, "layers", file, "--side", "own").code == 0
    found = call(capfd, "doctor", file)
    assert "own 'teacher' has no run of this spec" in found.out
