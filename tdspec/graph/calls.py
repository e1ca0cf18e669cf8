"""Which part of a distillation each call in its graph belongs to.

In: a `Distiller`, the names of its models' segments and of its codecs. Out: `Call`s, in the graph's order.
Leaves out: what a call costs: in FLOPs (`plan.py`), in seconds (`run/bench.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tdspec.graph.distiller import Distiller
from tdspec.graph.inference import InInference, Recomputed
from tdspec.graph.walk import Node, nodes_of


@dataclass(frozen=True)
class Call:
    """A call of a segment or a codec, or of several as one.

    Attributes:
        node: of the distiller's graph.
        names: what is called: "teacher_middle", "student_codec_encode"; several where an iteration is recomputed.
        kind: "student" or "teacher": on the data; "interaction": on a state that a codec decoded; "codecs".
        recomputed: whether the backward pass runs it forward once more.
    """

    node: Node
    names: tuple[str, ...]
    kind: str
    recomputed: bool


def calls_of(distiller: Distiller, segments: Mapping[str, str], codecs: Collection[str]) -> tuple[Call, ...]:
    """The calls of segments and codecs; what stands between them, such as a resampling, is none.

    Args:
        distiller: the graph.
        segments: by the name of a segment or a whole model, the model it is of: "student", or a teacher's name.
        codecs: the names of encoders and decoders.
    """
    known = {*segments, *codecs}
    named = [(node, called(node, known)) for node in nodes_of(distiller)]
    decoded = {output for node, names in named if any(name in codecs for name in names) for output in node.outputs}
    calls = []
    for node, names in named:
        if names:
            kind = _kind(names, segments, told=not decoded.isdisjoint(node.inputs))
            calls.append(Call(node, names, kind, isinstance(node.operation, Recomputed)))
    return tuple(calls)


def codec_names(distiller: Distiller) -> set[str]:
    """The names of all encoders and decoders, in the graph or not."""
    return {getattr(codec, part).name for codec in distiller.codecs.values() for part in ("encode", "decode")}


def _kind(names: tuple[str, ...], segments: Mapping[str, str], *, told: bool) -> str:
    if len(names) > 1:
        return "interaction"
    (name,) = names
    if name not in segments:
        return "codecs"
    if told:
        return "interaction"
    return "student" if segments[name] == "student" else "teacher"


def called(node: Node, known: Collection[str]) -> tuple[str, ...]:
    """What of the known segments and codecs a node calls, in turn (`methods.message_of` makes several one model)."""
    operation = node.operation
    model = operation.model if isinstance(operation, InInference) else operation
    if model.name in known:
        return (str(model.name),)
    inner = nodes_of(model) if isinstance(operation, Recomputed) else ()
    return tuple(name for entry in inner for name in called(entry, known))
