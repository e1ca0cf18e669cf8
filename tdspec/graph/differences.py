"""What changed between two plans, or two specs, in words.

In: two plans as plain data, or two resolved specs as plain data. Out: sentences, most telling first; none where
nothing changed.
Leaves out: reading the files and printing (`commands.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tdspec.graph.picture_style import shape_text
from tdspec.graph.plan_views import models_of
from tdspec.spec.quantities import quantity

Plan = Mapping[str, Any]
ABSENT = "nothing"


def describe(before: Plan, after: Plan) -> tuple[str, ...]:
    """What changed from one plan to another.

    Args:
        before, after: the content of two `plan.json`.

    Returns:
        One line for each change: the run as a whole, the models, the conversation, the terms, totals and cost, and
        last the versions. Empty where the plans are the same.
    """
    lines = [*_heads(before, after), *_inputs(before, after)]
    old, new = models_of(before), models_of(after)
    for name in dict.fromkeys([*old, *new]):
        lines += _model(name, old.get(name), new.get(name))
    lines += _message(before["message"], after["message"])
    lines += _value("iterations", before["iterations"], after["iterations"])
    lines += _codecs(_by_name(before["codecs"]), _by_name(after["codecs"]))
    lines += _terms(_by_name(before["terms"]), _by_name(after["terms"]))
    lines += _amounts("parameters", before["totals"]["parameters"], after["totals"]["parameters"])
    lines += _amounts("cost of a step", _numbers(before["cost"]), _numbers(after["cost"]), unit="FLOPs")
    if not lines and before["spec_sha256"] != after["spec_sha256"]:
        lines.append("the specs differ, but not in the graph")
    return (*lines, *_versions(before["versions"], after["versions"]))


def describe_specs(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What changed from one resolved spec to another.

    Args:
        before, after: nested mappings, lists and plain values, with every default written out.

    Returns:
        "key.path: old -> new" for each key that differs, in the order of the keys.
    """
    return tuple(_nested("", before, after))


def _nested(path: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{path}.{key}" if path else str(key)
            if key not in after:
                yield f"{inner}: {_spelt(before[key])} -> removed"
            elif key not in before:
                yield f"{inner}: added {_spelt(after[key])}"
            else:
                yield from _nested(inner, before[key], after[key])
    elif type(before) is not type(after) or before != after:
        yield f"{path}: {_spelt(before)} -> {_spelt(after)}"


def _spelt(value: Any) -> str:
    """A value as YAML spells it in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_spelt(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_spelt(item) for item in value) + "]"
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _value(name: str, before: Any, after: Any) -> list[str]:
    """A line where a plain value changed."""
    return [] if before == after else [f"{name}: {_spelt(before)} -> {_spelt(after)}"]


def _amount(name: str, before: float, after: float, unit: str = "") -> list[str]:
    """A line where a number changed, with the relative change."""
    if before == after:
        return []
    short = f"{quantity(before, unit)} -> {quantity(after, unit)}"
    shown = short if quantity(before) != quantity(after) else f"{before} -> {after} {unit}".rstrip()
    return [f"{name}: {shown}{_relative(before, after)}"]


def _relative(before: float, after: float) -> str:
    """The relative change in brackets: in percent, or as a factor where that says more; none from or to zero."""
    if not before or not after:
        return ""
    factor = after / before
    if factor >= 10:
        return f" ({factor:.3g} times as much)"
    return f" ({100 * (factor - 1):+.1f} %)" if factor > 0.1 else f" (1/{1 / factor:.3g} of it)"


def _amounts(name: str, before: Mapping[str, float], after: Mapping[str, float], unit: str = "") -> list[str]:
    keys = dict.fromkeys([*after, *before])
    return [line for key in keys for line in _amount(f"{name}, {key}", before.get(key, 0), after.get(key, 0), unit)]


def _numbers(cost: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in cost.items() if key != "unit"}


def _by_name(items: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {item["name"]: item for item in items}


def _heads(before: Plan, after: Plan) -> list[str]:
    lines = [line for key in ("name", "method") for line in _value(key, before[key], after[key])]
    return lines + [
        line for key in after["task"] for line in _value(f"task {key}", before["task"][key], after["task"][key])
    ]


def _inputs(before: Plan, after: Plan) -> list[str]:
    old, new = (
        {item["name"]: f"{shape_text(item['shape'])} {item['dtype']}" for item in plan["inputs"]}
        for plan in (before, after)
    )
    return _entries("input", old, new)


def _entries(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Lines for what was added, removed or changed among named things that read as text."""
    lines = [f"{kind} {name} removed: {text}" for name, text in before.items() if name not in after]
    for name, text in after.items():
        if name not in before:
            lines.append(f"{kind} {name} added: {text}")
        elif before[name] != text:
            lines.append(f"{kind} {name}: {before[name]} -> {text}")
    return lines


def _model(side: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """Backbone, cuts, segments and layers of one model."""
    if before is None and after is None:
        return []
    if before is None or after is None:
        model, verb = (after, "added") if before is None else (before, "removed")
        assert model is not None
        return [f"{side} {verb}: {model['backbone']} with {quantity(model['parameters'])} parameters"]
    lines = _value(f"{side} backbone", before["backbone"], after["backbone"])
    lines += _value(f"{side} weight", before.get("weight"), after.get("weight"))
    lines += _cuts(side, before["cut"], after["cut"])
    old, new = _by_name(before["segments"]), _by_name(after["segments"])
    for name in (name for name in new if name in old):
        lines += _segment(f"{side} {name}", old[name], new[name])
    return lines + _amount(f"{side} FLOPs", before["flops"], after["flops"])


def _cuts(side: str, before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> list[str]:
    if before is None or after is None:
        return [] if before == after else [f"{side} cut: {_cut_text(before)} -> {_cut_text(after)}"]
    return [line for cut in ("low", "high") for line in _value(f"{side} cut {cut}", before[cut], after[cut])]


def _cut_text(cut: Mapping[str, str] | None) -> str:
    return "not cut" if cut is None else f"{cut['low']} and {cut['high']}"


def _segment(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    lines = _value(f"{name} layers", len(before["layers"]), len(after["layers"]))
    shapes = shape_text(before["output_shape"]), shape_text(after["output_shape"])
    if shapes[0] != shapes[1]:
        lines.append(f"{name} output: {shapes[0]} -> {shapes[1]}")
    changed = [
        new["name"]
        for old, new in zip(before["layers"], after["layers"], strict=False)
        if (old["name"], old["class"], old["output_shape"]) != (new["name"], new["class"], new["output_shape"])
    ]
    if changed and len(before["layers"]) == len(after["layers"]) and not lines:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        lines.append(f"{name}: layer {changed[0]}{more} differ{'' if more else 's'}")
    return lines + _amount(f"{name} parameters", before["parameters"], after["parameters"])


def _message(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    old, new = (
        ABSENT if item is None else shape_text([None, *item["positions"], item["dim"]]) for item in (before, after)
    )
    return [] if old == new else [f"message: {old} -> {new}"]


def _codecs(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    old, new = ({name: _codec_text(codec) for name, codec in codecs.items()} for codecs in (before, after))
    return _entries("codec", old, new)


def _codec_text(codec: Mapping[str, Any]) -> str:
    return f"{codec['type']} with {quantity(codec['parameters'])} parameters"


def _terms(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Terms added and removed, their weights, distances and what they compare."""
    common = [name for name in after if name in before]
    lines = [f"term {name} removed (weight {term['weight']:g})" for name, term in before.items() if name not in after]
    lines += [
        f"term {name} added: weight {term['weight']:g}, distance {term['distance']}"
        for name, term in after.items()
        if name not in before
    ]
    for name in common:
        old, new = before[name], after[name]
        keys = [key for key in {**new, **old} if key not in ("name", "target", "prediction", "formula")]
        lines += [line for key in keys for line in _value(f"term {name} {key}", old.get(key), new.get(key))]
        pairs = len(old["target"]), len(new["target"])
        if pairs[0] != pairs[1]:
            lines.append(f"term {name} compares {pairs[1]} pairs instead of {pairs[0]}")
        elif (old["target"], old["prediction"]) != (new["target"], new["prediction"]):
            lines.append(f"term {name} compares {', '.join(new['prediction'])} with {', '.join(new['target'])}")
    return lines


def _versions(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return _entries("version of", before, after)
