"""Which number format a run computes in, where the spec leaves it to a measurement.

In: a spec with `train.precision: auto`, this machine. Out: the format whose step is the fastest, and what was measured.
Leaves out: how a format is applied (Keras's policies, `graph/compiler.py`).
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import tensorflow as tf

from tdspec.graph.compiler import Compiled
from tdspec.graph.own_terms import label_of
from tdspec.run.prepare import compile_optimizer, compile_with_weights
from tdspec.run.run_dir import RunFolder, read_record, update_record
from tdspec.run.team import Team
from tdspec.spec.load import Document

AUTO = "auto"
# A lower precision must be worth it: so much shorter must its step be.
WORTH_IT = 0.95
STEPS = 3


@dataclass(frozen=True)
class Precision:
    """What a run computes in.

    Attributes:
        name: of the policy.
        seconds: of a step by policy, where they were measured; else empty.
    """

    name: str
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1000 * seconds:.3g} ms" for name, seconds in self.seconds.items())
        return f"precision: {self.name}, from a measured step of {times}"


def chosen(
    document: Document, files: Mapping[str, Path], strategy: tf.distribute.Strategy, known: Mapping[str, Any]
) -> Precision:
    """What the spec says; for `auto`, what the record of a resumed run says, or else a measurement.

    Args:
        document: the spec.
        files: as for `compile_with_weights`.
        strategy: of the run.
        known: the record's entry of what was chosen before; empty where nothing was.
    """
    word = document.spec.train.precision
    if word != AUTO:
        return Precision(word, {})
    if known:
        return Precision(known["name"], known["seconds"])
    seconds = {}
    for name in candidates():
        seconds[name] = round(_measured(document, files, strategy, name), 6)
        gc.collect()
    return Precision(fastest(seconds), seconds)


def agreed(precision: Precision, team: Team) -> Precision:
    """What the chief has chosen, on every worker: each measures, since all replicas must run, and none alike."""
    name, seconds = json.loads(team.exchange(json.dumps([precision.name, dict(precision.seconds)]))[0])
    return Precision(name, seconds)


def chosen_before(resumed: str | None) -> dict[str, Any]:
    """The record's entry of what a resumed run has chosen; empty where nothing was, or no run is resumed."""
    return {} if resumed is None else dict(read_record(RunFolder(Path(resumed))).get("precision", {}))


def record_choice(run: RunFolder, precision: Precision, stream: TextIO) -> None:
    """Print and record what was measured; nothing where the spec says the precision."""
    if precision.seconds:
        print(precision, file=stream)
        update_record(run, precision={"name": precision.name, "seconds": dict(precision.seconds)})


def recorded(run: RunFolder) -> str:
    """What a run's measurement chose; "" where there was none, and the spec says it."""
    return str(read_record(run).get("precision", {}).get("name", ""))


def candidates() -> tuple[str, ...]:
    """What is worth a measurement: float16 has no arithmetic of its own on a CPU."""
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    return ("float32", "mixed_bfloat16", *(("mixed_float16",) if on_gpu else ()))


def fastest(seconds: Mapping[str, float]) -> str:
    """The policy with the shortest step; float32 unless another one is worth it."""
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < WORTH_IT * seconds["float32"] else "float32"


def _measured(document: Document, files: Mapping[str, Path], strategy: tf.distribute.Strategy, name: str) -> float:
    """Seconds of a step on made-up examples, after one that compiles."""
    with strategy.scope():
        compiled = compile_with_weights(document, files, name)
        # as in a long run, which is the one that time matters to
        compile_optimizer(compiled, schedule="constant", total_steps=None if _is_constant(compiled) else 10**6)
    batch = made_up(compiled, document.spec.data.batch_size // strategy.num_replicas_in_sync)

    @tf.function(autograph=False)
    def step(batch: Any) -> Any:
        logs = strategy.run(compiled.distiller.train_step, args=(batch,))
        return strategy.experimental_local_results(logs)[0]

    def seconds() -> float:
        start = time.perf_counter()
        # a device is waited for where a number is read
        float(step(batch)["loss"])
        return time.perf_counter() - start

    seconds()
    return min(seconds() for _ in range(STEPS))


def _is_constant(compiled: Compiled) -> bool:
    return all(term.schedule.type == "constant" for term in compiled.distiller.terms)


def made_up(compiled: Compiled, size: int) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """A batch of zeros as the distiller is fed: (features, label, sample_weight)."""
    fed = compiled.distiller.input
    label = label_of(compiled.document.spec.task.type, compiled.num_classes)
    zeros = {name: tf.zeros([size, *(axis or 1 for axis in x.shape[1:])], x.dtype) for name, x in fed.items()}
    return zeros, tf.zeros([size, *label.shape[1:]], label.dtype), tf.ones([size])
