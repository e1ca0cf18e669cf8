"""The answer: what is said of each kind of run, and how much of a difference is noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from report_support import CONTROL, add_epochs, begun, complete_run

from tdspec.report.answer import ONE_SEED, Answer, answer
from tdspec.report.reading import read_facts


def answered(folder: Path, **record: Any) -> Answer:
    return answer(read_facts(complete_run(folder, **record)))


def control(validation: float, test: float, figure: str = "accuracy") -> dict[str, Any]:
    metrics = {"validation": {figure: validation, "task": 1.0}, "test": {figure: test, "task": 1.0}}
    return {**CONTROL, "metrics": metrics}


def test_a_clear_difference_to_the_control_is_the_headline(tmp_path: Path) -> None:
    found = answered(tmp_path, control=CONTROL)
    assert found.headline == "With this seed, distillation helped"
    assert found.rows == (
        ("student (talking)", ("0.8000", "0.7500")),
        ("control (scratch)", ("0.7000", "0.6000")),
        ("difference", ("+0.1000 (+14.3 %)", "+0.1500 (+25.0 %)")),
    )
    assert ONE_SEED in found.remarks


def test_noise_is_two_standard_errors_of_two_shares(tmp_path: Path) -> None:
    found = answered(tmp_path, control=control(0.7, 0.72))
    assert found.headline == "With this seed, distillation helped, but within the noise of the test split"
    noise = 2 * math.sqrt((0.75 * 0.25 + 0.72 * 0.28) / 400)
    assert any(f"may differ by {noise:.4f}" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("validation", "test", "headline"),
    [
        (0.9, 0.95, "With this seed, distillation did harm"),
        (0.8, 0.75, "With this seed, distillation made no difference"),
        (0.8, 0.76, "With this seed, distillation did harm, but within the noise of the test split"),
    ],
)
def test_what_did_not_help_is_said(tmp_path: Path, validation: float, test: float, headline: str) -> None:
    assert answered(tmp_path, control=control(validation, test)).headline == headline


def test_a_validation_split_that_disagrees_is_mentioned(tmp_path: Path) -> None:
    assert "The validation split says the opposite." in answered(tmp_path, control=control(0.9, 0.6)).remarks


def test_a_figure_that_should_be_low_is_judged_so_and_has_no_noise(tmp_path: Path) -> None:
    metrics = {"validation": {"rmse": 0.9, "task": 1.0}, "test": {"rmse": 0.9, "task": 1.0}}
    found = answered(tmp_path, metrics=metrics, control=control(1.0, 1.0, "rmse"))
    assert found.headline == "With this seed, distillation helped"
    assert found.remarks[0].endswith("-0.1000 (-10.0 %); lower is better.")
    assert not any("standard errors" in remark for remark in found.remarks)


def test_without_a_control_nothing_is_claimed(tmp_path: Path) -> None:
    found = answered(tmp_path)
    assert found.headline == "Whether distillation helped is not known"
    assert "--control" in found.remarks[0]


def test_a_run_of_scratch_is_no_distillation(tmp_path: Path) -> None:
    assert answered(tmp_path, method="scratch").headline == "This student learned from the labels alone"


@pytest.mark.parametrize(
    ("record", "headline", "remark"),
    [
        ({"status": "created"}, "The run has not started", "0 of 2 epochs are done"),
        ({"status": "interrupted", "method": "talking"}, "The run was interrupted", "tdspec train --resume --run-dir"),
        ({"status": "running", "method": "talking"}, "The run was cut off: its process is gone", "--resume"),
        ({"status": "failed", "error": "training diverged"}, "The run failed", "Error: training diverged."),
    ],
)
def test_a_run_without_figures_says_where_it_stands(
    tmp_path: Path, record: dict[str, Any], headline: str, remark: str
) -> None:
    found = answer(read_facts(begun(tmp_path, **record)))
    assert found.headline == headline
    assert any(remark in each for each in found.remarks)
    assert found.rows == ()


def test_epochs_that_are_done_are_counted(tmp_path: Path) -> None:
    run = begun(tmp_path, status="interrupted", method="talking")
    add_epochs(run, 1)
    assert answer(read_facts(run)).remarks[0].startswith("1 of 2 epochs are done")
