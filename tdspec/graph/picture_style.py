"""What all parts of the picture agree on: measures, colours, how terms are attached.

In: a plan's parts. Out: places, colours and short texts.
Leaves out: shapes (`drawing.py`) and the parts themselves (`picture*.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tdspec.graph.drawing import badge
from tdspec.graph.plan_views import key_of

Plan = Mapping[str, Any]
Term = Mapping[str, Any]

WIDTH = 1200.0
CENTER = WIDTH / 2
MARGIN = 30.0
COLUMN_WIDTH = 230.0
BADGE_WIDTH = 116.0

# Heights at which things stand; data flows upwards.
TITLES, PREDICTION, HIGH, LOW, FLOOR = 116.0, 182.0, 326.0, 490.0, 606.0
SEGMENTS = {"upper": (210.0, 88.0), "middle": (354.0, 108.0), "lower": (518.0, 88.0)}
INPUT_BELOW, PANELS_BELOW = 34.0, 72.0

STUDENT, STUDENT_PALE = "#2563eb", "#eff6ff"
TEACHER, TEACHER_PALE = "#7c3aed", "#f5f3ff"
TALK, TALK_PALE = "#b45309", "#fffbeb"
SIDES = {"student": (STUDENT, STUDENT_PALE), "teacher": (TEACHER, TEACHER_PALE)}
TERM_COLORS = {
    "task": "#334155",
    "logit": "#0369a1",
    "feature": "#0f766e",
    "fitnet": "#a21caf",
    "interaction": "#be123c",
    "interpretation": "#9d174d",
    "message_consistency": "#0f766e",
    "state_consistency": "#4d7c0f",
}
OTHER_TERM_COLORS = ("#92400e", "#3f3f46", "#6b21a8", "#155e75")


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape without its batch: [null, 50, 768] -> "(50, 768)"; an open size is "?"."""
    return f"({', '.join('?' if size is None else str(size) for size in shape[1:])})"


def floor(plan: Plan) -> float:
    """Where the lowest boxes end: higher up where no model is cut."""
    is_cut = any(plan[side] is not None and plan[side]["cut"] is not None for side in SIDES)
    return FLOOR if is_cut else SEGMENTS["upper"][0] + SEGMENTS["middle"][1]


def span(plan: Plan, segment: str) -> tuple[float, float]:
    """Top and height of a segment's box; a whole model takes the height of all three."""
    top = SEGMENTS["upper"][0]
    return (top, floor(plan) - top) if segment == "whole" else SEGMENTS[segment]


def term_colors(plan: Plan) -> dict[str, str]:
    """A colour for each term by its name: the same in every picture for the terms tdspec has, then what is left."""
    keys = {term["name"]: key_of(term) for term in plan["terms"]}
    others = dict.fromkeys(key for key in keys.values() if key not in TERM_COLORS)
    more = {key: OTHER_TERM_COLORS[index % len(OTHER_TERM_COLORS)] for index, key in enumerate(others)}
    known = TERM_COLORS | more
    return known | {name: known[key] for name, key in keys.items()}


def attached(plan: Plan, place: str) -> list[Term]:
    """The terms whose badge belongs at a place: label, predictions, messages, student_states or teacher_states."""
    return [term for term in plan["terms"] if place in places(term)]


def places(term: Term) -> set[str]:
    """Where a term's comparisons happen, from the tensors it names."""
    return {_place(target, prediction) for target, prediction in zip(term["target"], term["prediction"], strict=True)}


def _place(target: str, prediction: str) -> str:
    if target == "label":
        return "label"
    if "_prediction" in target:
        return "predictions"
    if "_message" in target:
        return "messages"
    return f"{prediction.partition('_')[0]}_states"


def badges(plan: Plan, place: str, center: tuple[float, float], width: float = BADGE_WIDTH) -> list[str]:
    """The badges of a place, stacked upwards from a centre."""
    x, y = center
    colors = term_colors(plan)
    return [
        badge((x, y - 39 * index), width, term["name"], f"weight {term['weight']:g}", colors[term["name"]])
        for index, term in enumerate(attached(plan, place))
    ]
