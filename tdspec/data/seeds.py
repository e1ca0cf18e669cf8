"""Random numbers, one independent stream for each purpose.

In: a purpose and what the numbers are a function of. Out: a numpy generator, the same for the same arguments.
Leaves out: the seeds of models.
"""

from __future__ import annotations

import numpy as np

PURPOSES = {"split": 1, "labels": 2, "order": 3, "augment": 4, "sample": 5}


def generator(purpose: str, *key: int) -> np.random.Generator:
    """A generator of PURPOSES that depends on nothing but the key, such as (seed, epoch)."""
    return np.random.default_rng([*key, PURPOSES[purpose]])
