"""The page of a study, from nothing done to all done."""

from __future__ import annotations

from pathlib import Path

from study_support import complete_all, page_of, planned, write_study
from test_report_page import checked

AXES = "axes: {method: [scratch, talking], seed: [0, 1, 2]}\n"


def test_a_complete_study_answers_in_its_headline(tmp_path: Path) -> None:
    runs = planned(tmp_path / "study", write_study(tmp_path, AXES))
    complete_all(tmp_path / "study", runs, {"scratch": [0.70, 0.72, 0.71], "talking": [0.80, 0.84, 0.85]})
    page = checked(page_of(tmp_path / "study"))
    assert "Best on validation: talking; on test +16.90 % ± 1.56 % against scratch</p>" in page
    assert "6 of 6 runs are complete" in page
    assert "test accuracy" in page
    assert "method-talking_seed-2_" in page


def test_what_may_be_chance_is_called_so(tmp_path: Path) -> None:
    runs = planned(tmp_path / "study", write_study(tmp_path, AXES))
    complete_all(tmp_path / "study", runs, {"scratch": [0.70, 0.72, 0.71], "talking": [0.70, 0.90, 0.65]})
    assert "against scratch, which may be chance" in page_of(tmp_path / "study")


def test_scratch_may_be_best(tmp_path: Path) -> None:
    runs = planned(tmp_path / "study", write_study(tmp_path, AXES))
    complete_all(tmp_path / "study", runs, {"scratch": [0.7, 0.7, 0.8], "talking": [0.6, 0.6, 0.5]})
    assert "Best on validation: scratch: nothing was better" in page_of(tmp_path / "study")


def test_one_seed_shows_no_error_and_says_so(tmp_path: Path) -> None:
    runs = planned(tmp_path / "study", write_study(tmp_path, "axes: {method: [scratch, talking]}\n"))
    complete_all(tmp_path / "study", runs, {"scratch": [0.7], "talking": [0.8]})
    assert "on test +14.29 % (one seed: no error can be given) against scratch" in page_of(tmp_path / "study")


def test_a_study_that_has_not_begun(tmp_path: Path) -> None:
    planned(tmp_path / "study", write_study(tmp_path, AXES))
    page = checked(page_of(tmp_path / "study"))
    assert "There is nothing to compare yet" in page
    assert "0 of 6 runs are complete" in page
