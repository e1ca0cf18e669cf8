"""The mean over an axis as one task: its figures from numpy, every value still there, and searches that judge by it."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from study_support import complete, page_of, planned, write_study
from test_report_page import checked
from test_study_searching import SPACE, searched
from test_study_searching import calls as calls  # a fixture

from tdspec.errors import SpecError, UsageError
from tdspec.study.beside import beside
from tdspec.study.matrix import StudyRun, in_words
from tdspec.study.quests import plan_quests
from tdspec.study.results import read_results
from tdspec.study.runner import write_table
from tdspec.study.study_file import Study, load_study
from tdspec.study.table import Table, tabulate
from tdspec.study.table_text import as_csv, as_data, as_markdown

METHODS, LABELS, SEEDS = ("scratch", "feature", "talking"), (3, 5, 8), (0, 1, 2, 3)
AXES = (
    "axes: {data.where.label: [3, 5, 8], method: [scratch, feature, talking], seed: [0, 1, 2, 3]}\n"
    "average: [data.where.label]\n"
)
LEVELS = np.array([0.70, 0.74, 0.78])[:, None, None] + np.array([0.0, 0.1, -0.2])[None, :, None]
# (methods, labels, seeds): labels lie far apart, so that a mean of means differs from any single comparison
TESTS = np.round(LEVELS + np.random.default_rng(0).normal(0, 0.02, (3, 3, 4)), 4)


def place_of(run: StudyRun) -> tuple[int, int, int]:
    settings = run.settings
    return (
        METHODS.index(settings["method"]),
        LABELS.index(settings["data.where.label"]),
        SEEDS.index(settings["seed"]),
    )


def table_of(folder: Path, missing: tuple[int, int, int] | None = None) -> Table:
    for run in planned(folder / "study", write_study(folder, AXES)):
        if place_of(run) != missing:
            test = float(TESTS[place_of(run)])
            complete(folder / "study", run, test + 0.01, test)
    return tabulate(read_results(folder / "study"))


def test_a_row_is_the_mean_over_the_averaged_values_seed_by_seed(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    assert (table.axes, table.average) == (("method",), ("data.where.label",))
    means = TESTS.mean(axis=1)
    for index, row in enumerate(table.rows):
        assert row.settings == {"method": METHODS[index]}
        assert (row.seeds, row.planned) == (SEEDS, 4)
        assert row.values["test"] == pytest.approx(means[index])
        assert row.estimates["test"].value == pytest.approx(TESTS[index].mean())
        assert row.estimates["test"].error == pytest.approx(means[index].std(ddof=1) / 2)
        assert row.values["validation"] == pytest.approx(means[index] + 0.01)
    assert table.chosen == table.rows[2]


def test_rows_are_compared_by_their_means(tmp_path: Path) -> None:
    scratch, feature, talking = TESTS.mean(axis=1)
    row = table_of(tmp_path).rows[2]
    assert row.over_scratch is not None and row.rival is not None
    assert row.over_scratch.improvement is not None
    assert row.over_scratch.improvement.value == pytest.approx(talking.mean() / scratch.mean() - 1)
    assert row.over_scratch.p_value == pytest.approx(stats.ttest_rel(talking, scratch).pvalue)
    assert row.over_scratch.pairs == 4
    assert row.rival.settings == {"method": "feature"}
    assert row.rival.p_value == pytest.approx(stats.ttest_rel(talking, feature).pvalue)


def test_every_value_keeps_its_figures_and_meets_rivals_of_the_same_value_alone(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    apart = table.by_value
    assert apart is not None
    assert apart.axes == ("data.where.label", "method")
    assert [tuple(row.settings.values()) for row in apart.rows] == list(itertools.product(LABELS, METHODS))
    for row in apart.rows:
        label, method = (LABELS.index(row.settings["data.where.label"]), METHODS.index(row.settings["method"]))
        assert row.values["test"] == pytest.approx(TESTS[method, label])
        assert row.rival is not None
        assert row.rival.settings["data.where.label"] == row.settings["data.where.label"]
        assert (row.over_scratch is None) == (method == 0)
        if row.over_scratch is not None:
            expected = stats.ttest_rel(TESTS[method, label], TESTS[0, label]).pvalue
            assert row.over_scratch.settings == {"data.where.label": LABELS[label], "method": "scratch"}
            assert row.over_scratch.p_value == pytest.approx(expected)
    assert apart.chosen is None


def test_a_seed_counts_only_where_all_values_are_complete(tmp_path: Path) -> None:
    table = table_of(tmp_path, missing=(2, 1, 3))
    row = table.rows[2]
    assert (row.seeds, row.planned) == ((0, 1, 2), 4)
    assert row.values["test"] == pytest.approx(TESTS[2].mean(axis=0)[:3])
    assert row.over_scratch is not None
    assert row.over_scratch.pairs == 3
    assert "Not complete: talking, seed 3 (2 of 3 runs are complete)." in table.notes
    apart = table.by_value
    assert apart is not None
    assert "Not complete: label 5, talking, seed 3 (missing)." in apart.notes
    assert [len(row.seeds) for row in apart.rows] == [4, 4, 4, 4, 4, 3, 4, 4, 4]


def test_a_method_that_does_not_read_the_axis_has_its_one_figure(tmp_path: Path) -> None:
    axes = "axes: {method: [scratch, talking], communication.message.dim: [2, 4], seed: [0, 1]}\n"
    runs = planned(tmp_path / "study", write_study(tmp_path, f"{axes}average: [communication.message.dim]\n"))
    for run, test in zip(runs, (0.5, 0.6, 0.7, 0.8, 0.9, 0.6), strict=True):
        complete(tmp_path / "study", run, test, test)
    table = tabulate(read_results(tmp_path / "study"))
    assert [row.values["test"] for row in table.rows] == [(0.5, 0.6), pytest.approx((0.8, 0.7))]
    comparison = table.rows[1].over_scratch
    assert comparison is not None and comparison.improvement is not None
    assert comparison.improvement.value == pytest.approx(1.5 / 1.1 - 1)
    assert table.by_value is not None
    assert [row.rival is not None for row in table.by_value.rows] == [True] * 3


def test_text_csv_json_and_page_have_both(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    apart = table.by_value
    assert apart is not None
    text = as_markdown(table)
    assert "A figure of a seed is the mean over data.where.label, where all are complete." in text
    assert "\n## By data.where.label\n\n| label | method  | seeds |" in text
    write_table(tmp_path / "study", table)
    assert (tmp_path / "study" / "table.csv").read_text("utf-8") == as_csv(table)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "study" / "table_by_value.csv").read_text("utf-8"))))
    assert [(row["data.where.label"], row["method"]) for row in rows[:2]] == [("3", "scratch"), ("3", "feature")]
    data = json.loads((tmp_path / "study" / "table.json").read_text("utf-8"))
    assert data == json.loads(json.dumps(as_data(table)))
    assert data["average"] == ["data.where.label"]
    assert data["by_value"]["rows"][8]["test"]["values"] == pytest.approx(TESTS[2, 2])
    page = checked(page_of(tmp_path / "study"))
    assert "By data.where.label" in page
    assert page.count("test accuracy") >= 4
    assert "label 8, talking" in page


def test_one_averaged_value_is_compared_with_its_own_task(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    found = beside(table, "label 8, talking")
    assert [in_words(other.settings) for other in found.comparisons] == ["label 8, scratch", "label 8, feature"]
    assert [in_words(other.settings) for other in beside(table, "talking").comparisons] == ["scratch", "feature"]
    with pytest.raises(UsageError) as caught:
        beside(table, "label 8, talkin")
    assert caught.value.hint == "did you mean 'label 8, talking'?"


def test_a_study_without_averages_has_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    planned(folder, write_study(tmp_path, "axes: {method: [scratch, talking], seed: [0, 1]}\n"))
    table = tabulate(read_results(folder))
    assert (table.average, table.by_value) == ((), None)


@pytest.mark.parametrize("key", ["seed", "method", "variants", "data.where.lable", "train.epochs"])
def test_what_is_no_axis_to_average_is_refused_at_its_place(tmp_path: Path, key: str) -> None:
    axes = "axes: {data.where.label: [3, 5], method: [scratch], seed: [0], variants: {a: {}}}\n"
    write_study(tmp_path, axes)
    path = tmp_path / "small.yaml"
    path.write_text(path.read_text("utf-8") + f"average: [{key}]\n", "utf-8")
    with pytest.raises(SpecError) as caught:
        load_study(path)
    (item,) = caught.value.diagnostics
    assert str(item.place).endswith("small.yaml:5:11")
    assert item.key == "average[0]"
    assert item.message == f"found '{key}', expected one of the axes but method, seed and variants"
    assert item.hint == ("did you mean 'data.where.label'?" if key.startswith("data") else "")


def test_a_search_does_not_choose_what_is_averaged(tmp_path: Path) -> None:
    axes = "axes: {communication.message.dim: [2, 4], seed: [0]}\naverage: [communication.message.dim]\n"
    with pytest.raises(SpecError, match=r"found .* in axes too, expected it once"):
        write_study(tmp_path, f"{axes}search: {{space: {{talking: {{communication.message.dim: [2, 3]}}}}}}\n")


SEARCHED = "axes: {train.epochs: [2, 3], method: [scratch, talking], seed: [0, 1]}\naverage: [train.epochs]\n"


def searching(folder: Path, search: str) -> Study:
    return write_study(folder, f"{SEARCHED}search: {{{search}, space: {{talking: {SPACE}}}}}\n")


def test_a_trial_is_the_mean_over_the_averaged_values(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    study = searching(tmp_path, "trials: 2, seeds: [5, 6]")
    (outcome,) = searched(tmp_path, study)
    assert outcome.name == "talking"
    epochs = [next(word for word in words if word.startswith("train.epochs=")) for words in calls]
    assert sorted(epochs) == ["train.epochs=2"] * 4 + ["train.epochs=3"] * 4
    for trial in outcome.trials:
        assert len(trial.figures) == 4
        assert trial.value == pytest.approx(np.mean(trial.figures))
    folders = sorted(path.name for path in (tmp_path / "study" / "trials").glob("*/0000/*"))
    assert folders == [f"seed-{seed}_{index}_epochs-{index + 2}" for seed in (5, 6) for index in (0, 1)]
    searched(tmp_path, study)
    assert len(calls) == 8


def test_values_that_are_searched_apart_have_a_search_each(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    outcomes = searched(tmp_path, searching(tmp_path, "trials: 1, per: [train.epochs]"))
    assert [outcome.name for outcome in outcomes] == ["talking, epochs 2", "talking, epochs 3"]
    assert len(calls) == 2


def test_other_averaged_values_are_another_search(tmp_path: Path) -> None:
    ids = []
    for values in ("[2, 3]", "[2, 4]"):
        study = searching(tmp_path, "trials: 1")
        path = Path(study.source.file)
        path.write_text(path.read_text("utf-8").replace("[2, 3]", values), "utf-8")
        changed = load_study(path)
        assert changed.search is not None
        ids += [quest.id for quest in plan_quests(changed, changed.search).values()]
    assert len(set(ids)) == 2
