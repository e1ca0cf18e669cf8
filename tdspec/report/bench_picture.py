"""A benchmark as a picture: where a step's time goes, and what it reaches of this machine's matrix product.

In: what `bench_record.record_of` gives. Out: the text of an SVG, the same bytes for the same figures.
Leaves out: the figures' meaning (`bench_record.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tdspec.report.bench_record import LABELS, in_time, product_dtype
from tdspec.report.plots import svg_of
from tdspec.run.bench import NOT_IN_GRAPH
from tdspec.spec.quantities import quantity

INK, MUTED, LINE = "#1f2430", "#5b6472", "#c9ced6"
# The colours of the picture of the graph; each with that of a text upon it.
WHITE = "#ffffff"
COLORS = {
    "student_forward": ("#2563eb", WHITE),
    "student_backward": ("#a9c4fb", INK),
    "teacher": ("#7c3aed", WHITE),
    "interaction": ("#b45309", WHITE),
    "codecs": ("#f3c98b", INK),
    "optimizer": ("#0f766e", WHITE),
    "input": ("#be123c", WHITE),
    "rest": ("#b6bcc6", INK),
}
SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
}
# A narrower slice has its share in the legend alone.
WRITTEN_SHARE = 0.055


def draw(record: Mapping[str, Any]) -> str:
    """Draw a benchmark.

    Args:
        record: what `record_of` gives.

    Returns:
        The text of an SVG file.
    """
    with matplotlib.rc_context(SETTINGS):
        drawing = Figure(figsize=(9.0, 4.4), facecolor="white")
        _header(drawing, record)
        _bar(drawing.add_axes((0.03, 0.6, 0.94, 0.14)), record)
        _legend(drawing, record)
        _rates(drawing.add_axes((0.2, 0.105, 0.68, 0.15)), record)
        return svg_of(drawing, "tdspec bench")


def _header(drawing: Figure, record: Mapping[str, Any]) -> None:
    title = f"{record['name']} ({record['method']}): {record['examples_per_second']:,.1f} examples/s"
    drawing.text(0.03, 0.93, title, fontsize=13, fontweight="bold", va="center")
    facts = [
        f"{in_time(record['step_seconds'])} a step of {record['device_batch_size']}",
        record["precision"],
        "XLA" if record["xla"] else "no XLA",
        f"one device, {record['machine']['cores']} cores",
        f"peak memory {quantity(record['peak_memory_bytes'], 'B')}",
    ]
    drawing.text(0.03, 0.865, " · ".join(facts), color=MUTED, va="center")
    notes = [f"random weights: {', '.join(record['weights']['random'])}"] if record["weights"]["random"] else []
    notes += ["random batches, input not measured"] if record["data"]["random"] else []
    if record["overlap_seconds"] > 0:
        notes.append(f"run alone, the parts take {in_time(record['overlap_seconds'])} more than the whole")
    drawing.text(0.03, 0.805, " · ".join(notes), color=MUTED, va="center", style="italic", fontsize=8)


def _bar(axes: Axes, record: Mapping[str, Any]) -> None:
    """One bar of all parts, from the step's beginning to its end."""
    left = 0.0
    total = sum(part["seconds"] or 0.0 for part in record["parts"])
    for part in record["parts"]:
        seconds = part["seconds"] or 0.0
        if not seconds:
            continue
        color, ink = COLORS[part["name"]]
        axes.barh(0, seconds, left=left, color=color, edgecolor="white", linewidth=0.8, height=1.0)
        if seconds / total >= WRITTEN_SHARE:
            axes.text(left + seconds / 2, 0, f"{part['share']:.0%}", ha="center", va="center", color=ink)
        left += seconds
    axes.set_xlim(0, total)
    axes.set_ylim(-0.5, 0.5)
    axes.set_axis_off()


def _legend(drawing: Figure, record: Mapping[str, Any]) -> None:
    """Two rows of four: the name of each part, its seconds, and how they were found."""
    for index, part in enumerate(record["parts"]):
        x, y = 0.03 + 0.24 * (index % 4), 0.53 - 0.1 * (index // 4)
        drawing.text(x, y, "■", color=COLORS[part["name"]][0], fontsize=11, va="center")
        drawing.text(x + 0.02, y, LABELS[part["name"]], fontweight="bold", fontsize=8.5, va="center")
        measured = part["seconds"] is not None and part["how"] != NOT_IN_GRAPH
        value = f"{in_time(part['seconds'])}, {part['how']}" if measured else part["how"]
        drawing.text(x + 0.02, y - 0.042, value, color=MUTED, fontsize=8, va="center")


def _rates(axes: Axes, record: Mapping[str, Any]) -> None:
    """What the step reaches beside the matrix product in the dtype it computes in."""
    product = product_dtype(record["precision"])
    rates = {
        "this step": record["flops"]["per_second"],
        f"{product} product": record["matrix_product_flops_per_second"][product],
    }
    for row, (name, like) in enumerate(zip(rates, ("student_forward", "rest"), strict=True)):
        axes.barh(row, rates[name], color=COLORS[like][0], height=0.62)
        gap = 0.01 * max(rates.values())
        axes.text(rates[name] + gap, row, f"{quantity(rates[name], 'FLOP')}/s", va="center", fontsize=8.5)
    axes.set_yticks(range(len(rates)), list(rates))
    axes.set_xlim(0, 1.12 * max(rates.values()))
    axes.set_ylim(1.6, -0.6)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    title = f"{record['share_of_product']:.1%} of this machine's {product} matrix product, by the plan's FLOPs"
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
