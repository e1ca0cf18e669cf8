"""Models as layers of a graph: in inference mode, and such that their activations are not kept.

In: a functional model. Out: a layer that runs it, weights shared.
Leaves out: who runs how (`methods.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tdspec.graph.folding import folded

Tensor = Any


class InInference(keras.layers.Layer):
    """A model that runs in inference mode whatever the mode of the graph it stands in.

    Keras hands the `training` of a functional model's call to each layer in it, over what that layer was called with; a
    layer whose call has no such argument keeps its own word.
    In that mode BatchNormalization is a part of the layer before it (`folding.py`).

    Args:
        model: what it runs, weights shared.
    """

    def __init__(self, model: keras.Model, **kwargs: Any):
        super().__init__(**kwargs)
        self.model = model
        self._folded = folded(model)

    def call(self, inputs: Any) -> Any:
        return self._folded(inputs, training=False)

    def compute_output_spec(self, inputs: Any) -> Any:
        """What the model gives, which it knows: without this, Keras would trace all of its layers again."""
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, dtype=x.dtype), self.model.output)


class Recomputed(InInference):
    """A model in inference mode that keeps its inputs alone, and runs again when its gradient is asked for.

    What `tf.recompute_grad` and `keras.RematScope` do; but they do not see that the values of variables come from a
    `keras.StatelessScope`, and would give them no gradient.
    """

    def __init__(self, model: keras.Model, **kwargs: Any):
        # The values of variables are handed on as they are; the layers of the model cast them.
        super().__init__(model, autocast=False, dtype="float32", **kwargs)

    def call(self, inputs: Any) -> Any:
        variables, given = self.model.variables, keras.tree.flatten(inputs)

        def run(values: Sequence[Tensor]) -> list[Tensor]:
            pairs = zip(variables, values[len(given) :], strict=True)
            with keras.StatelessScope(list(pairs)):
                again = keras.tree.pack_sequence_as(inputs, values[: len(given)])
                return keras.tree.flatten(self._folded(again, training=False))

        @tf.custom_gradient
        def recomputed(*values: Tensor) -> Any:
            def gradients(*upstream: Tensor) -> list[Tensor | None]:
                again = [*not_before(upstream, values[: len(given)]), *map(tf.identity, values[len(given) :])]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(again)
                    outputs = run(again)
                return list(tape.gradient(outputs, again, output_gradients=list(upstream)))

            return run(values), gradients

        found = recomputed(*given, *(tf.convert_to_tensor(variable.value) for variable in variables))
        return keras.tree.pack_sequence_as(self.model.output, found)


def not_before(first: Sequence[Tensor], values: Sequence[Tensor]) -> list[Tensor]:
    """The same values, which a compiler takes for others that are only known after `first`.

    Without this it would find that what follows was computed already, and keep that.

    Args:
        first: floating point numbers.
        values: of any dtype.
    """
    entries = [tf.reshape(tensor, [-1])[0] for tensor in first]
    # never true, but that no compiler concludes
    never = tf.reduce_any([tf.logical_and(tf.equal(entry, entry), tf.math.is_nan(entry)) for entry in entries])
    return [tf.where(never, tf.zeros_like(value), value) for value in values]
