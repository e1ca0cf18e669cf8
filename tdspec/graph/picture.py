"""The distillation graph as a picture that a person understands at a glance.

In: a plan (the content of `plan.json`). Out: an SVG, the same bytes for the same plan.
Data flows upwards. The student stands on the left, the teacher on the right, and what they say to each other between
them: questions at the height of the low cut, answers at the height of the high cut. Only what is in the plan is drawn.
Leaves out: the layers one by one (`plan.json` has them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tdspec.graph import drawing
from tdspec.graph.drawing import INK, LINE, PALE_INK, PAPER, box, label, path, pill, shifted
from tdspec.graph.picture_panels import bottom, header
from tdspec.graph.picture_style import (
    BADGE_WIDTH,
    CENTER,
    COLUMN_WIDTH,
    HIGH,
    INPUT_BELOW,
    LOW,
    MARGIN,
    PANELS_BELOW,
    PREDICTION,
    SIDES,
    TITLES,
    WIDTH,
    Plan,
    attached,
    badges,
    floor,
    shape_text,
    span,
)
from tdspec.graph.picture_talk import talk
from tdspec.graph.plan_views import plans_apart, with_one_teacher
from tdspec.spec.quantities import quantity

CUTS = {"low": (LOW, "l"), "high": (HIGH, "h")}


def draw(plan: Plan) -> str:
    """Draw a plan.

    Args:
        plan: the content of `plan.json`.

    Returns:
        The text of an SVG file, 1200 pixels wide.
    """
    whole, apart = with_one_teacher(plan), plans_apart(plan)
    parts = header(whole)
    # one conversation above the other
    step = floor(whole) + PANELS_BELOW - TITLES
    for index, one in enumerate(apart):
        parts += shifted(_conversation(one), step * index)
    panels, height = bottom(whole)
    below = step * (len(apart) - 1)
    return drawing.document(
        WIDTH, height + below, f"{plan['name']}: {plan['method']}", [*parts, *shifted(panels, below)]
    )


def _conversation(plan: Plan) -> list[str]:
    """The student, its teacher if there is one, and what they say to each other."""
    if plan["teacher"] is None:
        left = CENTER - COLUMN_WIDTH / 2
        parts = _column(plan, "student", left)
    else:
        left = MARGIN
        parts = _column(plan, "student", left)
        parts += _column(plan, "teacher", WIDTH - MARGIN - COLUMN_WIDTH)
        parts += talk(plan)
    return parts + _comparisons_on_top(plan, left + COLUMN_WIDTH)


def _column(plan: Plan, side: str, x: float) -> list[str]:
    """One model from its inputs (below) to its prediction (above)."""
    model = plan[side]
    color = SIDES[side][0]
    middle = x + COLUMN_WIDTH / 2
    size = f"{quantity(model['parameters'])} parameters · {quantity(model['flops'], 'FLOPs')}"
    name = f"{side}, {'trained' if side == 'student' else 'frozen'}"
    backbone = model["backbone"]
    if "weight" in model:
        # one of several teachers
        name, backbone = f"{model['name']}, frozen", f"{backbone}, weight {model['weight']}"
    parts = [
        label(middle, TITLES + 14, name, width=COLUMN_WIDTH, size=17, bold=True, color=color, anchor="middle"),
        label(middle, TITLES + 31, backbone, width=COLUMN_WIDTH, size=12, anchor="middle"),
        label(middle, TITLES + 46, size, width=COLUMN_WIDTH, size=10.5, color=PALE_INK, anchor="middle"),
        *_inputs(plan, middle, color),
    ]
    outputs = {segment["output"]: segment for segment in model["segments"]}
    for segment in model["segments"]:
        idle = _is_idle(plan, segment)
        parts += _segment(segment, x, span(plan, segment["name"]), side, idle=idle)
        if segment["output"] == f"{side}_prediction" and not idle:
            parts += _prediction(segment, middle, span(plan, segment["name"])[0], color)
    for cut, (y, letter) in CUTS.items():
        if f"{side}_{cut}" in outputs:
            parts += _cut(outputs[f"{side}_{cut}"], x, y, letter, color)
    return parts


def _is_idle(plan: Plan, segment: Mapping[str, Any]) -> bool:
    """Whether a segment is there but never run, since no term asks for the teacher's prediction."""
    return segment["output"] == "teacher_prediction" and not attached(plan, "predictions")


def _inputs(plan: Plan, middle: float, color: str) -> list[str]:
    inputs = [f"{item['name']} {shape_text(item['shape'])} {item['dtype']}" for item in plan["inputs"]]
    text = inputs[0] if len(inputs) == 1 else f"{len(inputs)} inputs: {', '.join(i['name'] for i in plan['inputs'])}"
    y = floor(plan) + INPUT_BELOW
    return [
        path([(middle, y - 13), (middle, floor(plan))], color=color, head="end"),
        pill((middle, y), COLUMN_WIDTH, [text], fill=PAPER, color=LINE, bold_first=False),
    ]


def _segment(
    segment: Mapping[str, Any], x: float, vertical: tuple[float, float], side: str, *, idle: bool
) -> list[str]:
    """A box with the segment's name, its layers from first to last, and its size."""
    y, height = vertical
    color, pale = (PALE_INK, PAPER) if idle else SIDES[side]
    width = COLUMN_WIDTH - 24
    layers = [layer["name"] for layer in segment["layers"]]
    count = f"{len(layers)} layer{'' if len(layers) == 1 else 's'}"
    note = f"{segment['name']} · {'not run' if idle else count}"
    size = f"{quantity(segment['parameters'])} parameters · {quantity(segment['flops'], 'FLOPs')}"
    start = y + height / 2 - 35
    lines = [layers[0] if layers else "", f"to {layers[-1]}" if len(layers) > 1 else ""]
    return [
        box(x, y, COLUMN_WIDTH, height, fill=pale, stroke=color, dashed=idle),
        label(x + 12, start + 13, note, width=width, size=13, bold=True, color=color),
        *(
            label(x + 12, start + 32 + 16 * index, line, width=width, color=PALE_INK if idle else INK)
            for index, line in enumerate(lines)
        ),
        label(x + 12, start + 66, size, width=width, size=10.5, color=PALE_INK),
    ]


def _prediction(segment: Mapping[str, Any], middle: float, top: float, color: str) -> list[str]:
    text = f"{segment['output']} {shape_text(segment['output_shape'])}"
    return [
        path([(middle, top), (middle, PREDICTION + 13)], color=color, head="end"),
        pill((middle, PREDICTION), COLUMN_WIDTH, [text], fill=PAPER, color=color),
    ]


def _cut(segment: Mapping[str, Any], x: float, y: float, letter: str, color: str) -> list[str]:
    """The cut line with its letter and the state that passes through it."""
    middle = x + COLUMN_WIDTH / 2
    state = f"{segment['output']} {shape_text(segment['output_shape'])}"
    return [
        path([(x - 10, y), (x + COLUMN_WIDTH + 10, y)], color=color, dashed=True),
        path([(middle, y + 28), (middle, y + 13)], color=color, head="end"),
        path([(middle, y - 13), (middle, y - 28)], color=color, head="end"),
        pill((middle + 14, y), COLUMN_WIDTH - 28, [state], fill=PAPER, color=color),
        f'<circle cx="{drawing.number(x + 12)}" cy="{drawing.number(y)}" r="11" fill="{color}"/>',
        label(x + 12, y + 4.5, letter, width=20, size=13, bold=True, italic=True, color=PAPER, anchor="middle"),
    ]


def _comparisons_on_top(plan: Plan, x: float) -> list[str]:
    """What the student's prediction is compared with: the label (one branch) and the teacher's prediction (another)."""
    parts = []
    task_height = PREDICTION
    if attached(plan, "predictions"):
        task_height = PREDICTION - 46
        right = WIDTH - MARGIN - COLUMN_WIDTH
        parts += [
            path([(x, PREDICTION), (right, PREDICTION)], color=PALE_INK, dashed=True),
            *badges(plan, "predictions", (CENTER, PREDICTION)),
        ]
    if attached(plan, "label"):
        bend = [(x, PREDICTION), (x + 16, PREDICTION), (x + 16, task_height), (x + 170, task_height)]
        parts += [
            path(bend, color=PALE_INK, dashed=True),
            pill((x + 206, task_height), 84, ["label"], fill=PAPER, color=PALE_INK),
            *badges(plan, "label", (x + 92, task_height), BADGE_WIDTH),
        ]
    return parts
