"""Whether a run is worth compiling by XLA, where `train.jit: auto` leaves it open.

In: a compiled spec, the number of steps of its run. Out: the word for the step, and why.
Leaves out: whether XLA can compile the model (`graph/step.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from tdspec.graph.compiler import Compiled
from tdspec.graph.plan import plan_of
from tdspec.spec.quantities import quantity

AUTO = "auto"
# From here on compiling has paid, measured by tests/benchmarks/jit.py on two cores. What it costs (2 to 22 s) and what
# a step of a small model saves (1 to 5 ms) both grow with the number of operations, so that it pays after 800 to 7,600
# steps. A large model's step saves up to 20 ms a GFLOP besides.
WORTH_STEPS = 4_000
WORTH_FLOPS = 10**12


@dataclass(frozen=True)
class Jit:
    """What `train.jit` comes to in a run.

    Attributes:
        word: "auto", "on" or "off", as a step takes it.
        why: a sentence where the run, not the spec, decided; else "".
    """

    word: str
    why: str = ""

    def say(self, stream: TextIO) -> None:
        """Print why, where there is something to say."""
        if self.why:
            print(self.why, file=stream)


def jit_of(compiled: Compiled, total_steps: int | None, plan: Mapping[str, Any] | None = None) -> Jit:
    """What the spec says, or "off" for `auto` and a run that is over before compiling has paid.

    Args:
        compiled: with or without weights.
        total_steps: of the whole run; None: not known, and taken for many.
        plan: of `compiled`, where it is made already; else it is made where it is needed.
    """
    spec = compiled.document.spec
    if spec.train.jit != AUTO or total_steps is None or total_steps >= WORTH_STEPS:
        return Jit(spec.train.jit)
    flops = (plan or plan_of(compiled))["cost"]["total"] * spec.data.batch_size
    if total_steps * flops >= WORTH_FLOPS:
        return Jit(AUTO)
    work = f"{total_steps:,} steps of {quantity(flops, 'FLOP')}"
    limits = f"{WORTH_STEPS:,} steps or {WORTH_FLOPS / 1e12:g} TFLOP"
    return Jit("off", f"the step runs without XLA: {work} are over before compiling pays, from {limits} on (jit: on)")
