"""Which part of a distillation each call in its graph belongs to.

In: a `Distiller`, the names of its models' segments and of its codecs. Out: `Call`s, in the graph's order.
Leaves out: what a call costs: in FLOPs (`plan.py`), in seconds (`run/bench.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tdspec.graph.distiller import Distiller
from tdspec.graph.inference import InInference
from tdspec.graph.walk import Node, nodes_of


@dataclass(frozen=True)
class Call:
    """A call of a segment or a codec.

    Attributes:
        node: of the distiller's graph.
        name: what is called: "teacher_middle", "student_codec_encode".
        kind: "student" or "teacher": on the data; "interaction": on a state that a codec decoded; "codecs".
    """

    node: Node
    name: str
    kind: str


def calls_of(distiller: Distiller, segments: Mapping[str, str], codecs: Collection[str]) -> tuple[Call, ...]:
    """The calls of segments and codecs; what stands between them, such as a resampling, is none.

    Args:
        distiller: the graph.
        segments: by the name of a segment or a whole model, the model it is of: "student", or a teacher's name.
        codecs: the names of encoders and decoders.
    """
    nodes = nodes_of(distiller)
    maker = {output: node for node in nodes for output in node.outputs}
    calls = []
    for node in nodes:
        name = called(node)
        if name in codecs:
            calls.append(Call(node, name, "codecs"))
        elif name in segments:
            told = any(called(maker[tensor]) in codecs for tensor in node.inputs)
            data = "student" if segments[name] == "student" else "teacher"
            calls.append(Call(node, name, "interaction" if told else data))
    return tuple(calls)


def called(node: Node) -> str:
    """The name of the segment or codec that a node calls."""
    operation = node.operation
    return str(operation.model.name if isinstance(operation, InInference) else operation.name)
