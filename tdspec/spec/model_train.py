"""The part of `model.py` that is about training.

In: nothing. Out: `Train` and what it is made of. Leaves out: what `model.py` leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Optimizer:
    type: str
    learning_rate: float
    weight_decay: float
    momentum: float
    global_clipnorm: float


@dataclass(frozen=True)
class Train:
    epochs: int
    optimizer: Optimizer
    schedule: str
    precision: str
    jit: str
    accumulate_steps: int
    remat: str
    strategy: str
    replicas: int | Literal["auto"]
    synchronize_batch_norm: bool
