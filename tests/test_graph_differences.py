"""Each kind of change gets its line; the same plan twice gets none."""

from __future__ import annotations

from typing import Any

import pytest
from example_plans import example_plans, term

from tdspec.graph.differences import describe, describe_specs


def change(plan: dict[str, Any], path: str, value: Any) -> None:
    """Set one value deep inside a plan; parts of the path that are digits count in lists."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    place: Any = plan
    for part in parents:
        place = place[part]
    place[last] = value


@pytest.mark.parametrize("name", example_plans())
def test_the_same_plan_differs_in_nothing(name: str) -> None:
    assert describe(example_plans()[name], example_plans()[name]) == ()


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("name", "other", "name: vit_cifar10 -> other"),
        ("task/num_classes", 100, "task num_classes: 10 -> 100"),
        ("inputs/0/shape", [None, 32, 32, 3], "input image: (?, ?, 3) uint8 -> (32, 32, 3) uint8"),
        ("teacher/backbone", "DeiTBackbone", "teacher backbone: ViTBackbone -> DeiTBackbone"),
        ("teacher/cut/low", "block_3", "teacher cut low: transformer_block_4 -> block_3"),
        ("teacher/flops", 4 * 10**9, "teacher FLOPs: 8.75 G -> 4.00 G (-54.3 %)"),
        ("student/segments/1/output_shape", [None, 50, 192], "student middle output: (50, 384) -> (50, 192)"),
        ("student/segments/1/parameters", 20303488, "student middle parameters: 10.2 M -> 20.3 M (+100.0 %)"),
        ("student/segments/1/layers/0/class", "MoE", "student middle: layer transformer_block_2 differs"),
        ("message", {"dim": 64, "positions": [7, 7]}, "message: (50, 256) -> (7, 7, 64)"),
        ("iterations", 3, "iterations: 2 -> 3"),
        ("codecs/0/type", "linear", "codec student_codec.encode: mlp with 1.31 M parameters -> "
         "linear with 1.31 M parameters"),
        ("terms/1/weight", 0.25, "term interaction weight: 0.5 -> 0.25"),
        ("terms/1/distance", "l2", "term interaction distance: relative_l2 -> l2"),
        ("terms/1/options", {"temperature": 2.0}, "term interaction options: {} -> {temperature: 2.0}"),
        ("terms/1", term("interaction", 3), "term interaction compares 6 pairs instead of 4"),
        ("totals/parameters/student", 30455233, "parameters, student: 30455232 -> 30455233 (+0.0 %)"),
        ("cost/total", 10**12, "cost of a step, total: 37.1 GFLOPs -> 1.00 TFLOPs (27 times as much)"),
        ("cost/interaction", 10**9, "cost of a step, interaction: 20.0 GFLOPs -> 1.00 GFLOPs (1/20 of it)"),
        ("spec_sha256", "1" * 64, "the specs differ, but not in the graph"),
        ("versions/keras", "4.0.0", "version of keras: 3.15.1 -> 4.0.0"),
    ],
)  # fmt: skip
def test_a_single_change_is_a_single_line(path: str, value: Any, line: str) -> None:
    after = example_plans()["talking"]
    change(after, path, value)
    assert describe(example_plans()["talking"], after) == (line,)


def test_versions_come_last() -> None:
    after = example_plans()["talking"]
    after["versions"] = {"tdspec": "0.2.0"}
    after["name"] = "other"
    assert describe(example_plans()["talking"], after) == (
        "name: vit_cifar10 -> other",
        "version of keras removed: 3.15.1",
        "version of tdspec: 0.1.0 -> 0.2.0",
    )


def test_another_method() -> None:
    plans = example_plans()
    assert describe(plans["scratch"], plans["logit"]) == (
        "method: scratch -> logit",
        "teacher added: ViTBackbone with 87.5 M parameters",
        "term logit added: weight 0.5, distance relative_l2",
        "parameters, teacher: 0 -> 87.5 M",
        "cost of a step, teacher: 0 FLOPs -> 8.00 GFLOPs",
        "cost of a step, total: 9.00 GFLOPs -> 17.0 GFLOPs (+88.9 %)",
    )
    lines = describe(plans["talking"], plans["logit"])
    assert "teacher cut: transformer_block_4 and transformer_block_12 -> not cut" in lines
    assert "message: (50, 256) -> nothing" in lines
    assert "term state_consistency removed (weight 0.5)" in lines
    assert "codec teacher_codec.decode removed: mlp with 1.31 M parameters" in lines


def test_specs_differ_by_key_path() -> None:
    before = {"seed": 0, "data": {"batch_size": 128, "augment": ["flip"]}, "teacher": None, "losses": {"task": 1}}
    after = {"seed": 0, "data": {"batch_size": 64, "augment": ["flip", "crop"]}, "teacher": {"cut": {"low": 4}}}
    assert describe_specs(before, after) == (
        "data.batch_size: 128 -> 64",
        "data.augment: [flip] -> [flip, crop]",
        "teacher: null -> {cut: {low: 4}}",
        "losses: {task: 1} -> removed",
    )
    assert describe_specs({"a": True, "b": 1}, {"a": 1, "b": 1.0, "c": False}) == (
        "a: true -> 1",
        "b: 1 -> 1.0",
        "c: added false",
    )
    assert describe_specs(before, before) == ()
