"""The table of a study: its numbers from closed forms, and no improvement without its error."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from study_support import complete, complete_all, planned, write_study

from tdspec.study.results import read_results
from tdspec.study.table import Comparison, Row, Table, tabulate
from tdspec.study.table_text import ONE_SEED, as_csv, as_data, as_markdown

AXES = "axes: {method: [scratch, feature, talking], seed: [0, 1, 2]}\n"
TESTS = {"scratch": [0.70, 0.72, 0.71], "feature": [0.70, 0.70, 0.73], "talking": [0.80, 0.84, 0.85]}


def table_of(tmp_path: Path, axes: str = AXES, figure: str = "accuracy") -> Table:
    folder = tmp_path / "study"
    complete_all(folder, planned(folder, write_study(tmp_path, axes)), TESTS, figure)
    return tabulate(read_results(folder))


def scratch_of(row: Row) -> Comparison:
    assert row.over_scratch is not None
    return row.over_scratch


def rival_of(row: Row) -> Comparison:
    assert row.rival is not None
    return row.rival


def test_rows_have_means_errors_and_the_comparison_with_scratch(tmp_path: Path) -> None:
    scratch, feature, talking = table_of(tmp_path).rows
    assert scratch.over_scratch is None
    assert talking.seeds == (0, 1, 2)
    assert talking.estimates["test"].value == pytest.approx(0.83)
    compared = scratch_of(talking)
    assert compared.improvement is not None
    assert compared.improvement.value == pytest.approx(2.49 / 2.13 - 1)
    t = 6 * math.sqrt(3)  # differences 0.10, 0.12, 0.14; 2 degrees of freedom
    assert compared.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert compared.adjusted_p_value == pytest.approx(2 * (compared.p_value or 0.0))
    assert scratch_of(feature).p_value == pytest.approx(1.0)  # differences 0, -0.02, 0.02
    assert scratch_of(feature).adjusted_p_value == pytest.approx(1.0)


def test_every_row_is_set_beside_the_best_of_another_method(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    tests = {"scratch": [0.70, 0.72, 0.71], "feature": [0.71, 0.74, 0.74], "talking": [0.80, 0.84, 0.85]}
    complete_all(folder, planned(folder, write_study(tmp_path, AXES)), tests)
    scratch, feature, talking = tabulate(read_results(folder)).rows
    assert [rival_of(row).settings["method"] for row in (scratch, feature, talking)] == [
        "talking",
        "talking",
        "feature",
    ]
    compared = rival_of(talking)
    assert compared.improvement is not None
    assert compared.improvement.value == pytest.approx(2.49 / 2.19 - 1)
    # differences 0.09, 0.10, 0.11: t = 0.10 / (0.01 / sqrt(3)); feature and talking meet both ways, which is one test
    t = 10 * math.sqrt(3)
    p = 1 - t / math.sqrt(2 + t * t)
    assert compared.p_value == pytest.approx(p)
    assert compared.adjusted_p_value == pytest.approx(2 * p)
    assert rival_of(feature).p_value == pytest.approx(p)
    assert "% (feature)" in as_markdown(tabulate(read_results(folder)))


def test_where_there_is_one_method_the_other_rows_are_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    axes = "axes: {communication.iterations: [0, 1], seed: [0, 1]}\nset: {method: talking}\n"
    runs = planned(folder, write_study(tmp_path, axes))
    for run, test in zip(runs, (0.5, 0.6, 0.7, 0.9), strict=True):
        complete(folder, run, test, test)
    first, second = tabulate(read_results(folder)).rows
    assert (first.over_scratch, second.over_scratch) == (None, None)
    assert rival_of(second).settings == {"communication.iterations": 0}
    assert rival_of(second).adjusted_p_value == pytest.approx(rival_of(first).p_value)


def test_the_choice_is_on_validation(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    runs = planned(folder, write_study(tmp_path, "axes: {method: [scratch, talking]}\n"))
    complete(folder, runs[0], validation=0.8, test=0.5)
    complete(folder, runs[1], validation=0.7, test=0.9)
    chosen = tabulate(read_results(folder)).chosen
    assert chosen is not None
    assert chosen.settings == {"method": "scratch"}


def test_a_figure_that_should_be_low_is_chosen_low(tmp_path: Path) -> None:
    table = table_of(tmp_path, figure="rmse")
    assert table.chosen is not None
    assert table.chosen.settings["method"] in {"scratch", "feature"}  # the means of both are 0.71
    improvement = scratch_of(table.rows[2]).improvement
    assert improvement is not None
    assert improvement.value == pytest.approx(1 - 2.49 / 2.13)


def test_one_seed_says_that_there_is_no_error(tmp_path: Path) -> None:
    table = table_of(tmp_path, "axes: {method: [scratch, talking], seed: [0]}\n")
    text = as_markdown(table)
    assert f"+14.29 % ({ONE_SEED})" in text
    assert "0.8000 (one seed)" in text
    assert "Where there is one seed, no error can be given" in text
    assert scratch_of(table.rows[1]).p_value is None


def test_seeds_that_only_one_of_two_has_are_not_compared(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    runs = planned(folder, write_study(tmp_path, "axes: {method: [scratch, talking], seed: [0, 1, 2]}\n"))
    complete_all(folder, [run for run in runs if run.settings != {"method": "scratch", "seed": 1}], TESTS)
    table = tabulate(read_results(folder))
    improvement = scratch_of(table.rows[1]).improvement
    assert scratch_of(table.rows[1]).pairs == 2
    assert improvement is not None
    assert improvement.value == pytest.approx(1.65 / 1.41 - 1)
    assert "| scratch | 2 of 3 |" in as_markdown(table)
    assert "Not complete: scratch, seed 1 (missing)." in as_markdown(table)


def test_without_scratch_no_improvement_is_given_and_that_is_said(tmp_path: Path) -> None:
    table = table_of(tmp_path, "axes: {method: [feature, talking], seed: [0, 1]}\n")
    assert all(row.over_scratch is None for row in table.rows)
    assert "No improvement is given" in as_markdown(table)


def test_nothing_complete_is_said(tmp_path: Path) -> None:
    planned(tmp_path / "study", write_study(tmp_path, AXES))
    table = tabulate(read_results(tmp_path / "study"))
    assert table.chosen is None
    assert "No run is complete yet." in as_markdown(table)
    assert "| talking | 0 of 3 | -" in as_markdown(table)


def test_what_an_axis_does_not_apply_to_is_a_dash(tmp_path: Path) -> None:
    table = table_of(tmp_path, "axes: {method: [scratch, talking], communication.iterations: [1, 2], seed: [0, 1]}\n")
    lines = as_markdown(table).splitlines()
    assert lines[0].startswith("| method  | iterations | seeds |")
    assert [line.split("|")[2].strip() for line in lines[2:5]] == ["-", "1", "2"]


def test_csv_and_json_have_the_numbers_unrounded(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    data = json.loads(json.dumps(as_data(table)))
    assert [row["method"] for row in rows] == ["scratch", "feature", "talking"]
    assert rows[0]["relative_improvement"] == ""
    for row, line in zip(table.rows, rows, strict=True):
        assert float(line["test"]) == row.estimates["test"].value
        assert float(line["test_error"]) == row.estimates["test"].error
    assert data["rows"][2]["over_scratch"]["p_value_holm"] == scratch_of(table.rows[2]).adjusted_p_value
    assert data["rows"][0]["over_scratch"] is None
    assert data["rows"][0]["over_best_other"]["against"] == {"method": "talking"}
    assert rows[0]["other"] == "talking"
    assert float(rows[2]["other_p_value"]) == rival_of(table.rows[2]).p_value
    assert data["rows"][2]["test"]["values"] == TESTS["talking"]
    assert data["chosen_on_validation"] == {"method": "talking"}
