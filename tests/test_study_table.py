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
from tdspec.study.table import ONE_SEED, Table, as_csv, as_data, as_markdown, tabulate

AXES = "axes: {method: [scratch, feature, talking], seed: [0, 1, 2]}\n"
TESTS = {"scratch": [0.70, 0.72, 0.71], "feature": [0.70, 0.70, 0.73], "talking": [0.80, 0.84, 0.85]}


def table_of(tmp_path: Path, axes: str = AXES, figure: str = "accuracy") -> Table:
    folder = tmp_path / "study"
    complete_all(folder, planned(folder, write_study(tmp_path, axes)), TESTS, figure)
    return tabulate(read_results(folder))


def test_rows_have_means_errors_and_the_comparison_with_scratch(tmp_path: Path) -> None:
    scratch, feature, talking = table_of(tmp_path).rows
    assert scratch.improvement is None
    assert talking.seeds == (0, 1, 2)
    assert talking.estimates["test"].value == pytest.approx(0.83)
    assert talking.improvement is not None
    assert talking.improvement.value == pytest.approx(2.49 / 2.13 - 1)
    t = 6 * math.sqrt(3)  # differences 0.10, 0.12, 0.14; 2 degrees of freedom
    assert talking.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert talking.adjusted_p_value == pytest.approx(2 * (talking.p_value or 0.0))
    assert feature.p_value == pytest.approx(1.0)  # differences 0, -0.02, 0.02
    assert feature.adjusted_p_value == pytest.approx(1.0)


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
    assert table.rows[2].improvement is not None
    assert table.rows[2].improvement.value == pytest.approx(1 - 2.49 / 2.13)


def test_one_seed_says_that_there_is_no_error(tmp_path: Path) -> None:
    table = table_of(tmp_path, "axes: {method: [scratch, talking], seed: [0]}\n")
    text = as_markdown(table)
    assert f"+14.3 % ({ONE_SEED})" in text
    assert "0.8000 (one seed)" in text
    assert "Where there is one seed, no error can be given" in text
    assert table.rows[1].p_value is None


def test_seeds_that_only_one_of_two_has_are_not_compared(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    runs = planned(folder, write_study(tmp_path, "axes: {method: [scratch, talking], seed: [0, 1, 2]}\n"))
    complete_all(folder, [run for run in runs if run.settings != {"method": "scratch", "seed": 1}], TESTS)
    table = tabulate(read_results(folder))
    improvement = table.rows[1].improvement
    assert table.rows[1].pairs == 2
    assert improvement is not None
    assert improvement.value == pytest.approx(1.65 / 1.41 - 1)
    assert "| scratch | 2 of 3 |" in as_markdown(table)
    assert "Not complete: scratch, seed 1 (missing)." in as_markdown(table)


def test_without_scratch_no_improvement_is_given_and_that_is_said(tmp_path: Path) -> None:
    table = table_of(tmp_path, "axes: {method: [feature, talking], seed: [0, 1]}\n")
    assert all(row.improvement is None and row.p_value is None for row in table.rows)
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
    assert data["rows"][2]["p_value_holm"] == table.rows[2].adjusted_p_value
    assert data["rows"][2]["test"]["values"] == TESTS["talking"]
    assert data["chosen_on_validation"] == {"method": "talking"}
