"""One row of a study beside each other row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from study_support import complete_all, page_of, planned, write_study

from tdspec.cli import execute, parse
from tdspec.errors import UsageError
from tdspec.study.beside import beside
from tdspec.study.results import read_results
from tdspec.study.table import Table, tabulate

AXES = "axes: {method: [scratch, logit, talking], seed: [0, 1, 2]}\n"
FIGURES = {"scratch": [0.70, 0.72, 0.71], "logit": [0.75, 0.79, 0.74], "talking": [0.80, 0.84, 0.85]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    complete_all(tmp_path / "study", planned(tmp_path / "study", write_study(tmp_path, AXES)), FIGURES)
    return tmp_path / "study"


def _table(folder: Path) -> Table:
    return tabulate(read_results(folder))


def test_by_how_much_a_row_is_better_than_each_other(folder: Path) -> None:
    found = beside(_table(folder), "talking")
    by_name = {other.settings["method"]: other for other in found.comparisons}
    assert list(by_name) == ["scratch", "logit"]
    own = np.asarray(FIGURES["talking"])
    p_values = {}
    for name, comparison in by_name.items():
        other = np.asarray(FIGURES[name])
        assert comparison.improvement is not None
        assert comparison.improvement.value == pytest.approx(own.mean() / other.mean() - 1)
        p_values[name] = float(stats.ttest_rel(own, other).pvalue)
        assert comparison.p_value == pytest.approx(p_values[name])
    # Holm: the smaller one counts twice, the larger is at least as large as that
    small, large = sorted(p_values, key=p_values.__getitem__)
    assert by_name[small].adjusted_p_value == pytest.approx(2 * p_values[small])
    assert by_name[large].adjusted_p_value == pytest.approx(max(2 * p_values[small], p_values[large]))


def test_a_row_that_is_behind_has_negative_figures(folder: Path) -> None:
    found = beside(_table(folder), "scratch")
    assert all(other.improvement is not None and other.improvement.value < 0 for other in found.comparisons)


def test_a_row_that_is_not_there_names_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError, match="no row 'talkin'") as caught:
        beside(_table(folder), "talkin")
    assert caught.value.hint == "did you mean 'talking'?"
    with pytest.raises(UsageError) as caught:
        beside(_table(folder), "vkd")
    assert caught.value.hint == "the rows are: scratch; logit; talking"


def test_a_row_without_a_complete_run_is_refused(tmp_path: Path) -> None:
    planned(tmp_path / "study", write_study(tmp_path, AXES))
    with pytest.raises(UsageError, match="no run of 'talking' is complete"):
        beside(_table(tmp_path / "study"), "talking")


def test_report_prints_it_and_puts_it_on_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(parse(["tdspec", "report", str(folder), "--against", "talking"])) == 0
    printed = capsys.readouterr().out
    assert "| the other | seeds | talking is better by | p (Holm) |" in printed
    assert "| logit     | 3     | +9.21 % ± " in printed
    page = (folder / "report.html").read_text("utf-8")
    assert "talking beside each other row" in page and "+9.21 %" in page
    assert "beside each other row" not in page_of(folder)


def test_an_empty_name_is_not_passed_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(parse(["tdspec", "report", str(folder), "--against", ""])) == 2
    assert "the study has no row ''" in capsys.readouterr().err


def test_a_row_is_of_a_study_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(parse(["tdspec", "report", str(tmp_path), "--against", "talking"])) == 2
    assert "--against names a row of a study" in capsys.readouterr().err
