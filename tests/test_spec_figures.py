"""The figure of each task, by name."""

from __future__ import annotations

from tdspec.data.labels import TASK_LABELS
from tdspec.graph.records import TASK_METRICS
from tdspec.run.teacher_check import MEASURES
from tdspec.spec.figures import FIGURES, MORE_IS_BETTER, figure_in, signed_gain


def test_every_task_has_a_figure_and_what_computes_it() -> None:
    assert set(TASK_METRICS) == set(MEASURES) == set(TASK_LABELS) == set(FIGURES)
    assert set(FIGURES.values()) == set(MORE_IS_BETTER)


def test_the_figure_is_found_among_the_names_of_an_epoch() -> None:
    assert figure_in(["epoch", "loss", "task", "val_accuracy", "val_task"]) == "accuracy"
    assert figure_in(["rmse", "task"]) == "rmse"
    assert figure_in(["epoch", "loss"]) is None


def test_gain_is_positive_for_what_is_better() -> None:
    assert signed_gain("accuracy", 0.75, 0.5) == 0.25
    assert signed_gain("rmse", 0.75, 0.5) == -0.25
