"""The sections of a run's page.

In: `Facts`. Out: HTML, or a sentence that says what is missing.
Leaves out: their order (`page.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tdspec.graph.picture import draw
from tdspec.report import html
from tdspec.report.answer import SPLITS, answer
from tdspec.report.plots import ACCENT, MUTED, SECOND, Series, curves
from tdspec.report.reading import Facts, Row
from tdspec.spec.figures import MORE_IS_BETTER, VALIDATION
from tdspec.spec.quantities import quantity

NO_EPOCH = "No epoch has ended yet."
NO_PLAN = "The graph was not built: there is no plan.json."


def answer_section(facts: Facts) -> str:
    """The answer, its figures and its doubts."""
    found = answer(facts)
    parts: list[str] = [html.paragraph(found.headline, "headline")]
    if found.rows:
        rows = [(name, *figures) for name, figures in found.rows]
        last = "strong" if len(rows) > 1 else ""
        header = ["", *(f"{split} {facts.figure}" for split in SPLITS)]
        parts.append(html.table(header, rows, numbers=(1, 2), last=last))
    parts += [html.paragraph(remark) for remark in found.remarks]
    return html.section("", *parts, kind="answer")


def curves_section(facts: Facts) -> str:
    """The task's figure, then each term."""
    if not facts.rows:
        return html.section("Curves", html.paragraph(NO_EPOCH, "missing"))
    panels = [_figure_panel(facts)] if facts.figure else []
    panels += [_term_panel(facts, name) for name in _term_names(facts)]
    return html.section("Curves", html.panels(panels))


def _term_names(facts: Facts) -> list[str]:
    """The terms of the plan that were logged; without a plan, whatever was logged a step."""
    last = facts.rows[-1]
    if facts.plan is not None:
        return [term["name"] for term in facts.plan["terms"] if term["name"] in last]
    others = {"epoch", "seconds", "learning_rate", facts.figure}
    return sorted(name for name in last if name not in others and not name.startswith(VALIDATION))


def _series(
    name: str, rows: Iterable[Row], key: str, color: str, style: str, marked: int | None = None
) -> list[Series]:
    known = [row for row in rows if key in row]
    values = [float(row[key]) for row in known]
    return [Series(name, [int(row["epoch"]) for row in known], values, color, style, marked)] if known else []


def _best_epoch(rows: Iterable[Row], figure: str) -> int | None:
    key = VALIDATION + figure
    known = [(row[key], row["epoch"]) for row in rows if key in row]
    if not known:
        return None
    best = (max if MORE_IS_BETTER[figure] else min)(value for value, _ in known)
    return next(epoch for value, epoch in known if value == best)


def _figure_panel(facts: Facts) -> str:
    figure = facts.figure or ""
    best = facts.record["best_epoch"] if "best_epoch" in facts.record else _best_epoch(facts.rows, figure)
    key = VALIDATION + figure
    series = _series(f"student ({facts.method})", facts.rows, key, ACCENT, "-", best)
    caption = f"A dot marks the best epoch, {best}, whose weights are the student's."
    if facts.control is not None and facts.control_rows:
        series += _series("control (scratch)", facts.control_rows, key, SECOND, "--", facts.control["best_epoch"])
        caption = f"Dots mark the best epochs: {best} of the student, {facts.control['best_epoch']} of the control."
    elif facts.control is not None:
        caption += " The control's curve is missing: its folder is gone."
    return html.figure(curves(f"validation {figure}", series), caption, "plot")


def _term_panel(facts: Facts, name: str) -> str:
    weights = {} if facts.plan is None else {term["name"]: term["weight"] for term in facts.plan["terms"]}
    series = _series("training", facts.rows, name, ACCENT, "-")
    series += _series("validation", facts.rows, VALIDATION + name, MUTED, ":")
    caption = f"Before its weight, {weights[name]:g}." if name in weights else ""
    return html.figure(curves(name, series), caption, "plot")


def graph_section(facts: Facts) -> str:
    """The picture of the distillation graph."""
    if facts.plan is None:
        return html.section("Graph", html.paragraph(NO_PLAN, "missing"))
    caption = "Data flows upwards; what is optimised stands where it is compared."
    return html.section("Graph", html.figure(draw(facts.plan), caption, "picture"))


def terms_section(facts: Facts) -> str:
    """What was optimised."""
    if facts.plan is None:
        return html.section("Terms", html.paragraph(NO_PLAN, "missing"))
    last = facts.rows[-1] if facts.rows else {}
    rows = [
        (
            term["name"],
            f"{term['weight']:g}",
            term["distance"] + "".join(f", {key} {value:g}" for key, value in sorted(term["options"].items())),
            term["formula"],
            f"{last[term['name']]:.4g}" if term["name"] in last else "none yet",
        )
        for term in facts.plan["terms"]
    ]
    header = ("term", "weight", "distance", "formula", "last value")
    note = "The last value is the mean over the last epoch's training examples, before the weight."
    return html.section("Terms", html.table(header, rows, numbers=(1, 4)), html.paragraph(note, "note"))


def sizes_section(facts: Facts) -> str:
    """Parameters and cost."""
    if facts.plan is None:
        return html.section("Sizes", html.paragraph(NO_PLAN, "missing"))
    parameters: Mapping[str, int] = facts.plan["totals"]["parameters"]
    rows = [(name, f"{count:,}", quantity(count)) for name, count in parameters.items()]
    cost = {key: value for key, value in facts.plan["cost"].items() if key not in {"unit", "total"}}
    total = facts.plan["cost"]["total"]
    most = max(cost.values()) or 1
    shares: list[tuple[str, ...]] = [
        (name, quantity(value, "FLOPs"), f"{100 * value / (total or 1):.0f} %", html.bar(value / most))
        for name, value in cost.items()
    ]
    shares.append(("total", quantity(total, "FLOPs"), "100 %", ""))
    return html.section(
        "Sizes",
        html.table(("parameters of", "number", "in short"), rows, numbers=(1, 2)),
        html.paragraph("The codecs and whatever else is not the student are left behind after training.", "note"),
        html.table(("cost of a training step", "per example", "share", ""), shares, numbers=(1, 2)),
    )


def export_section(facts: Facts) -> str:
    """The artefacts, each compared with the student."""
    record = facts.record
    rows = []
    if "student" in record:
        student = record["student"]
        rows.append(("Keras", student["path"], "", f"{student['max_difference']:.1e}"))
    for entry in record.get("exports", ()):
        size = f"{entry['num_bytes']:,} bytes"
        rows.append((entry["format"], entry["path"], size, f"{entry['max_difference']:.1e}"))
    if not rows:
        return html.section("Export", html.paragraph("Nothing was exported yet.", "missing"))
    header = ("format", "path in the run folder", "size", "largest difference")
    note = "Each was loaded back and compared with the student on real examples before it counted."
    return html.section("Export", html.table(header, rows, numbers=(2, 3)), html.paragraph(note, "note"))


def data_section(facts: Facts) -> str:
    """Which examples."""
    if "data" not in facts.record:
        return html.section("Data", html.paragraph("No data was read yet.", "missing"))
    data = facts.record["data"]
    rows = [(split, f"{data['examples'][split]:,}") for split in ("train", *SPLITS)]
    note = f"Fingerprint `{data['fingerprint']}`: the same for the same examples in the same splits."
    return html.section("Data", html.table(("split", "examples"), rows, numbers=(1,)), html.paragraph(note))


def environment_section(facts: Facts) -> str:
    """What it ran on."""
    record: Mapping[str, Any] = facts.record
    rows = [(name, str(value)) for name, value in sorted(record["versions"].items())] if "versions" in record else []
    if "seconds" in record:
        rows.append(("time", f"{record['seconds']:,.1f} s"))
    if "peak_memory_bytes" in record:
        rows.append(("peak memory", f"{record['peak_memory_bytes'] / 2**30:.2f} GiB"))
    if record.get("spec_sha256"):
        rows.append(("sha256 of the spec", html.text(f"`{record['spec_sha256']}`")))
    teachers = record.get("teacher_sha256") or {}
    for name, digest in ({"the teacher": teachers} if isinstance(teachers, str) else teachers).items():
        rows.append((f"sha256 of {name}'s weights", html.text(f"`{digest}`")))
    if not rows:
        return html.section("Environment", html.paragraph("Nothing was recorded yet.", "missing"))
    return html.section("Environment", html.table(("", ""), rows))


def spec_section(facts: Facts) -> str:
    """The spec with every default, folded away."""
    if facts.spec is None:
        return html.section("", html.paragraph("There is no spec.yaml.", "missing"))
    return html.section("", html.folded("The spec, with every default", facts.spec))


SECTIONS = (
    answer_section,
    curves_section,
    graph_section,
    terms_section,
    sizes_section,
    export_section,
    data_section,
    environment_section,
    spec_section,
)
