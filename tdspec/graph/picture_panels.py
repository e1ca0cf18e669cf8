"""The picture's header, and below the graph what the badges mean, what a step costs and what the lines mean.

In: a plan. Out: SVG elements.
Leaves out: the graph itself (`picture.py`, `picture_talk.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tdspec.graph.drawing import INK, PALE_INK, PAPER, badge, bar, box, label, path, text_width
from tdspec.graph.picture_style import (
    BADGE_WIDTH,
    MARGIN,
    PANELS_BELOW,
    STUDENT,
    STUDENT_PALE,
    TALK,
    TEACHER,
    TEACHER_PALE,
    WIDTH,
    Plan,
    attached,
    floor,
    shape_text,
    term_colors,
)
from tdspec.spec.quantities import quantity

COST_COLORS = {"student": STUDENT, "teacher": TEACHER, "interaction": TALK, "codecs": "#0f766e"}
ROW, HEAD, PAD = 62.0, 44.0, 16.0
LEFT_WIDTH = 740.0
RIGHT = MARGIN + LEFT_WIDTH + 20
RIGHT_WIDTH = WIDTH - MARGIN - RIGHT
LEGEND_ROW = 23.0
Mark = Callable[[float, float], str]


def header(plan: Plan) -> list[str]:
    """The name, the method, and the figures one asks for first."""
    task, totals, cost = plan["task"], plan["totals"]["parameters"], plan["cost"]
    classes = f", {task['num_classes']} classes" if task["type"] in ("classification", "multilabel") else ""
    figures = [
        f"{task['type']}{classes}",
        f"{quantity(totals['trained'])} parameters trained",
        f"{quantity(sum(totals[side] for side in ('student', 'teacher', 'codecs')))} in all",
        f"{quantity(cost['total'], 'FLOPs')} per example and step",
    ]
    if plan["message"] is not None:
        message = shape_text([None, *plan["message"]["positions"], plan["message"]["dim"]])
        figures.insert(1, f"messages {message}")
    method_width = text_width(plan["method"], 14, bold=True) + 28
    room = WIDTH - 2 * MARGIN - method_width - 16
    name_width = min(room, text_width(plan["name"], 26, bold=True) / 1.08)
    chip = MARGIN + name_width + 16
    return [
        label(MARGIN, 48, plan["name"], width=room, size=26, bold=True),
        box(chip, 27, method_width, 28, fill=INK, stroke=INK, radius=14),
        label(
            chip + method_width / 2,
            46,
            plan["method"],
            width=method_width,
            size=14,
            bold=True,
            color=PAPER,
            anchor="middle",
        ),
        label(MARGIN, 78, "   ·   ".join(figures), width=WIDTH - 2 * MARGIN, size=13, color=PALE_INK),
        path([(MARGIN, 94), (WIDTH - MARGIN, 94)], color="#e2e8f0"),
    ]


def bottom(plan: Plan) -> tuple[list[str], float]:
    """The panels below the graph, and the height of the whole picture with them."""
    marks, top = _marks(plan), floor(plan) + PANELS_BELOW
    terms_height = HEAD + ROW * len(plan["terms"]) + 8
    cost_height = 92.0
    legend_height = HEAD + LEGEND_ROW * len(marks)
    height = max(terms_height, cost_height + 16 + legend_height)
    parts = [
        *_terms(plan, top, height),
        *_cost(plan, top, cost_height),
        *_legend(marks, top + cost_height + 16, height - cost_height - 16),
    ]
    return parts, top + height + MARGIN


def _panel(x: float, y: float, width: float, height: float, title: str) -> list[str]:
    return [
        box(x, y, width, height, fill="#f8fafc", stroke="#e2e8f0", radius=10),
        label(x + PAD, y + 26, title, width=width - 2 * PAD, size=14, bold=True),
    ]


def _terms(plan: Plan, top: float, height: float) -> list[str]:
    """A row for each term: its badge, what it compares, and by which formula."""
    parts = _panel(MARGIN, top, LEFT_WIDTH, height, "What the student learns from")
    for index, term in enumerate(plan["terms"]):
        y = top + HEAD + ROW * index + 22
        x = MARGIN + PAD + BADGE_WIDTH + 46
        width = LEFT_WIDTH - (x - MARGIN) - PAD
        color = term_colors(plan)[term["name"]]
        center = (MARGIN + PAD + (BADGE_WIDTH + 30) / 2, y)
        parts += [
            badge(center, BADGE_WIDTH + 30, term["name"], f"weight {term['weight']:g}", color),
            label(x, y - 10, _names(term["prediction"]), width=width, size=12),
            label(x, y + 6, f"against {_names(term['target'])}", width=width, size=12),
            label(x, y + 22, f"{term['distance']}:  {term['formula']}", width=width, size=11, color=PALE_INK),
        ]
    return parts


def _names(tensors: Sequence[str]) -> str:
    """Tensors by name, each once; those of iterations 1 to K as one."""
    parts = [name.rpartition("_") for name in tensors]
    iterations = max((int(number) for _, _, number in parts if number.isdigit()), default=1)
    if iterations == 1:
        return ", ".join(dict.fromkeys(tensors))
    stems = dict.fromkeys(stem for stem, _, _ in parts)
    return f"{', '.join(f'{stem}_k' for stem in stems)} for k = 1 to {iterations}"


def _cost(plan: Plan, top: float, height: float) -> list[str]:
    """A step's cost as a bar of shares, with each share's figure."""
    cost = plan["cost"]
    shares = [(name, cost[name], color) for name, color in COST_COLORS.items() if cost[name] > 0]
    title = f"A step costs {quantity(cost['total'], 'FLOPs')} an example"
    parts = _panel(RIGHT, top, RIGHT_WIDTH, height, title)
    if not shares:
        return parts
    parts.append(bar(RIGHT + PAD, top + 38, RIGHT_WIDTH - 2 * PAD, 14, [(share, color) for _, share, color in shares]))
    step = (RIGHT_WIDTH - 2 * PAD) / len(shares)
    for index, (name, share, color) in enumerate(shares):
        x = RIGHT + PAD + step * index
        percent = f"{100 * share / cost['total']:.0f} %"
        parts += [
            label(x, top + 68, name, width=step - 6, size=11, bold=True, color=color),
            label(x, top + 83, percent, width=step - 6, size=11, color=PALE_INK),
        ]
    return parts


def _marks(plan: Plan) -> list[tuple[str, Mark]]:
    """The kinds of lines and boxes that this picture has, each with how it is drawn."""
    names = {codec["name"] for codec in plan["codecs"]}
    has_teacher, several = plan["teacher"] is not None, "teachers" in plan and len(plan["teachers"]) > 1
    has_cut = plan["student"]["cut"] is not None
    found = [
        (True, "trained: the student", lambda x, y: box(x, y - 7, 34, 14, fill=STUDENT_PALE, stroke=STUDENT, radius=4)),
        (
            has_teacher,
            "frozen: the teachers" if several else "frozen: the teacher",
            lambda x, y: box(x, y - 7, 34, 14, fill=TEACHER_PALE, stroke=TEACHER, radius=4),
        ),
        (
            has_teacher and not attached(plan, "predictions") and bool(names),
            "there, but not run in training",
            lambda x, y: box(x, y - 7, 34, 14, stroke=PALE_INK, radius=4, dashed=True),
        ),
        (bool(names), "trained: codecs", lambda x, y: box(x, y - 7, 34, 14, stroke=PALE_INK, radius=4)),
        (True, "data through a model", lambda x, y: path([(x, y), (x + 34, y)], color=STUDENT, head="end")),
        (has_cut, "cut: l (low) and h (high)", lambda x, y: path([(x, y), (x + 34, y)], color=STUDENT, dashed=True)),
        (bool(names), "messages", lambda x, y: path([(x, y), (x + 34, y)], color=TALK, width=2.5, head="end")),
        (
            bool(plan["terms"]),
            "compared by the terms on the line",
            lambda x, y: path([(x, y), (x + 34, y)], color=PALE_INK, dashed=True),
        ),
    ]
    return [(text, mark) for present, text, mark in found if present]


def _legend(marks: list[tuple[str, Mark]], y: float, height: float) -> list[str]:
    parts = _panel(RIGHT, y, RIGHT_WIDTH, height, "How to read it")
    for index, (text, mark) in enumerate(marks):
        middle = y + HEAD + LEGEND_ROW * index + 6
        parts += [
            mark(RIGHT + PAD, middle),
            label(RIGHT + PAD + 46, middle + 4, text, width=RIGHT_WIDTH - 2 * PAD - 46, size=12, color=INK),
        ]
    return parts
