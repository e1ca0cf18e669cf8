"""Curves as SVG: small panels that read in light, in dark and without colour.

In: series of numbers. Out: the text of an SVG for HTML, the same bytes for the same numbers.
Leaves out: what is worth drawing (`sections.py`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Stand-ins that matplotlib takes for colours; in the page they are the style's variables.
INK, MUTED, LINE, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", SECOND: "--second"}
SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": LINE,
    "legend.labelcolor": INK,
}
SPREAD_OF_LOG = 30.0


@dataclass(frozen=True)
class Series:
    """A curve.

    Attributes:
        name: for the legend.
        epochs, values: of one length.
        color: a stand-in.
        style: matplotlib's line style.
        marked: an epoch to mark, or None.
    """

    name: str
    epochs: Sequence[int]
    values: Sequence[float]
    color: str
    style: str
    marked: int | None = None


def curves(title: str, series: Sequence[Series]) -> str:
    """A panel of curves over epochs; logarithmic where positive values span much."""
    with matplotlib.rc_context(SETTINGS):
        drawing, axes = _panel(title, (4.2, 2.5))
        for each in series:
            axes.plot(each.epochs, each.values, each.style, color=each.color, linewidth=1.6, label=each.name)
            if each.marked is not None and each.marked in each.epochs:
                value = each.values[list(each.epochs).index(each.marked)]
                axes.plot([each.marked], [value], "o", color=each.color, markersize=6)
        values = [value for each in series for value in each.values]
        if min(values) > 0 and max(values) / min(values) > SPREAD_OF_LOG:
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8)
        return _as_svg(drawing, title)


@dataclass(frozen=True)
class Spot:
    """A group of figures, one a seed, and their mean with its standard error (None for one seed)."""

    name: str
    values: Sequence[float]
    mean: float
    error: float | None


def spots(title: str, groups: Sequence[Spot]) -> str:
    """A row for each group: every value, and the mean with its standard error."""
    with matplotlib.rc_context(SETTINGS):
        drawing, axes = _panel(title, (7.0, 0.9 + 0.34 * len(groups)))
        for row, group in enumerate(groups):
            axes.plot(group.values, [row] * len(group.values), "o", color=MUTED, markersize=4, markerfacecolor="none")
            axes.errorbar(
                [group.mean], [row], xerr=group.error, fmt="D", color=ACCENT, markersize=5, capsize=4, linewidth=1.6
            )
        axes.set_yticks(range(len(groups)), [group.name for group in groups])
        axes.set_ylim(len(groups) - 0.4, -0.6)
        return _as_svg(drawing, title)


@dataclass(frozen=True)
class Dots:
    """Single figures.

    Attributes:
        places, values: of one length.
        marked: a place to mark, or None.
    """

    places: Sequence[float]
    values: Sequence[float]
    marked: float | None


def dots(title: str, groups: Sequence[Dots], label: str) -> str:
    """A panel of points over `label`, the marked ones as diamonds."""
    with matplotlib.rc_context(SETTINGS):
        drawing, axes = _panel(title, (4.2, 2.5))
        for group in groups:
            axes.plot(group.places, group.values, "o", color=MUTED, markersize=4, markerfacecolor="none")
            for place, value in zip(group.places, group.values, strict=True):
                if place == group.marked:
                    axes.plot([place], [value], "D", color=ACCENT, markersize=6)
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _as_svg(drawing, title)


SHOWN_NUMBERS = 60


def heat_map(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """Values from 0 to 1 as colours, with their numbers where these are few."""
    with matplotlib.rc_context(SETTINGS):
        drawing, axes = _panel(title, (4.2, 1.0 + 0.3 * max(3, min(len(rows), 40))))
        axes.grid(False)
        axes.pcolormesh(values, cmap="viridis", vmin=0.0, vmax=1.0, edgecolors="none")
        axes.invert_yaxis()
        axes.set_xticks([index + 0.5 for index in range(len(columns))], list(columns))
        axes.set_yticks([index + 0.5 for index in range(len(rows))], list(rows))
        if len(rows) * len(columns) <= SHOWN_NUMBERS:
            for row, numbers in enumerate(values):
                for column, value in enumerate(numbers):
                    color = "#000000" if value > 0.6 else "#ffffff"
                    axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=color)
        return _as_svg(drawing, title)


def _panel(title: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    drawing = Figure(figsize=size, layout="constrained")
    drawing.patch.set_alpha(0.0)
    axes = drawing.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, linewidth=0.6)
    axes.set_axisbelow(True)
    return drawing, axes


def svg_of(drawing: Figure, salt: str) -> str:
    """The text of an SVG element, the same bytes for the same drawing; `salt` is what its inner ids are made from."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        FigureCanvasSVG(drawing).print_svg(stream, metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    return re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)


def _as_svg(drawing: Figure, title: str) -> str:
    svg = svg_of(drawing, title)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return _with_own_ids(svg, re.sub(r"\W+", "-", title))


def _with_own_ids(svg: str, prefix: str) -> str:
    """The picture with ids that no other picture of the page has."""
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
