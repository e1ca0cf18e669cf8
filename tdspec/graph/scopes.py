"""A scope in which variables have other values than their own, or none yet.

In: values beside variables. Out: Keras's scope.
Leaves out: which values (`step.py`, `inference.py`, `flops.py`), and when no value is needed (`run/prepare.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras


def stateless(pairs: Iterable[tuple[keras.Variable, Any]] = ()) -> keras.StatelessScope:
    """A scope whose variables are read and changed beside themselves; variables made in it have no value.

    Leaving Keras's own would give a value to every variable in the process that has none: those of models that were
    compiled to look at alone, teachers and all. In a `tf.function` it would also count as making variables, so that
    the function is traced twice.

    Args:
        pairs: variables and their values.
    """
    return keras.StatelessScope(list(pairs), initialize_variables=False)
