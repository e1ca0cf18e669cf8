"""The few shapes that pictures are made of, as SVG text: boxes, pills, badges, arrows and text that fits.

In: positions in pixels, texts. Out: SVG elements as strings, the same bytes for the same arguments.
Leaves out: what is drawn where (`picture.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
INK, PALE_INK, LINE, PAPER = "#1f2937", "#64748b", "#94a3b8", "#ffffff"

# Width of a character in parts of the font's size, of the widest usual sans-serif (so that no text overflows); any
# other character counts as OTHER.
OTHER = 0.64
CHARACTER_WIDTHS = (
    dict.fromkeys("iljI.,:;'|!· ", 0.33)
    | dict.fromkeys("ftr()[]-/", 0.42)
    | dict.fromkeys("_csz?", 0.55)
    | dict.fromkeys("vxykFL", 0.6)
    | dict.fromkeys("mwMW%…→↔", 1.0)
    | dict.fromkeys("ABCDEGHKNOPQRSUVXYZ+=~", 0.79)
)
BOLD = 1.12

Point = tuple[float, float]


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a text in pixels, estimated from above."""
    return sum(CHARACTER_WIDTHS.get(character, OTHER) for character in text) * size * (BOLD if bold else 1.0)


def fit(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """The text, or its beginning and end around an ellipsis, so that it is no wider than `width` pixels."""
    if text_width(text, size, bold=bold) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = text[: (kept + 1) // 2].rstrip() + "…" + text[len(text) - kept // 2 :].lstrip()
        if text_width(shorter, size, bold=bold) <= width:
            return shorter
    return "…"


def number(value: float) -> str:
    """A coordinate: at most one decimal, no trailing zero."""
    return f"{value:.1f}".removesuffix(".0")


def label(
    x: float,
    y: float,
    text: str,
    *,
    width: float,
    size: float = 12,
    color: str = INK,
    bold: bool = False,
    anchor: str = "start",
    italic: bool = False,
) -> str:
    """A line of text with its baseline at y, shortened to `width`; what was cut stays readable on hovering."""
    shown = fit(text, width, size, bold=bold)
    style = (' font-weight="bold"' if bold else "") + (' font-style="italic"' if italic else "")
    full = f"<title>{escape(text)}</title>" if shown != text else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" fill="{color}" text-anchor="{anchor}"'
        f"{style}>{full}{escape(shown)}</text>"
    )


def box(
    x: float,
    y: float,
    width: float,
    height: float,
    *,
    fill: str = PAPER,
    stroke: str = LINE,
    radius: float = 8,
    dashed: bool = False,
    title: str = "",
) -> str:
    """A rectangle with round corners."""
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" '
        f'rx="{number(radius)}" fill="{fill}" stroke="{stroke}" stroke-width="1.5"{dashes}>'
        f"{f'<title>{escape(title)}</title>' if title else ''}</rect>"
    )


def pill(
    center: Point,
    width: float,
    lines: Sequence[str],
    *,
    fill: str,
    color: str,
    bold_first: bool = True,
    size: float = 11,
) -> str:
    """A rounded box around one or two centred lines, the first of them bold."""
    x, y = center
    height = 10 + 15 * len(lines)
    parts = [box(x - width / 2, y - height / 2, width, height, fill=fill, stroke=color, radius=height / 2)]
    for index, line in enumerate(lines):
        bold = bold_first and index == 0
        baseline = y - height / 2 + 16 + 14 * index
        parts.append(label(x, baseline, line, width=width - 16, size=size, bold=bold, anchor="middle"))
    return "".join(parts)


def badge(center: Point, width: float, name: str, detail: str, color: str) -> str:
    """A filled badge of two lines in white: a term's name and its weight."""
    x, y = center
    return "".join(
        [
            box(x - width / 2, y - 17, width, 34, fill=color, stroke=color, radius=6),
            label(x, y - 3, name, width=width - 8, size=10, color=PAPER, bold=True, anchor="middle"),
            label(x, y + 10, detail, width=width - 8, size=10, color=PAPER, anchor="middle"),
        ]
    )


def path(
    points: Sequence[Point], *, color: str = LINE, width: float = 1.5, dashed: bool = False, head: str = ""
) -> str:
    """A line through points; `head` is "end" for an arrow, "both" for one with two heads."""
    route = " ".join(f"{'M' if index == 0 else 'L'}{number(x)} {number(y)}" for index, (x, y) in enumerate(points))
    dashes = ' stroke-dasharray="4 4"' if dashed else ""
    line = f'<path d="{route}" fill="none" stroke="{color}" stroke-width="{number(width)}"{dashes}/>'
    ends = {"": [], "end": [points[-2:]], "both": [points[-2:], points[1::-1]]}[head]
    return line + "".join(arrow_head(start, tip, color) for start, tip in ends)


def arrow_head(start: Point, tip: Point, color: str, size: float = 7) -> str:
    """A filled triangle at `tip`, pointing away from `start`."""
    (x0, y0), (x1, y1) = start, tip
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    back_x, back_y = x1 - size * dx, y1 - size * dy
    corners = [
        (x1, y1),
        (back_x - size * dy / 2, back_y + size * dx / 2),
        (back_x + size * dy / 2, back_y - size * dx / 2),
    ]
    return f'<polygon points="{" ".join(f"{number(x)},{number(y)}" for x, y in corners)}" fill="{color}"/>'


def bar(x: float, y: float, width: float, height: float, parts: Sequence[tuple[float, str]]) -> str:
    """A horizontal bar of coloured shares; shares are numbers >= 0 of which not all are 0."""
    total = sum(share for share, _ in parts)
    edges = [x]
    for share, _ in parts:
        edges.append(edges[-1] + width * share / total)
    return "".join(
        f'<rect x="{number(left)}" y="{number(y)}" width="{number(right - left)}" height="{number(height)}" '
        f'fill="{color}"/>'
        for (left, right), (_, color) in zip(pairwise(edges), parts, strict=True)
    )


def shifted(elements: Sequence[str], down: float) -> list[str]:
    """The elements moved down by so many pixels."""
    return [f'<g transform="translate(0 {down:g})">', *elements, "</g>"] if down else list(elements)


def document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole SVG file on white, with a title for those who hear rather than see it."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" '
        f'width="{number(width)}" height="{number(height)}" font-family="{FONT}" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{number(width)}" height="{number(height)}" fill="{PAPER}"/>\n{body}\n</svg>\n'
    )
