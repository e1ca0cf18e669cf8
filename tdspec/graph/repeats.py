"""Blocks that come again are traced once: one equal to a block that ran before gives what that gave.

In: blocks of a model that is being built or counted. Out: what a trace of each would say, from one trace of the first.
Leaves out: what is traced for what (`sides.py`, `flops.py`).

Keras finds out what a layer gives by running it in a scratch graph. So a transformer of 24 equal blocks that is built,
opened and counted runs 72 of them, which would be most of the time that compiling takes. Equal are blocks of one class
with equal numbers and texts among their attributes, equal shapes of weights, and equal layers inside, on arguments of
equal shapes (not those of equal configs, which some classes of keras-hub fail to give). Stand-ins live in scratch
graphs alone: no number that a model computes comes from one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial, wraps
from typing import Any

import keras
import tensorflow as tf

from tdspec.graph.replacing import replaced
from tdspec.graph.walk import blocks_in, is_block, sublayers

PLAIN = (bool, int, float, str, type(None))


class Repeats:
    """What blocks gave in scratch graphs, by what they are and what they were given."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Any, Any]] = {}

    def run(self, layer: keras.Operation, call: Callable[[], Any], given: Any, note: Callable[[], Any]) -> Any:
        """Run a layer in a scratch graph; for a block that equals one that ran before, placeholders stand in.

        Args:
            layer: what is run.
            call: runs it.
            given: its arguments, in any structure.
            note: tells something of the run that has just been.

        Returns:
            What the layer gives, and what was noted of the run.
        """
        if not is_block(layer):
            return call(), note()
        key = _identity(layer), _described(given)
        if key not in self._known:
            num_variables = len(layer.variables)
            result, noted = call(), note()
            if len(layer.variables) == num_variables:
                # else it makes weights when it first runs, and so does each that equals it
                self._known[key] = keras.tree.map_structure(_shape, result), noted
            return result, noted
        shapes, noted = self._known[key]
        return keras.tree.map_structure(_stand_in, shapes), noted


@contextmanager
def traced_once() -> Iterator[None]:
    """While models are built: each trace of a layer runs those blocks inside it that no equal one stands in for.

    What a layer gives is found by its `compute_output_spec`, which is replaced meanwhile: the constructors of whole
    backbones, which build and trace their layers in one go, leave no other place.
    """
    repeats = Repeats()
    original = keras.layers.Layer.compute_output_spec

    @wraps(original)
    def compute_output_spec(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            for block in blocks_in(layer):
                stack.enter_context(_standing_in(block, repeats))
            return original(layer, *args, **kwargs)

    with replaced(keras.layers.Layer, "compute_output_spec", compute_output_spec):
        yield


@contextmanager
def _standing_in(block: keras.layers.Layer, repeats: Repeats) -> Iterator[None]:
    """Let what is known of equal blocks stand in for a block's `call`."""
    if "call" in vars(block):
        yield  # inside the trace of a layer around it
        return
    call = block.call

    def known_or_run(*args: Any, **kwargs: Any) -> Any:
        return repeats.run(block, partial(call, *args, **kwargs), (args, kwargs), lambda: None)[0]

    # not by setattr, which Keras watches
    vars(block)["call"] = known_or_run
    try:
        yield
    finally:
        del vars(block)["call"]


def _identity(layer: keras.layers.Layer) -> str:
    own = {key: value for key, value in vars(layer).items() if key not in _of_every_layer() and _is_plain(value)}
    weights = [(tuple(variable.shape), variable.dtype) for variable in layer.variables]
    return f"{type(layer)} {layer.compute_dtype} {own} {weights} {[_identity(inner) for inner in sublayers(layer)]}"


@cache
def _of_every_layer() -> frozenset[str]:
    """Attributes that say which layer it is and what was done with it: its name, whether it was called."""
    return frozenset(vars(keras.layers.Layer(name="any")))


def _is_plain(value: Any) -> bool:
    return all(isinstance(item, PLAIN) for item in keras.tree.flatten(value))


def _described(given: Any) -> str:
    """Shapes and dtypes of tensors, and all other values, in their structure."""
    return repr(keras.tree.map_structure(_shape, given))


def _shape(value: Any) -> Any:
    return tf.TensorSpec(value.shape, value.dtype) if tf.is_tensor(value) else value


def _stand_in(value: Any) -> Any:
    return tf.compat.v1.placeholder(value.dtype, value.shape) if isinstance(value, tf.TensorSpec) else value
