"""The picture is well-formed, the same each time, shows what the plan has and nothing else, and no text overflows."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from example_plans import example_plans

from tdspec.graph.drawing import PAPER, fit, text_width
from tdspec.graph.picture import draw
from tdspec.graph.picture_style import shape_text

PLANS = example_plans()
SVG = "{http://www.w3.org/2000/svg}"
EVERYWHERE = {
    "vit_cifar10",
    "What the student learns from",
    "How to read it",
    "label",
    "task",
    "student_prediction (10)",
}
CODECS = {"decode", "encode"}
ASKED = {"the teacher hears", "and interprets with", "the student asks"}
LOOP = {*ASKED, "the teacher answers"}
SHOWN = {
    "scratch": {"whole · 6 layers"},
    "logit": {"logit", "teacher_prediction (10)", "whole · 14 layers"},
    "feature": {"feature", "encode", "student_message", "teacher_message", "upper · not run"},
    "fitnet": {"fitnet", "identity", "teacher_message", *CODECS},
    "hybrid": {"logit", "feature", "encode", "teacher_prediction (10)", "upper · 2 layers"},
    "talking": {"interaction", "K = 2", "asks again", "once", "student_low (50, 384)", *CODECS, *LOOP},
    "talking_once": {"interaction", "K = 1", "iteration", *CODECS, *LOOP},
    "understood": {"interpretation", "K = 1", "iteration", *CODECS, *ASKED},
    "silent": {"message_consistency", "state_consistency", *CODECS},
    "one_way_control": {"interaction", "K = 2", "hears itself", "the teacher answers", *CODECS},
    "one_way_control_hybrid": {"interaction", "hears itself", "logit", "teacher_prediction (10)", *CODECS},
}
EVER = set().union(*SHOWN.values()) - {"once", "iteration", "student_low (50, 384)", "upper · 2 layers"}
TOO = {
    "logit": {"whole · 6 layers"},
    "talking": {"message_consistency", "state_consistency", "student_message", "teacher_message", "upper · not run"},
    "talking_once": {"student_message", "teacher_message", "upper · not run"},
    "understood": {"interaction", "student_message", "upper · not run"},  # the cost of it is called so
    "silent": {"student_message", "teacher_message", "upper · not run"},
    "fitnet": {"upper · not run"},
    "hybrid": {"student_message", "teacher_message"},
    "one_way_control": {
        "message_consistency",
        "state_consistency",
        "student_message",
        "teacher_message",
        "and interprets with",
        "upper · not run",
    },
    "one_way_control_hybrid": {
        "K = 2",
        "the teacher answers",
        "message_consistency",
        "state_consistency",
        "student_message",
        "teacher_message",
        "and interprets with",
    },
}


def parse(plan: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(draw(plan))


def shown_texts(picture: ElementTree.Element) -> list[str]:
    """What is written, not counting what only shows on hovering."""
    return [(element[-1].tail if len(element) else element.text) or "" for element in picture.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", PLANS)
def test_what_is_in_the_plan_is_drawn_and_nothing_else(name: str) -> None:
    texts = set(shown_texts(parse(PLANS[name])))
    assert texts >= EVERYWHERE | SHOWN[name]
    assert not texts & (EVER - SHOWN[name] - TOO.get(name, set()))


@pytest.mark.parametrize("name", PLANS)
def test_the_same_plan_gives_the_same_bytes(name: str) -> None:
    assert draw(PLANS[name]) == draw(example_plans()[name])


@pytest.mark.parametrize("name", PLANS)
def test_badges_stand_by_the_graph_and_in_the_panel(name: str) -> None:
    picture = parse(PLANS[name])
    names = [
        text
        for element, text in zip(picture.iter(f"{SVG}text"), shown_texts(picture), strict=True)
        if (element.attrib["fill"], element.attrib["font-size"], element.get("font-weight")) == (PAPER, "10", "bold")
    ]
    on_both_sides = [term["name"] for term in PLANS[name]["terms"] if term["name"] == "state_consistency"]
    assert sorted(names) == sorted(2 * [term["name"] for term in PLANS[name]["terms"]] + on_both_sides)


def long_names() -> dict[str, Any]:
    """A plan whose every name is too long for its box."""
    plan = example_plans()["talking"]
    plan["name"] = "a_name_that_says_everything_about_the_run_" * 4
    for side in ("student", "teacher"):
        plan[side]["backbone"] = "AnEnormousBackboneWithAllItsVariantsInTheName"
        for segment in plan[side]["segments"]:
            segment["output_shape"] = [None, 1024, 1024, 4096]
            for layer in segment["layers"]:
                layer["name"] = f"stage_1/block_2/{layer['name']}_with_an_adapter_<&>"
    plan["inputs"] = [{"name": f"some_column_{n}", "shape": [None, 9], "dtype": "int32"} for n in range(9)]
    return plan


@pytest.mark.parametrize("plan", [*PLANS.values(), long_names()], ids=[*PLANS, "long names"])
def test_no_text_overflows_its_box(plan: dict[str, Any]) -> None:
    picture = parse(plan)
    boxes = [
        tuple(float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        for rect in picture.iter(f"{SVG}rect")
        if "x" in rect.attrib
    ]
    for element, text in zip(picture.iter(f"{SVG}text"), shown_texts(picture), strict=True):
        x, y, size = (float(element.attrib[key]) for key in ("x", "y", "font-size"))
        width = text_width(text, size, bold="font-weight" in element.attrib)
        left = x - width / 2 if element.attrib["text-anchor"] == "middle" else x
        around = [box for box in boxes if box[0] <= x <= box[0] + box[2] and box[1] <= y <= box[1] + box[3]]
        inner = min(around, key=lambda box: box[2] * box[3], default=(0.0, 0.0, 1200.0, 2000.0))
        assert inner[0] <= left and left + width <= inner[0] + inner[2], text


def test_long_names_are_cut_in_the_middle_and_whole_on_hovering() -> None:
    picture = draw(long_names())
    assert "<title>stage_1/block_2/transformer_block_2_with_an_adapter_&lt;&amp;&gt;</title>stage_1/" in picture


@pytest.mark.parametrize("bold", [False, True])
def test_widths_are_estimated_from_above(bold: bool) -> None:
    font_manager = pytest.importorskip("matplotlib.font_manager")
    image_font = pytest.importorskip("PIL.ImageFont")
    properties = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    font = image_font.truetype(font_manager.findfont(properties), 100)
    for text in [text for plan in PLANS.values() for text in shown_texts(parse(plan))]:
        assert text_width(text, 100, bold=bold) >= 0.97 * font.getlength(text), text


def test_fit_keeps_beginning_and_end() -> None:
    assert fit("transformer_block_12", 1000, 12) == "transformer_block_12"
    shortened = fit("transformer_block_12", 90, 12)
    assert shortened.startswith("trans") and shortened.endswith("12") and "…" in shortened
    assert text_width(shortened, 12) <= 90


def test_shapes_leave_out_the_batch() -> None:
    assert [shape_text(shape) for shape in ([None], [None, 5], [None, None, 3])] == ["()", "(5)", "(?, 3)"]
