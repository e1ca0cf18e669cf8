"""A forward pass in micro-batches that gives the tensors, and the gradients, of the whole batch.

In: a pure forward function. Out: one of the same kind that keeps the activations of one micro-batch at a time.
The tensors that terms compare are computed for all micro-batches, keeping no activation, and put together; the terms
see the whole batch, so that also those which look across it are exact. Their gradients with respect to these tensors
go back through a second forward pass, micro-batch by micro-batch (Gao et al., "GradCache", arXiv 2101.06983). Every
micro-batch starts with the same state (seeds, statistics) in both passes, and so draws the same dropout.
Leaves out: the terms and the step (`distiller.py`, `step.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tdspec.errors import GraphError

Tensor = Any
Tensors = Mapping[str, Tensor]
# (trained values, the state's values, features) -> (tensors by name, the state's new values); touches no variable, and
# hands back what of the state it did not change.
Pure = Callable[[Sequence[Tensor], Sequence[Tensor], Tensors], tuple[Tensors, list[Tensor]]]
# (number of a micro-batch, what the last one left) -> what it leaves
Body = Callable[[Tensor, list[Any]], list[Any]]


@dataclass(frozen=True)
class InMicroBatches:
    """A forward pass in equal micro-batches whose activations are never held together; called like `forward`.

    Its gradients are with respect to the trained values alone.

    Attributes:
        forward: of a batch.
        count: of micro-batches; must divide the batch.
        dtypes: of the tensors that `forward` gives, by name.
        unrolled: whether the graph repeats the pass instead of looping over it, which replicas that talk within it
            need; not for XLA.
    """

    forward: Pure
    count: int
    dtypes: Mapping[str, str]
    unrolled: bool = False

    def __call__(
        self, trained: Sequence[Tensor], state: Sequence[Tensor], features: Tensors
    ) -> tuple[Tensors, list[Tensor]]:
        """(trained values, the state's values, features) -> (tensors by name, the state's new values).

        Raises:
            GraphError: the batch does not divide.
        """
        parts = {name: _split(value, self.count) for name, value in features.items()}
        names, ends = list(parts), list(state)
        num_trained, num_values = len(trained), len(trained) + len(state)

        # What the passes read is an argument: TensorFlow asks for the gradients of all variables behind anything else.
        @tf.custom_gradient
        def both_passes(*given: Tensor) -> Any:
            weights, start = given[:num_trained], given[num_trained:num_values]
            given_parts = dict(zip(names, given[num_values:], strict=True))
            tensors, starts, ends[:] = self._first(weights, start, given_parts)

            def gradients(*upstream: Tensor) -> list[Tensor | None]:
                wanted = [_split(gradient, self.count) for gradient in upstream]
                return self._second(weights, starts, given_parts, wanted) + [None] * (len(start) + len(names))

            return tensors, gradients

        tensors = both_passes(*trained, *state, *parts.values())
        return dict(zip(self.dtypes, tensors, strict=True)), ends

    def _first(
        self, trained: Sequence[Tensor], state: Sequence[Tensor], parts: Tensors
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """(tensors of the whole batch, the state with which each micro-batch started, the state in the end)."""
        num_state = len(state)
        changed: set[int] = set()

        def body(index: Tensor, carried: list[Any]) -> list[Any]:
            now, arrays = carried[:num_state], carried[num_state:]
            tensors, after = self.forward(trained, now, _rows(parts, index))
            changed.update(number for number in range(num_state) if after[number] is not now[number])
            rows = [*now, *(tensors[name] for name in self.dtypes)]
            return [*after, *(array.write(index, row) for array, row in zip(arrays, rows, strict=True))]

        kinds = [*(value.dtype for value in state), *map(tf.as_dtype, self.dtypes.values())]
        carried = self._each(body, [*state, *(tf.TensorArray(kind, size=self.count) for kind in kinds)], after=())
        stacks = [array.stack() for array in carried[num_state:]]
        ends = [carried[number] if number in changed else state[number] for number in range(num_state)]
        return [_joined(stack) for stack in stacks[num_state:]], stacks[:num_state], ends

    def _second(
        self, trained: Sequence[Tensor], starts: Sequence[Tensor], parts: Tensors, upstream: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The gradients with respect to `trained`, summed over micro-batches; None where there is no way to it."""
        reached: set[int] = set()

        def body(index: Tensor, sums: list[Any]) -> list[Any]:
            weights = [tf.identity(value) for value in trained]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                tensors, _ = self.forward(weights, [stack[index] for stack in starts], _rows(parts, index))
            wanted = [gradient[index] for gradient in upstream]
            found = tape.gradient([tensors[name] for name in self.dtypes], weights, output_gradients=wanted)
            reached.update(number for number, gradient in enumerate(found) if gradient is not None)
            return [
                total if gradient is None else total + tf.convert_to_tensor(gradient)
                for total, gradient in zip(sums, found, strict=True)
            ]

        sums = self._each(body, [tf.zeros_like(value) for value in trained], after=upstream)
        return [total if number in reached else None for number, total in enumerate(sums)]

    def _each(self, body: Body, carried: list[Any], *, after: Sequence[Tensor]) -> list[Any]:
        """Run `body` for each micro-batch, one after the other."""
        if self.unrolled:
            return _repeated(body, carried, self.count, after)
        _, *carried = tf.while_loop(
            lambda index, *_: index < self.count,
            lambda index, *now: [index + 1, *body(index, list(now))],
            [tf.constant(0), *carried],
            parallel_iterations=1,
        )
        return carried


def _repeated(body: Body, carried: list[Any], count: int, after: Sequence[Tensor]) -> list[Any]:
    for index in range(count):
        # TensorFlow would run all at once, and a pass that repeats an earlier one not at all
        with tf.control_dependencies(tf.nest.flatten([carried, list(after)], expand_composites=True)):
            number = tf.identity(tf.constant(index))
        carried = body(number, carried)
    return carried


def _rows(parts: Tensors, index: Tensor) -> Tensors:
    return {name: part[index] for name, part in parts.items()}


def _split(value: Tensor, count: int) -> Tensor:
    """(batch, ...) -> (count, batch / count, ...)."""
    size = value.shape[0]
    if size is not None and size % count:
        raise GraphError(
            f"a batch of {size} examples on a replica does not divide into {count} micro-batches",
            "choose data.batch_size as a multiple of train.accumulate_steps times the replicas, without a smaller last",
        )
    shape = tf.shape(value)
    parts = tf.reshape(value, tf.concat([[count, shape[0] // count], shape[1:]], axis=0))
    parts.set_shape([count, None if size is None else size // count, *value.shape[1:]])
    return parts


def _joined(parts: Tensor) -> Tensor:
    """(count, part, ...) -> (count * part, ...)."""
    count, part = parts.shape[:2]
    shape = tf.shape(parts)
    whole = tf.reshape(parts, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0))
    whole.set_shape([None if part is None else count * part, *parts.shape[2:]])
    return whole
