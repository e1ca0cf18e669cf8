"""The section `train` of a spec as frozen dataclasses; see `model.py`."""

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
    strategy: str
    replicas: int | Literal["auto"]
    synchronize_batch_norm: bool
