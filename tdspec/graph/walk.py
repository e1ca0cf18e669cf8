"""Walking Keras functional graphs: nodes in order, composite layers opened.

In: functional Keras models. Out: their nodes in topological order, and the same models with every container of blocks
opened so that the blocks are nodes of their own. Weights are shared, never copied.
Leaves out: which tensor is a clean cut (`cuts.py`). This is the only module that reads what is private to
Keras: node records and name counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.utils import naming

from tdspec.graph.adapters import OPENINGS, role_of


@dataclass(frozen=True)
class Node:
    """One call of an operation in a functional graph.

    Attributes:
        operation: the layer or operation that is called.
        inputs, outputs: ids of the KerasTensors it reads and makes.
        tensors: the KerasTensors it makes.
        call: (values by tensor id, invoke) -> flat outputs; `invoke(operation, *args, **kwargs)` calls it by default.
    """

    operation: keras.Operation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple[keras.KerasTensor, ...]
    call: Callable[..., list[Any]]
    is_input: bool

    @property
    def name(self) -> str:
        return str(self.operation.name)


def _invoke(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    return operation(*args, **kwargs)


def _node_of(tensor: keras.KerasTensor) -> Any:
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index]


def _to_node(record: Any) -> Node:
    def call(values: dict[int, Any], invoke: Callable[..., Any] = _invoke) -> list[Any]:
        args, kwargs = record.arguments.fill_in(values)
        return keras.tree.flatten(invoke(record.operation, *args, **kwargs))

    return Node(
        record.operation,
        tuple(id(tensor) for tensor in record.input_tensors),
        tuple(id(tensor) for tensor in record.outputs),
        tuple(record.outputs),
        call,
        record.is_input,
    )


def nodes_between(inputs: Sequence[keras.KerasTensor], outputs: Sequence[keras.KerasTensor]) -> tuple[Node, ...]:
    """Every node on a way back from `outputs` that stops at `inputs`, each after those it reads from.

    Returns:
        The nodes, those that make `inputs` included, in a topological order that depends on the graph only.
    """
    stops = {id(tensor) for tensor in inputs}
    order: list[Node] = []
    done: set[int] = set()
    stack = [(_node_of(tensor), False) for tensor in reversed(outputs)]
    while stack:
        record, ready = stack.pop()
        if ready:
            order.append(_to_node(record))
            continue
        if id(record) in done:
            continue
        done.add(id(record))
        stack.append((record, True))
        if not any(id(tensor) in stops for tensor in record.outputs):
            stack.extend((_node_of(tensor), False) for tensor in reversed(record.input_tensors))
    return tuple(order)


def nodes_of(model: keras.Model) -> tuple[Node, ...]:
    """The nodes of a functional model, inputs included, in topological order."""
    return nodes_between(model.inputs, model.outputs)


def sublayers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The layers directly inside a layer."""
    yield from layer._flatten_layers(include_self=False, recursive=False)


def _is_attention(layer: keras.layers.Layer) -> bool:
    return "Attention" in type(layer).__name__ and role_of(layer) != "block"


def _is_block(layer: keras.layers.Layer) -> bool:
    """A transformer block: not attention itself, but with attention directly inside; or what the adapters call one."""
    if role_of(layer) is not None:
        return role_of(layer) == "block"
    return not _is_attention(layer) and any(_is_attention(inner) for inner in sublayers(layer))


def is_block(operation: keras.Operation) -> bool:
    """Whether an operation of an opened graph is a transformer block, or a block by its class."""
    return isinstance(operation, keras.layers.Layer) and _is_block(operation)


def blocks_in(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The blocks that a layer consists of, itself included."""
    return [inner for inner in layer._flatten_layers() if _is_block(inner)]


def has_kernel(operation: keras.Operation) -> bool:
    """Whether an operation is a layer with a kernel of its own, embeddings aside."""
    return getattr(operation, "kernel", None) is not None and not operation.name.endswith("embedding")


def is_composite(operation: keras.Operation) -> bool:
    """Whether an operation of an opened graph is a layer with several kernels inside, no attention."""
    if not isinstance(operation, keras.layers.Layer) or _is_attention(operation):
        return False
    return sum(has_kernel(inner) for inner in operation._flatten_layers(include_self=False)) > 1


def is_functional(operation: keras.Operation) -> bool:
    """Whether an operation is a model that is a graph of others."""
    return isinstance(operation, keras.Model) and hasattr(operation, "outputs")


def _is_container(operation: keras.Operation) -> bool:
    """A nested model, or a layer made of blocks: what `opened` opens."""
    if isinstance(operation, keras.Sequential) or is_functional(operation):
        return True
    if not isinstance(operation, keras.layers.Layer) or _is_block(operation) or _is_attention(operation):
        return False
    if role_of(operation) == "container":
        return True
    return any(_is_block(inner) for inner in operation._flatten_layers(include_self=False))


def _call_opened(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    if type(operation).__name__ in OPENINGS:
        return OPENINGS[type(operation).__name__](operation, *args, **kwargs)
    if not _is_container(operation):
        return operation(*args, **kwargs)
    if isinstance(operation, keras.Sequential):
        (value,) = args
        for layer in operation.layers:
            value = _call_opened(layer, value)
        return value
    if isinstance(operation, keras.Model):
        return trace(operation, args[0])
    return operation.call(*args, **kwargs)


def _replayed(nodes: Sequence[Node], values: dict[int, Any], invoke: Callable[..., Any] = _invoke) -> dict[int, Any]:
    """Values by tensor id after each of the nodes has run on those given, whose makers do not run."""
    for node in nodes:
        if not all(output in values for output in node.outputs):
            values.update(zip(node.outputs, node.call(values, invoke), strict=True))
    return values


def trace(model: keras.Model, inputs: Any, *, opening: bool = True) -> Any:
    """Run a functional model on new tensors, layer by layer.

    Args:
        model: a functional model.
        inputs: tensors or KerasTensors in the structure of `model.input`.
        opening: whether its containers of blocks are opened.

    Returns:
        The outputs, in the structure of `model.output`.
    """
    return replayed(model, inputs, _call_opened if opening else _invoke)


def replayed(model: keras.Model, inputs: Any, invoke: Callable[..., Any]) -> Any:
    """As `trace`; `invoke(operation, *args, **kwargs)` calls each operation of the model."""
    values = {id(old): new for old, new in zip(model.inputs, keras.tree.flatten(inputs), strict=True)}
    values = _replayed(nodes_of(model), values, invoke)
    return keras.tree.pack_sequence_as(model.output, [values[id(tensor)] for tensor in model.outputs])


def opened(inputs: Any, output: keras.KerasTensor) -> keras.KerasTensor:
    """The same computation, weights shared, with each transformer block and each layer of a nested model a node.

    Args:
        inputs: keras.Inputs, in any structure.
        output: a tensor that depends on them.

    Returns:
        The tensor that corresponds to `output` in a graph traced anew.
    """
    while any(_is_container(node.operation) for node in nodes_between(keras.tree.flatten(inputs), [output])):
        output = trace(functional(inputs, output), inputs)
    return output


def between(
    starts: Sequence[keras.KerasTensor], sides: Sequence[keras.KerasTensor], end: keras.KerasTensor, *, name: str
) -> keras.Model:
    """The part of a graph from `starts` to `end` as a model, weights shared.

    Args:
        starts: tensors of the graph, for each of which the model has an input.
        sides: inputs of the graph, for each of which the model has one of the same name.
        end: a tensor that depends on no more than these.
    """
    nodes = nodes_between([*starts, *sides], [end])
    made = {id(tensor) for tensor in starts}
    makers = {id(_node_of(tensor).operation) for tensor in starts}
    again = [node for node in nodes if id(node.operation) in makers and not made.intersection(node.outputs)]
    if not again and not sides:
        return keras.Model(list(starts), end, name=name)
    # Keras takes every call of the layer that makes a start for that start, and forgets how an input was made that
    # stands beside it; so a shared layer, or a part with a mask, is traced anew.
    entries = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in starts]
    masks = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name) for tensor in sides]
    values = {id(old): new for old, new in zip([*starts, *sides], [*entries, *masks], strict=True)}
    return keras.Model([*entries, *masks], _replayed(nodes, values)[id(end)], name=name)


@contextmanager
def numbered_anew() -> Iterator[None]:
    """Let Keras number the names of unnamed layers from the start, so that they depend on the model alone.

    Without it a layer is called `add_2` or `add_20` by how many models the process built before.
    """
    counters = global_state.get_global_attribute("object_name_uids")
    naming.reset_uids()
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", counters)


def functional(inputs: Any, output: keras.KerasTensor, **options: Any) -> keras.Model:
    """A functional model whose layers may have come with equal names, as those of two nested models do.

    Keras refuses equal names, so the later of two layers is renamed: a number is added.

    Args:
        inputs: keras.Inputs, in any structure.
        output: a tensor that depends on them.
        options: of keras.Model, such as its name.
    """
    nodes = nodes_between(keras.tree.flatten(inputs), [output])
    entries_first = sorted(nodes, key=lambda node: not node.is_input)
    operations = {id(node.operation): node.operation for node in entries_first}.values()
    names = {operation.name for operation in operations}
    taken: set[str] = set()
    for operation in operations:
        if operation.name in taken:
            candidates = (f"{operation.name}_{number}" for number in count(1))
            operation.name = next(name for name in candidates if name not in names)
        taken.add(operation.name)
        names.add(operation.name)
    return keras.Model(inputs, output, **options)
