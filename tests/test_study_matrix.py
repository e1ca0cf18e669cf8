"""The runs of a study: which there are, how they are named, and where their mistakes are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tdspec.errors import SpecError
from tdspec.study.matrix import StudyRun, in_words, leaks, plan_runs
from tdspec.study.quests import plan_quests
from tdspec.study.results import read_results, write_plan
from tdspec.study.study_file import Study, load_study

TEACHER = """\
version: 1
name: teacher
method: scratch
data: {source: digits, splits: SPLITS}
student: {backbone: {mlp: {units: [16, 16, 16]}}, input: {size: [8, 8], channels: 1}}
"""
STUDENT = """\
version: 1
name: student
data: {source: digits, splits: SPLITS}
teacher: {backbone: {spec: teacher.yaml}, cut: {low: 1, high: 3}}
student: {backbone: {mlp: {units: [8, 8]}}, input: {size: [8, 8], channels: 1}, cut: {low: 1, high: 2}}
"""
STUDIES = Path(__file__).parents[1] / "specs" / "studies"
DRAWN = "{train: 0.8, validation: 0.1, test: 0.1}"
SLICES = '{train: "all[:80%]", validation: "all[80%:90%]", test: "all[90%:]"}'


def study(folder: Path, rest: str, splits: str = DRAWN, overrides: Sequence[str] = ()) -> Study:
    (folder / "teacher.yaml").write_text(TEACHER.replace("SPLITS", splits), "utf-8")
    (folder / "student.yaml").write_text(STUDENT.replace("SPLITS", splits), "utf-8")
    path = folder / "study.yaml"
    path.write_text(f"version: 1\nname: s\nspec: student.yaml\n{rest}", "utf-8")
    return load_study(path, overrides)


def words(runs: tuple[StudyRun, ...]) -> list[str]:
    return [in_words(run.settings) for run in runs]


def test_runs_are_all_combinations_in_order(tmp_path: Path) -> None:
    runs = plan_runs(study(tmp_path, "axes: {method: [scratch, talking], seed: [0, 1]}\nset: {train.epochs: 3}\n"))
    assert words(runs) == ["scratch, seed 0", "scratch, seed 1", "talking, seed 0", "talking, seed 1"]
    assert [run.document.spec.seed for run in runs] == [0, 1, 0, 1]
    assert [run.document.spec.method for run in runs] == ["scratch", "scratch", "talking", "talking"]
    assert all(run.document.spec.train.epochs == 3 for run in runs)


def test_what_the_command_line_sets_all_runs_have(tmp_path: Path) -> None:
    rest = "axes: {seed: [0, 1]}\nset: {train.epochs: 3}\n"
    runs = plan_runs(study(tmp_path, rest, overrides=["train.epochs=4", "method=logit"]))
    assert [(run.document.spec.train.epochs, run.document.spec.method) for run in runs] == [(4, "logit")] * 2


def test_a_mistake_of_the_command_line_is_shown_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        plan_runs(study(tmp_path, "axes: {seed: [0, 1]}\n", overrides=["train.epoch=4"]))
    (problem,) = caught.value.diagnostics
    assert problem.place.file == "--set train.epoch=4" and "did you mean 'epochs'" in problem.hint


def test_axes_that_a_method_does_not_read_make_no_runs(tmp_path: Path) -> None:
    axes = "method: [scratch, logit, talking], communication.iterations: [0, 1], communication.message.dim: [4, 8]"
    runs = plan_runs(study(tmp_path, f"axes: {{{axes}}}\n"))
    assert words(runs) == [
        "scratch",
        "logit",
        "talking, iterations 0, dim 4",
        "talking, iterations 0, dim 8",
        "talking, iterations 1, dim 4",
        "talking, iterations 1, dim 8",
    ]


def test_weights_of_terms_that_a_method_lacks_make_no_runs(tmp_path: Path) -> None:
    runs = plan_runs(study(tmp_path, "axes: {method: [scratch, feature], losses.feature.weight: [0.1, 1]}\n"))
    assert words(runs) == ["scratch", "feature, weight 0.1", "feature, weight 1"]


def test_an_axis_without_method_is_read_by_the_method_of_the_spec(tmp_path: Path) -> None:
    assert len(plan_runs(study(tmp_path, "axes: {communication.iterations: [0, 1]}\n"))) == 2


def test_a_variant_sets_several_keys_and_is_left_out_where_nothing_of_it_is_read(tmp_path: Path) -> None:
    variants = "{full: {}, quiet: {losses.message_consistency.weight: 0, communication.iterations: 2}}"
    runs = plan_runs(study(tmp_path, f"axes: {{method: [scratch, talking], variants: {variants}}}\n"))
    assert words(runs) == ["scratch", "talking, full", "talking, quiet"]
    assert [run.document.spec.losses.message_consistency.weight for run in runs[1:]] == [0.5, 0.0]
    assert runs[2].document.spec.communication.iterations == 2


def test_variants_may_be_methods(tmp_path: Path) -> None:
    variants = "{alone: {method: scratch}, told: {method: feature}, talks: {method: talking, train.epochs: 7}}"
    planned = study(tmp_path, f"axes: {{variants: {variants}, seed: [0, 1]}}\nset: {{train.epochs: 3}}\n")
    runs = plan_runs(planned)
    assert words(runs)[::2] == ["alone, seed 0", "told, seed 0", "talks, seed 0"]
    assert [run.document.spec.train.epochs for run in runs] == [3, 3, 3, 3, 7, 7]
    folder = tmp_path / "folder"
    folder.mkdir()
    write_plan(folder, planned, runs)
    results = read_results(folder).runs
    assert [run.method for run in results[::2]] == ["scratch", "feature", "talking"]
    assert [run.baseline for run in results[::2]] == [None, results[0].cell, results[0].cell]


def test_ids_are_names_of_folders_that_change_with_the_content_only(tmp_path: Path) -> None:
    rest = "axes: {method: [talking], data.where: [{label: 1}, {label: [1, 2]}]}\n"
    first, again = (plan_runs(study(tmp_path, rest)) for _ in range(2))
    changed = plan_runs(study(tmp_path, f"{rest}set: {{train.epochs: 3}}\n"))
    assert [run.id for run in first] == [run.id for run in again]
    assert len({run.id for run in (*first, *changed)}) == 4
    assert first[0].id.startswith("method-talking_where--label-1-_")
    assert all(set(run.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.") for run in first)


def test_relative_paths_start_from_the_study(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "teacher.yaml").write_text(TEACHER.replace("SPLITS", DRAWN), "utf-8")
    rest = "axes: {teacher.backbone: [{spec: other/teacher.yaml}]}\n"
    (run,) = plan_runs(study(tmp_path, rest))
    assert run.document.spec.teacher is not None
    assert run.document.spec.teacher.backbone.spec == str(tmp_path / "other" / "teacher.yaml")  # type: ignore[union-attr]


def test_mistakes_are_shown_where_they_are_written(tmp_path: Path) -> None:
    rest = "axes:\n  method: [scratch, talkin]\n  seed: [0, -1]\n  communication.iteration: [0, 1]\nset: {foo.bar: 1}\n"
    with pytest.raises(SpecError) as caught:
        plan_runs(study(tmp_path, rest))
    found = [(str(item.place).rpartition("study.yaml:")[2], item.key) for item in caught.value.diagnostics]
    assert found == [("5:21", "method"), ("6:13", "seed"), ("7:3", "communication.iteration"), ("8:16", "foo")]


def test_mistakes_in_variants_are_shown_where_they_are_written(tmp_path: Path) -> None:
    rest = "axes:\n  variants:\n    a: {method: talkin}\n    b: {train.epoch: 3}\n"
    with pytest.raises(SpecError) as caught:
        plan_runs(study(tmp_path, rest))
    found = [(str(item.place).rpartition("study.yaml:")[2], item.key) for item in caught.value.diagnostics]
    assert found == [("6:17", "method"), ("7:9", "train.epoch")]


def test_a_teacher_that_has_seen_test_examples_is_noticed(tmp_path: Path) -> None:
    rest = "axes: {method: [scratch, talking], seed: [0, 1, 2]}\n"
    (found,) = leaks(plan_runs(study(tmp_path, rest)))
    assert found.startswith("data.splits: found fractions drawn by another seed than those of the teacher's spec")
    assert found.endswith("(2 of 6 runs, such as talking, seed 1)")
    assert leaks(plan_runs(study(tmp_path, rest, SLICES))) == ()
    assert leaks(plan_runs(study(tmp_path, "axes: {method: [talking], seed: [0]}\n"))) == ()


def test_a_teacher_whose_splits_are_within_no_user_is_noticed(tmp_path: Path) -> None:
    rest = "axes: {method: [scratch, talking], seed: [0, 1, 2]}\n"
    boundary = "{by: t, train: 0.8, validation: 0.1, test: 0.1}"
    within = boundary.replace("by: t", "by: t, within: user")
    assert leaks(plan_runs(study(tmp_path, rest, within))) == ()
    planned = study(tmp_path, rest, within)
    (tmp_path / "teacher.yaml").write_text(TEACHER.replace("SPLITS", boundary), "utf-8")
    (found,) = leaks(plan_runs(planned))
    assert found.startswith("data.splits: found splits unlike those of the teacher's spec")
    assert found.endswith("(3 of 6 runs, such as talking, seed 0)")


@pytest.mark.parametrize("name", sorted(path.stem for path in STUDIES.glob("*.yaml")))
def test_the_studies_that_ship_are_sound(name: str) -> None:
    found = load_study(STUDIES / f"{name}.yaml")
    runs = plan_runs(found)
    assert len({run.document.spec.seed for run in runs}) >= 5
    assert leaks(runs) == ()
    if found.search is not None:
        quests = plan_quests(found, found.search)
        assert {quest.documents[0].spec.method for quest in quests.values()} == set(found.axes["method"])
