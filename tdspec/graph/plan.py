"""The plan: what a spec compiles to, as data that can be committed, compared and drawn.

In: a `Compiled`. Out: plain data, the same bytes for the same spec and versions.
Leaves out: drawing it (`picture.py`) and comparing two (`differences.py`).
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import keras

from tdspec.graph.cached import KEPT
from tdspec.graph.calls import called, calls_of, codec_names
from tdspec.graph.compiler import Compiled
from tdspec.graph.flops import count_flops
from tdspec.graph.sides import CutModel
from tdspec.graph.terms import FORMULAS, Term
from tdspec.graph.walk import Node, nodes_of
from tdspec.spec.checks import ITERATED

FORMAT = 1
PACKAGES = ("tdspec", "keras", "keras-hub", "tensorflow")

# Cost of a backward pass over a forward one: gradients to the input and to the weights, or to the input alone.
TRAINED, FROZEN_WITH_GRADIENT, FROZEN = 3, 2, 1


def plan_of(compiled: Compiled) -> dict[str, Any]:
    """The plan of a compiled spec.

    Args:
        compiled: with or without weights.

    Returns:
        JSON-ready data: segments with layers, shapes, parameters and FLOPs; codecs; terms; totals; cost of a step.
    """
    document, distiller = compiled.document, compiled.distiller
    codecs, formulas = _codecs(compiled), {**FORMULAS, **compiled.own.formulas}
    described = {name: _side(name, side) for name, side in compiled.models.items()}
    return {
        "format": FORMAT,
        "name": document.spec.name,
        "method": document.spec.method,
        "spec_sha256": document.sha256,
        "versions": versions(),
        "task": {"type": document.spec.task.type, "num_classes": compiled.num_classes},
        "inputs": [_tensor(name, tensor) | {"dtype": str(tensor.dtype)} for name, tensor in distiller.input.items()],
        **_teachers(compiled, described),
        "student": described["student"],
        "message": _message(compiled),
        "iterations": _iterations(compiled),
        "codecs": codecs,
        "terms": [
            {
                "name": term.name,
                "weight": term.weight,
                "distance": term.distance,
                "formula": formulas[term.distance],
                "options": dict(term.options),
                **_details(term),
                "target": list(term.target),
                "prediction": list(term.prediction),
            }
            for term in distiller.terms
        ],
        **_cache(compiled, described),
        "totals": {"parameters": _parameters(compiled, codecs)},
        "cost": _cost(compiled, described, {codec["name"].replace(".", "_"): codec["flops"] for codec in codecs}),
    }


def _teachers(compiled: Compiled, described: Mapping[str, Any]) -> dict[str, Any]:
    """The teacher, or None; of a spec with several, the list of those that have a weight."""
    if not compiled.document.spec.teachers:
        return {"teacher": described.get("teacher")}
    weights = {teacher.name: teacher.document.weight for teacher in compiled.teachers}
    return {"teachers": [{"name": name, "weight": weight, **described[name]} for name, weight in weights.items()]}


def _cache(compiled: Compiled, described: Mapping[str, Any]) -> dict[str, Any]:
    """What is computed once and kept, and the FLOPs that an example's step is spared; nothing without a cache."""
    cache = compiled.document.spec.data.teacher_cache
    if cache is None or not compiled.cached:
        return {}
    teacher = described["teacher"]["segments"]
    needed = 1 if len(teacher) == 1 else max(KEPT.index(name) for name in compiled.cached) + 1
    value_bytes = 4 if cache.dtype == "float32" else 2
    shapes = [_tensor(name, compiled.distiller.input[name]) for name in compiled.cached]
    kept = {
        "dtype": cache.dtype,
        "views": cache.views,
        "tensors": shapes,
        "bytes_per_example": max(1, cache.views) * value_bytes * sum(_size(item["shape"][1:]) for item in shapes),
        "flops_spared": FROZEN * sum(segment["flops"] for segment in teacher[:needed]),
    }
    return {"teacher_cache": kept}


def _details(term: Term) -> dict[str, Any]:
    """What is said of a term beyond the usual."""
    details = {
        "pair_weights": list(term.pair_weights),
        "given": {key: list(names) for key, names in term.given.items()},
    }
    said: dict[str, Any] = {key: value for key, value in details.items() if value}
    if term.detach != "none":
        said["detach"] = term.detach
    if term.schedule.type != "constant":
        said["schedule"] = asdict(term.schedule)
    if term.teacher:
        said["teacher"] = term.teacher
    return said


def as_text(plan: Mapping[str, Any]) -> str:
    """The plan as JSON text."""
    return json.dumps(plan, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def versions() -> dict[str, str]:
    """The versions of what decides on numbers."""
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str:
    if package == "tdspec":
        from tdspec import __version__

        return __version__
    return importlib.metadata.version(package)


def _tensor(name: str, tensor: keras.KerasTensor) -> dict[str, Any]:
    return {"name": name, "shape": list(tensor.shape)}


def _parameter_count(layers: Iterable[Any]) -> int:
    variables = {id(variable): variable for layer in layers for variable in getattr(layer, "weights", ())}
    return sum(int(_size(variable.shape)) for variable in variables.values())


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


def _side(prefix: str, side: CutModel) -> dict[str, Any]:
    """One model: its segments, or the whole where it is not cut."""
    nodes, flops = nodes_of(side.whole.graph), count_flops(side.whole.graph)
    low, high = (None if point is None else point.position for point in (side.low, side.high))
    bounds = [("whole", 0, len(nodes), "prediction")]
    if low is not None and high is not None:
        bounds = [
            ("lower", 0, low + 1, "low"),
            ("middle", low + 1, high + 1, "high"),
            ("upper", high + 1, len(nodes), "prediction"),
        ]
    segments = [
        _segment(name, f"{prefix}_{output}", nodes[start:stop], flops[start:stop], side.whole.graph)
        for name, start, stop, output in bounds
    ]
    return {
        "backbone": side.whole.backbone.kind,
        "cut": None if side.low is None or side.high is None else {"low": side.low.name, "high": side.high.name},
        "parameters": _parameter_count([side.whole.graph]),
        "flops": sum(flops),
        "segments": segments,
    }


def _segment(
    name: str, output: str, nodes: tuple[Node, ...], flops: tuple[int, ...], model: keras.Model
) -> dict[str, Any]:
    layers = [(node, count) for node, count in zip(nodes, flops, strict=True) if not node.is_input]
    last = layers[-1][0].tensors[0] if layers else model.output
    return {
        "name": name,
        "layers": [
            {
                "name": _stable_name(node),
                "class": type(node.operation).__name__,
                "output_shape": list(node.tensors[0].shape),
                "parameters": _parameter_count([node.operation]),
                "flops": count,
            }
            for node, count in layers
        ],
        "output": output,
        "output_shape": list(last.shape),
        "parameters": _parameter_count(node.operation for node, _ in layers),
        "flops": sum(count for _, count in layers),
    }


def _stable_name(node: Node) -> str:
    """A layer's name; a mere operation gets its class, since Keras numbers its name anew in each process."""
    return node.name if isinstance(node.operation, keras.layers.Layer) else type(node.operation).__name__.lower()


def _codecs(compiled: Compiled) -> list[dict[str, Any]]:
    names = codec_names(compiled.distiller)
    used = {name for node in nodes_of(compiled.distiller) for name in called(node, names)}
    described = []
    for name, codec in compiled.distiller.codecs.items():
        side = "student" if name.startswith("student_codec") else name.removesuffix("_codec")
        # A decoder hears the other side's messages.
        own, heard = f"{side}_message", f"{'teacher' if side == 'student' else 'student'}_message"
        pair = [f"{side}_low", f"{side}_high"]
        for part, ends in (("encode", (pair, [own])), ("decode", ([heard], pair))):
            model = getattr(codec, part)
            if model.name in used:
                described.append(_codec(f"{name}.{part}", model, compiled, *ends))
    return described


def _codec(name: str, model: keras.Model, compiled: Compiled, inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    kind = compiled.document.spec.communication.encoder.type
    inputs = [*inputs, *(tensor.name for tensor in model.inputs[len(inputs) :])]
    return {
        "name": name,
        "type": kind if model.weights else "identity",
        "inputs": {key: list(tensor.shape) for key, tensor in zip(inputs, model.inputs, strict=True)},
        "outputs": {key: list(tensor.shape) for key, tensor in zip(outputs, model.outputs, strict=False)},
        "parameters": _parameter_count([model]),
        "flops": sum(count_flops(model)),
    }


def _message(compiled: Compiled) -> dict[str, Any] | None:
    codecs = [teacher.codec for teacher in compiled.distiller.teachers if teacher.codec is not None]
    if not codecs:
        return None
    # FitNet with several teachers has messages of several widths: the first one's stands for all
    shape = codecs[0].encode.output.shape
    return {"dim": shape[-1], "positions": list(shape[1:-1])}


def _iterations(compiled: Compiled) -> int:
    iterated = [term for term in compiled.distiller.terms if term.key in ITERATED]
    return compiled.document.spec.communication.iterations if iterated else 0


def _parameters(compiled: Compiled, codecs: list[dict[str, Any]]) -> dict[str, int]:
    several = bool(compiled.document.spec.teachers)
    return {
        "teachers" if several else "teacher": _parameter_count(
            teacher.side.whole.graph for teacher in compiled.teachers
        ),
        "student": _parameter_count([compiled.student.whole.graph]),
        "codecs": sum(codec["parameters"] for codec in codecs),
        "trained": sum(_size(variable.shape) for variable in compiled.distiller.trained_variables),
    }


def _cost(compiled: Compiled, sides: Mapping[str, Any], codecs: Mapping[str, int]) -> dict[str, Any]:
    """FLOPs of a training step for one example, by walking the distillation graph call by call."""
    segments = {
        f"{side}_{segment['name']}": (side, segment["flops"])
        for side, model in sides.items()
        for segment in model["segments"]
    }
    segments |= {side: (side, model["flops"]) for side, model in sides.items()}
    costs = dict.fromkeys(("student", "teacher", "interaction", "codecs"), 0)
    for call in calls_of(compiled.distiller, {name: side for name, (side, _) in segments.items()}, codecs):
        frozen = FROZEN_WITH_GRADIENT if call.kind == "interaction" else FROZEN
        for name in call.names:
            if name in codecs:
                costs["codecs"] += (TRAINED + call.recomputed) * codecs[name]
            else:
                side, flops = segments[name]
                costs[call.kind] += ((TRAINED if side == "student" else frozen) + call.recomputed) * flops
    return {"unit": "FLOPs per example and step", **costs, "total": sum(costs.values())}
