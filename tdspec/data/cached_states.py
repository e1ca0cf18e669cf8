"""The stored states of the teacher as features of a batch.

In: complete `StateFiles`, the number of an example. Out: tensors by name, beside the features of the source.
Leaves out: computing them (`run/teacher_cache.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tdspec.data.examples import Element
from tdspec.data.state_store import Array, StateFiles

# How the values of a file reach TensorFlow.
FILE_TYPES = {"bfloat16": tf.uint16, "float16": tf.float16, "float32": tf.float32}


@dataclass(frozen=True, eq=False)
class CachedStates:
    """States of a training split; row `view * num_examples + index` of the files is an example in a view.

    Attributes:
        files: what is stored.
        num_examples: of the split.
        views: how many augmented versions of each example there are; 0: the examples as they are.
        unread: features of the source that nothing reads, since the states stand in for them.
    """

    files: StateFiles
    num_examples: int
    views: int
    unread: frozenset[str]

    def view(self, epoch: int) -> int:
        """The epoch whose augmentation an epoch has, and its states belong to."""
        return epoch % self.views if self.views else 0

    def finish(self, features: Element, index: tf.Tensor, epoch: int) -> Element:
        """The features of a batch with those of the examples `index` (batch,)."""
        kept = {name: values for name, values in features.items() if name not in self.unread}
        return {**kept, **self.lookup(index, self.view(epoch))}

    def lookup(self, index: tf.Tensor, view: int) -> Element:
        """The states of some examples in a view: (batch, ...) of the stored dtype."""
        names = list(self.files.arrays)

        def read(rows: Array) -> list[Array]:
            found = self.files.read(rows)
            return [found[name] for name in names]

        stored = FILE_TYPES[self.files.spec.dtype]
        rows = index + view * self.num_examples
        # Outside a graph, numpy_function gives a single tensor without its list.
        found = tf.nest.flatten(tf.numpy_function(read, [rows], [stored] * len(names), stateful=False))
        shaped = [
            tf.ensure_shape(values, (index.shape[0], *self.files.spec.shapes[name]))
            for name, values in zip(names, found, strict=True)
        ]
        if stored == tf.uint16:
            shaped = [tf.bitcast(values, tf.bfloat16) for values in shaped]
        return dict(zip(names, shaped, strict=True))
