"""What is kept of the teacher: what the terms need and no more, with the same values as in the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from graph_helpers import compiled, only, pixels, vit

from tdspec.graph.compiler import Compiled
from tdspec.graph.plan import plan_of
from tdspec.graph.summary import plan_lines
from tdspec.graph.walk import nodes_of
from tdspec.spec.checks import TERMS

NEEDED = {
    "logit": ("teacher_prediction",),
    "feature": ("teacher_low", "teacher_high"),
    "fitnet": ("teacher_low", "teacher_high"),
    "vkd": ("teacher_high",),
    "hybrid": ("teacher_low", "teacher_high", "teacher_prediction"),
    "talking": ("teacher_low", "teacher_high"),
    "one_way_control": ("teacher_low", "teacher_high"),
}


def cached(folder: Path, method: str, cache: Any = True, **options: Any) -> Compiled:
    data = {"source": "digits", "batch_size": 8, "teacher_cache": cache}
    return compiled(folder, method, data=data, **options)


def _called(found: Compiled) -> set[str]:
    operations = [node.operation for node in nodes_of(found.distiller)]
    return {getattr(operation, "model", operation).name for operation in operations}


@pytest.mark.parametrize("method", NEEDED)
def test_only_what_terms_need_is_kept(method: str, tmp_path: Path) -> None:
    found = cached(tmp_path, method)
    assert found.cached == NEEDED[method]
    assert set(found.distiller.input) == {"image", *found.cached}
    assert {str(found.distiller.input[name].dtype) for name in found.cached} == {"bfloat16"}
    interprets = {"teacher_middle"} if method in ("talking", "one_way_control") else set()
    assert {name for name in _called(found) if name.startswith("teacher") and "codec" not in name} - {
        *found.cached
    } == interprets


def test_nothing_is_kept_where_only_the_interaction_is_asked_for(tmp_path: Path) -> None:
    found = cached(tmp_path, "talking", losses={"task": 1.0, **only("talking", "interaction")})
    assert found.cached == ()
    assert "teacher_cache" not in plan_of(found)


@pytest.mark.parametrize("method", [method for method in TERMS if method not in ("scratch", "attention")])
def test_terms_have_the_same_values(method: str, tmp_path: Path) -> None:
    plain = compiled(tmp_path, method)
    found = cached(tmp_path, method, {"dtype": "float32"})
    for one, other in zip(plain.distiller.trained_variables, found.distiller.trained_variables, strict=True):
        assert np.array_equal(one, other)
    image, label, weight = keras.ops.convert_to_tensor(pixels()), np.arange(8) % 10, np.ones(8, "float32")
    states = found.teacher_states()({"image": image})
    values = plain.distiller.term_values(plain.distiller({"image": image}), label, weight)
    more = found.distiller.term_values(found.distiller({"image": image, **states}), label, weight)
    assert values.keys() == more.keys()
    for name, value in values.items():
        np.testing.assert_allclose(more[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_sequences_are_kept_as_they_are(tmp_path: Path) -> None:
    found = cached(
        tmp_path, "talking", teacher=vit(), student=vit(num_layers=2), teacher_cut=(1, 2), student_cut=(1, 2)
    )
    assert found.distiller.input["teacher_low"].shape == (None, 5, 8)
    plan = plan_of(found)
    assert plan["teacher_cache"]["bytes_per_example"] == 2 * 2 * 5 * 8
    assert plan["cost"]["teacher"] == 0 < plan["cost"]["interaction"]
    without = plan_of(compiled(tmp_path, teacher=vit(), student=vit(), teacher_cut=(1, 2), student_cut=(1, 2)))
    assert plan["teacher_cache"]["flops_spared"] == without["cost"]["teacher"]
    assert plan["cost"]["total"] + plan["teacher_cache"]["flops_spared"] == without["cost"]["total"]
    assert "teacher cache: teacher_low 5 x 8, teacher_high 5 x 8 in bfloat16, 160 B" in plan_lines(plan)[-1]


def test_the_states_model_has_no_trace_of_training(tmp_path: Path) -> None:
    states = cached(tmp_path, "hybrid").teacher_states()
    assert isinstance(states, keras.Model) and not states.trainable_variables
    image = keras.ops.convert_to_tensor(pixels())
    assert np.array_equal(
        states({"image": image}, training=True)["teacher_low"], states({"image": image})["teacher_low"]
    )
