"""The names of figures, which are those of the Distiller."""

from __future__ import annotations

from tdspec.graph.records import TASK_METRICS
from tdspec.study.figures import FIGURES, MORE_IS_BETTER, figure_in, signed_gain


def test_the_figures_are_those_that_tasks_are_judged_by() -> None:
    assert {make().name: more for make, more in TASK_METRICS.values()} == MORE_IS_BETTER
    assert {task: make().name for task, (make, _) in TASK_METRICS.items()} == FIGURES


def test_the_figure_is_found_among_the_names_of_an_epoch() -> None:
    assert figure_in(["epoch", "loss", "task", "val_accuracy", "val_task"]) == "accuracy"
    assert figure_in(["rmse", "task"]) == "rmse"
    assert figure_in(["epoch", "loss"]) is None


def test_gain_is_positive_for_what_is_better() -> None:
    assert signed_gain("accuracy", 0.75, 0.5) == 0.25
    assert signed_gain("rmse", 0.75, 0.5) == -0.25
