"""Plans and cut points as text for people.

In: a plan as plain data, or the cut points of a model. Out: lines.
Leaves out: the same as JSON, which is the data itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from tdspec.graph.flops import count_flops
from tdspec.graph.plan_views import models_of
from tdspec.graph.sides import CutModel
from tdspec.graph.walk import nodes_of
from tdspec.spec.quantities import quantity

# The paper's symbols for where a model is cut; with a question mark where the spec leaves it open.
_MARKS = {"low": "l (low)", "high": "h (high)"}


def shape_text(shape: Iterable[int | None]) -> str:
    """A shape without its batch axis: (None, 50, 768) -> "50 x 768"."""
    return " x ".join("?" if axis is None else str(axis) for axis in list(shape)[1:]) or "scalar"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Columns of equal width; those of `right` are aligned to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]


def cut_rows(side: CutModel) -> list[dict[str, Any]]:
    """The clean cuts of a model: number, name, kind, shape, parameters and FLOPs up to there.

    `cut` says which of them are the spec's low and high, `suggested` which could be where it has none.
    """
    nodes, suggested = nodes_of(side.whole.graph), _suggested(side)
    flops = list(accumulate(count_flops(side.whole.graph)))
    seen: dict[int, int] = {}
    parameters = []
    for node in nodes:
        for variable in getattr(node.operation, "weights", ()):
            size = 1
            for axis in variable.shape:
                size *= axis
            seen[id(variable)] = size
        parameters.append(sum(seen.values()))
    return [
        {
            "number": point.number,
            "name": point.name,
            "kind": point.kind,
            "shape": list(point.shape),
            "parameters": parameters[point.position],
            "flops": flops[point.position],
            "cut": [word for word, cut in (("low", side.low), ("high", side.high)) if cut == point],
            "suggested": [word for word, number in suggested.items() if number == point.number],
        }
        for point in side.points
    ]


def _suggested(side: CutModel) -> dict[str, int]:
    """Numbers for a spec that does not cut: low after a third of the hidden layers, high after the last."""
    count = sum(point.number is not None for point in side.points)
    return {} if side.low is not None or count < 2 else {"low": max(1, count // 3), "high": count}


def cut_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of `cut_rows` as a table."""
    header = ("number", "name", "kind", "shape", "parameters", "FLOPs", "cut")
    cells = [
        (
            "" if row["number"] is None else str(row["number"]),
            row["name"],
            row["kind"],
            shape_text(row["shape"]),
            quantity(row["parameters"]),
            quantity(row["flops"]),
            " ".join([*(_MARKS[word] for word in row["cut"]), *(f"{_MARKS[word]}?" for word in row["suggested"])]),
        )
        for row in rows
    ]
    return table(header, cells, right=(0, 4, 5))


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """A plan in a dozen lines: segments, terms, totals and the cost of a step."""
    models = models_of(plan)
    cells = [
        (
            name if segment is model["segments"][0] else "",
            segment["name"],
            shape_text(segment["output_shape"]),
            quantity(segment["parameters"]),
            quantity(segment["flops"]),
            _range(segment["layers"]),
        )
        for name, model in models.items()
        for segment in model["segments"]
    ]
    lines = table(("side", "segment", "output", "parameters", "FLOPs", "layers"), cells, right=(3, 4))
    if plan["message"]:
        positions = " x ".join(map(str, plan["message"]["positions"])) or "one"
        lines.append(
            f"message: {plan['message']['dim']} wide, {positions} position(s); iterations: {plan['iterations']}"
        )
    terms = [f"{term['weight']:g} {term['name']} ({term['distance']})" for term in plan["terms"]]
    learned = [name for name, model in models.items() if model.get("weight") == "learned"]
    told = f"; for the terms L of {', '.join(learned)}: exp(-s) * L + s, with a learned s each" if learned else ""
    lines.append(f"loss: {' + '.join(terms)}{told}")
    totals, cost = plan["totals"]["parameters"], plan["cost"]
    lines.append("parameters: " + ", ".join(f"{name} {quantity(count)}" for name, count in totals.items()))
    parts = ", ".join(f"{name} {quantity(cost[name])}" for name in ("student", "teacher", "interaction", "codecs"))
    lines.append(f"FLOPs of an example's step: {quantity(cost['total'])} ({parts})")
    if "teacher_cache" in plan:
        lines.append(_cache_line(plan["teacher_cache"]))
    return lines


def _cache_line(cache: Mapping[str, Any]) -> str:
    shapes = ", ".join(f"{tensor['name']} {shape_text(tensor['shape'])}" for tensor in cache["tensors"])
    size, spared = quantity(cache["bytes_per_example"], "B"), quantity(cache["flops_spared"], "FLOPs")
    return f"teacher cache: {shapes} in {cache['dtype']}, {size} for an example; spares its step {spared}"


def _range(layers: Sequence[Mapping[str, Any]]) -> str:
    names = [layer["name"] for layer in layers]
    return names[0] if len(names) == 1 else f"{names[0]} .. {names[-1]}" if names else "none"
