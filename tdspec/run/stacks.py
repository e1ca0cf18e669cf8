"""Several short steps as one program of XLA, which takes its batches as a stack.

In: a step, and batches. Out: the stacks; what runs the step on each batch of one.
To call a program takes about 0.8 ms on a CPU, most of it for handing over variables: a tenth of a step of a small MLP
(`tests/benchmarks/stacks.py`).
Leaves out: which steps gain by it (`graph/step.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tdspec.graph.step import Xla

# (batches one upon the other, how many of them are there)
Stack = tuple[Any, tf.Tensor]
# Batches in a stack: more would gain little, and a call is to last well under a second.
HEIGHT = 16


def height_for(xla: Xla) -> int:
    """How many batches a stack has for a step of which XLA made this; 1 where each is better a program of its own."""
    return HEIGHT if xla.repeats else 1


def stacked(batches: tf.data.Dataset, height: int) -> tf.data.Dataset:
    """Batches as stacks of one height; what the last one lacks is filled up with zeros, which no step reads.

    Args:
        batches: of known shapes.
        height: batches in a stack.
    """
    shapes = batches.element_spec

    def filled(*stack: Any) -> Stack:
        found = tf.shape(tf.nest.flatten(stack)[0])[0]

        def fill(each: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
            missing = tf.scatter_nd([[0, 1]], [height - found], [each.shape.rank, 2])
            return tf.ensure_shape(tf.pad(each, missing), [height, *spec.shape])

        return tf.nest.map_structure(fill, stack, shapes), found

    stacks = batches.batch(height).map(filled)
    return stacks.with_options(batches.options()).prefetch(1)


def on_elements(step: Callable[[Any], Any], height: int) -> Callable[[Any, Any], Any]:
    """A call of (element, most steps) that runs a step on a batch, or on those of a stack, and says how many it ran.

    Args:
        step: of a batch; changes variables. Its Python is run as it is written, not rewritten by AutoGraph.
        height: batches in a stack; 1: each element is a batch.
    """
    step = tf.autograph.experimental.do_not_convert(step)
    run_stack = _on_stacks(step)

    @tf.autograph.experimental.do_not_convert
    def run(element: Any, most: Any) -> Any:
        if height == 1:
            step(element)
            return 1
        stack, found = element
        count = tf.minimum(found, most)
        run_stack(stack, count)
        return count

    return run


def on_one_batch(step: Callable[[Any], Any], batch: Any, height: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph that runs a step so many times on a batch in memory, as a long run would on others.

    Args:
        step: of a batch.
        batch: tensors.
        height: batches in a stack.
    """
    batches = tf.data.Dataset.from_tensors(tuple(batch)).repeat(height)
    element = batch if height == 1 else next(iter(stacked(batches, height)))
    run_element = on_elements(step, height)

    @tf.function
    def run(num_steps: tf.Tensor) -> tf.Tensor:
        left = num_steps
        while left > 0:
            left -= run_element(element, left)
        return left

    graph: Callable[[tf.Tensor], tf.Tensor] = run
    return graph


def _on_stacks(step: Callable[[Any], Any]) -> Callable[[Any, tf.Tensor], None]:
    """A program of XLA that runs a step on the first batches of a stack, one after the other."""

    def run(stack: Any, count: tf.Tensor) -> None:
        def one(number: tf.Tensor) -> tuple[tf.Tensor]:
            step(tf.nest.map_structure(lambda each: each[number], stack))
            return (number + 1,)

        tf.while_loop(lambda number: number < count, one, (tf.zeros((), tf.int32),))

    program: Callable[[Any, tf.Tensor], None] = tf.function(run, autograph=False, jit_compile=True)
    return program
