"""The middle of the picture: codecs, the messages between them, and what is compared there.

In: a plan. Out: SVG elements. The conversation is a loop against the clock: the student's message goes right at the
height of the low cut, the teacher's layers carry it up, and the answer comes back at the height of the high cut.
Leaves out: the two columns (`picture.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tdspec.graph.drawing import PALE_INK, PAPER, box, label, path, pill
from tdspec.graph.picture_style import (
    CENTER,
    COLUMN_WIDTH,
    HIGH,
    LOW,
    MARGIN,
    SIDES,
    TALK,
    TALK_PALE,
    WIDTH,
    Plan,
    attached,
    badges,
    shape_text,
)
from tdspec.spec.checks import CONTROL_METHODS
from tdspec.spec.quantities import quantity

CODEC_WIDTH, CODEC_HEIGHT, MESSAGE_WIDTH, BADGE_ROOM = 116.0, 66.0, 128.0, 126.0
STUDENT_EDGE, TEACHER_EDGE = MARGIN + COLUMN_WIDTH + 16, WIDTH - MARGIN - COLUMN_WIDTH - 16
STUDENT_CODEC, TEACHER_CODEC = STUDENT_EDGE + BADGE_ROOM, TEACHER_EDGE - BADGE_ROOM - CODEC_WIDTH
MESSAGE_LEFT, MESSAGE_RIGHT = CENTER - MESSAGE_WIDTH / 2, CENTER + MESSAGE_WIDTH / 2
ROWS = {
    "student_codec.encode": (STUDENT_CODEC, LOW),
    "teacher_codec.decode": (TEACHER_CODEC, LOW),
    "teacher_codec.encode": (TEACHER_CODEC, HIGH),
    "student_codec.decode": (STUDENT_CODEC, HIGH),
}
HALF_WAY = (HIGH + LOW) / 2
MESSAGES = {"student_message": LOW, "teacher_message": HIGH}


def _word(x: float, y: float, text: str, width: float) -> str:
    """What happens there, in the conversation's colour."""
    return label(x, y, text, width=width, size=11.5, color=TALK, italic=True, anchor="middle")


def _spoken(*points: tuple[float, float]) -> str:
    """The way of a message."""
    return path(points, color=TALK, width=2.5, head="end")


def talk(plan: Plan) -> list[str]:
    """All that stands between the two columns; nothing for a plan without codecs."""
    codecs = {codec["name"]: codec for codec in plan["codecs"]}
    parts: list[str] = []
    for name, codec in codecs.items():
        parts += _codec(name, codec)
    for name in codecs:
        parts += _state_lines(plan, name)
    parts += _message_lines(plan, set(codecs))
    spoken = [codec["outputs"] for name, codec in codecs.items() if name.endswith("encode")]
    parts += _messages(plan, {name: shape for outputs in spoken for name, shape in outputs.items()})
    parts += _iterations(plan)
    return parts


def _codec(name: str, codec: Mapping[str, Any]) -> list[str]:
    x, y = ROWS[name]
    side, _, verb = name.partition(".")
    color = SIDES[side.partition("_")[0]][0]
    middle, width, top = x + CODEC_WIDTH / 2, CODEC_WIDTH - 12, y - CODEC_HEIGHT / 2
    size = f"{codec['type']} · {quantity(codec['parameters'])}" if codec["parameters"] else codec["type"]
    title = f"{name}: {codec['parameters']} parameters, {codec['flops']} FLOPs"
    return [
        box(x, top, CODEC_WIDTH, CODEC_HEIGHT, stroke=color, radius=10, title=title),
        label(middle, top + 20, side, width=width, size=10.5, color=PALE_INK, anchor="middle"),
        label(middle, top + 38, verb, width=width, size=14, bold=True, color=color, anchor="middle"),
        label(middle, top + 55, size, width=width, size=10.5, color=PALE_INK, anchor="middle"),
    ]


def _bracket(side: str) -> list[str]:
    """The pair of states that is encoded, or compared: a line that joins the low cut with the high one."""
    color = SIDES[side][0]
    x, column = (STUDENT_EDGE, MARGIN + COLUMN_WIDTH) if side == "student" else (TEACHER_EDGE, TEACHER_EDGE + 16)
    return [
        path([(x, LOW), (x, HIGH)], color=color, width=2.5),
        path([(column, LOW), (x, LOW)], color=color, width=2.5),
        path([(column, HIGH), (x, HIGH)], color=color, width=2.5),
    ]


def _state_lines(plan: Plan, codec: str) -> list[str]:
    """Between a codec and its column: states that are encoded, or decoded and compared, or heard."""
    side = codec.partition("_")[0]
    color = SIDES[side][0]
    x, y = ROWS[codec]
    edge, near, sign = (STUDENT_EDGE, x, 1) if side == "student" else (TEACHER_EDGE, x + CODEC_WIDTH, -1)
    parts = _bracket(side)
    if codec.endswith("encode"):
        return [*parts, path([(edge, y), (near, y)], color=color, head="end")]
    heard = side == "teacher" and _is_talking(plan)
    compared = attached(plan, f"{side}_states")
    line = [(near, y), (edge, y)]
    parts.append(_spoken(*line) if heard else path(line, color=PALE_INK, dashed=True))
    if compared:
        parts += badges(plan, f"{side}_states", (edge + sign * BADGE_ROOM / 2, y - 24))
    return parts + _interprets(plan) if heard else parts


def _interprets(plan: Plan) -> list[str]:
    """What the teacher hears goes through its own middle layers: the line that joins its cuts shows the way."""
    middle = TEACHER_EDGE - BADGE_ROOM / 2
    return [
        path([(TEACHER_EDGE, LOW), (TEACHER_EDGE, HIGH + 2)], color=TALK, width=3, head="end"),
        _word(middle, LOW + 16, "hears itself" if _asks_itself(plan) else "the teacher hears", BADGE_ROOM),
        _word(middle, HALF_WAY - 24, "and interprets with", BADGE_ROOM),
        _word(middle, HALF_WAY - 9, "its middle layers", BADGE_ROOM),
    ]


def _compares(plan: Plan, tensor: str) -> bool:
    """Whether a term of the plan compares a tensor with its target."""
    return any(tensor in term["prediction"] for term in plan["terms"])


def _answers(plan: Plan) -> bool:
    """Whether the student hears what the teacher makes of a message."""
    return _compares(plan, "student_low_1")


def _is_talking(plan: Plan) -> bool:
    """Whether the teacher hears something: a term compares what it makes of a message, or its answer."""
    return _answers(plan) or _compares(plan, "teacher_high_1")


def _asks_itself(plan: Plan) -> bool:
    """Whether the teacher interprets its own message instead of the student's, as the control does."""
    return plan["method"] in CONTROL_METHODS and _is_talking(plan)


def _message_lines(plan: Plan, codecs: set[str]) -> list[str]:
    """Who sends a message, and who decodes it."""
    parts = []
    if "student_codec.encode" in codecs:
        parts.append(_spoken((STUDENT_CODEC + CODEC_WIDTH, LOW), (MESSAGE_LEFT, LOW)))
    if "teacher_codec.encode" in codecs:
        parts.append(_spoken((TEACHER_CODEC, HIGH), (MESSAGE_RIGHT, HIGH)))
    if "student_codec.decode" in codecs:
        parts.append(_spoken((MESSAGE_LEFT, HIGH), (STUDENT_CODEC + CODEC_WIDTH, HIGH)))
    if "teacher_codec.decode" in codecs and (not _asks_itself(plan) or _compares(plan, "teacher_low_told")):
        parts.append(_spoken((MESSAGE_RIGHT, LOW), (TEACHER_CODEC, LOW)))
    return parts


def _messages(plan: Plan, shapes: Mapping[str, list[int | None]]) -> list[str]:
    parts = []
    if attached(plan, "messages"):
        parts.append(path([(CENTER, HIGH + 20), (CENTER, LOW - 20)], color=PALE_INK, dashed=True))
        parts += badges(plan, "messages", (CENTER, HALF_WAY), MESSAGE_WIDTH + 16)
    for name, shape in shapes.items():
        lines = [name, shape_text(shape)]
        parts.append(pill((CENTER, MESSAGES[name]), MESSAGE_WIDTH, lines, fill=TALK_PALE, color=TALK, size=10))
    if _is_talking(plan) and not _asks_itself(plan):
        parts.append(_word(CENTER, LOW + 38, "the student asks", 2 * MESSAGE_WIDTH))
    if _answers(plan):
        parts.append(_word(CENTER, HIGH - 30, "the teacher answers", 2 * MESSAGE_WIDTH))
    return parts


def _iterations(plan: Plan) -> list[str]:
    """How often the loop is gone through, and that after the first time the student asks about the answer."""
    if not _is_talking(plan):
        return []
    count = plan["iterations"]
    right, left = TEACHER_CODEC + CODEC_WIDTH / 2, STUDENT_CODEC + CODEC_WIDTH / 2
    lines = [f"K = {count}", "iteration" if count == 1 else "iterations"]
    chip = pill((right, HALF_WAY), CODEC_WIDTH - 8, lines, fill=TALK_PALE, color=TALK)
    if _asks_itself(plan):
        return [_down(right), chip]
    if count == 1:
        return [chip]
    again = ["asks again", "once" if count == 2 else f"{count - 1} times"]
    return [chip, _down(left), pill((left, HALF_WAY), CODEC_WIDTH - 8, again, fill=PAPER, color=TALK)]


def _down(x: float) -> str:
    """An arrow from the upper codec of a side to the lower one."""
    return _spoken((x, HIGH + CODEC_HEIGHT / 2), (x, LOW - CODEC_HEIGHT / 2))
