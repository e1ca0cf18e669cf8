"""Where a training step's time goes, measured on the spec's own models on this machine.

In: a `Document`. Out: a `Measurement`: seconds, memory, rates.
The step and its parts are compiled alike and take turns; what is no program of its own is the difference of two
medians. One device, one process, whatever the spec's strategy.
Leaves out: what is said and drawn of it (`report/bench_*.py`), many devices (`report/scaling.py`).
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import tensorflow as tf

from tdspec.graph.compiler import Compiled, build
from tdspec.graph.plan import plan_of
from tdspec.run.bench_feed import Feed, feed_of
from tdspec.run.bench_parts import parts_of
from tdspec.run.bench_timing import Computation, Timed, computation_of, peak_of_product, take_turns
from tdspec.run.prepare import compile_optimizer, describe, load_what_is_here
from tdspec.run.stacks import height_for, on_elements, on_one_batch, stacked
from tdspec.run.strategy import make_strategy
from tdspec.spec.load import Document

STEP, FED_STEP, CALLED_STEP = "step", "step_with_input", "step_by_step"
GRADIENTS, NOTHING = "gradients", "nothing"
# As many as no schedule of a weight ends within.
TOTAL_STEPS = 1_000_000
PRODUCT_DTYPES = ("float32", "bfloat16")
MEASURED, BY_DIFFERENCE, NOT_IN_GRAPH, NOT_MEASURED = "measured", "by difference", "not in the graph", "not measured"


@dataclass(frozen=True)
class Share:
    """A part of the whole step's time.

    Attributes:
        name: of the part.
        seconds: a step, at least 0; None where it could not be measured.
        how: "measured", "by difference", "not in the graph", "not measured".
        difference: what a difference of medians gave, which may be below 0; None where there was none.
    """

    name: str
    seconds: float | None
    how: str
    difference: float | None = None


@dataclass(frozen=True)
class Measurement:
    """A benchmark of a spec.

    Attributes:
        plan: of the spec.
        batch_size: examples in a step.
        jit: the word of the spec.
        xla: whether XLA compiled the step.
        fresh_weights: by model whose weights are not on this machine, why; it ran with random ones.
        why_random: why the batches are random; "" where they are the spec's.
        timed: by computation, seconds a step round by round.
        shares: the parts of the whole, which add up to it but for `overlap`.
        first_step_seconds: with compiling.
        peak_memory_bytes: of the process, once the step has run.
        products: by dtype, the highest FLOP/s of a matrix product.
    """

    plan: Mapping[str, Any]
    batch_size: int
    precision: str
    jit: str
    xla: bool
    fresh_weights: Mapping[str, str]
    why_random: str
    timed: Mapping[str, Timed]
    shares: tuple[Share, ...]
    first_step_seconds: float
    peak_memory_bytes: int
    products: Mapping[str, float]

    @property
    def whole(self) -> float:
        """Median seconds of a step, with its input where that is at hand."""
        return median(self.timed, FED_STEP if FED_STEP in self.timed else STEP)

    @property
    def overlap(self) -> float:
        """By how much the parts, differences below 0 taken for 0, add up to more than the whole."""
        return max(0.0, sum(share.seconds or 0.0 for share in self.shares) - self.whole)

    @property
    def flops_per_second(self) -> float:
        """The plan's FLOPs of a step over the median seconds of a step without its input."""
        return float(self.plan["cost"]["total"]) * self.batch_size / median(self.timed, STEP)


def median(timed: Mapping[str, Timed], name: str) -> float:
    """Median seconds a step over the rounds; 0 for what there is not."""
    return statistics.median(timed[name].seconds) if name in timed else 0.0


def measure(document: Document, *, root: Path, steps: int | None, stream: TextIO) -> Measurement:
    """Measure a spec's step.

    Args:
        document: the spec.
        root: the folder of all runs, where a teacher that is another spec's student is looked for.
        steps: of each computation in a round; None: as many as are worth it.
        stream: for progress.

    Raises:
        SpecError: the spec is wrong.
    """
    strategy = make_strategy("none", "auto")
    compiled = build(document, describe)
    fresh = load_what_is_here(compiled, root)
    compile_optimizer(compiled, schedule=document.spec.train.schedule, total_steps=TOTAL_STEPS)
    feed = feed_of(compiled)
    described = tf.nest.map_structure(tf.type_spec_from_value, tuple(feed.batch))
    xla = compiled.distiller.prepare(described, strategy)
    if xla.why_not:
        print(xla.why_not, file=stream)
    print("bench: compiling the step", file=stream, flush=True)
    height = height_for(xla)
    step = _step(compiled, feed, height)
    start = time.perf_counter()
    step.run(1)
    first, memory = time.perf_counter() - start, peak_memory()
    products = {dtype: peak_of_product(dtype) for dtype in PRODUCT_DTYPES}
    computations = {STEP: step, **_others(compiled, feed, height, xla=xla.compiles)}
    timed = take_turns(computations, steps, stream)
    # once more: a quiet moment is the machine's own
    products = {dtype: max(rate, peak_of_product(dtype)) for dtype, rate in products.items()}
    return Measurement(
        plan=plan_of(compiled),
        batch_size=document.spec.data.batch_size,
        precision=compiled.distiller.dtype_policy.name,
        jit=document.spec.train.jit,
        xla=xla.compiles,
        fresh_weights=fresh,
        why_random=feed.why_random,
        timed=timed,
        shares=shares_of({name: median(timed, name) for name in timed}),
        first_step_seconds=first,
        peak_memory_bytes=memory,
        products=products,
    )


def peak_memory() -> int:
    """The most bytes that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _others(compiled: Compiled, feed: Feed, height: int, *, xla: bool) -> dict[str, Computation]:
    found = {} if height == 1 else {CALLED_STEP: _step(compiled, feed, 1)}
    if feed.batches is not None:
        found[FED_STEP] = _fed_step(compiled, feed.batches, height)
    return found | {part.name: computation_of(part, xla=xla) for part in parts_of(compiled, feed.batch)}


def _step(compiled: Compiled, feed: Feed, height: int) -> Computation:
    """Steps on one batch in memory, as `loop.py` runs them."""
    run = on_one_batch(compiled.distiller.train_step, tuple(feed.batch), height)
    return Computation(lambda steps: _wait(run(tf.constant(steps))))


def _fed_step(compiled: Compiled, batches: tf.data.Dataset, height: int) -> Computation:
    """Steps on the batches of the pipeline, which starts anew, untimed, before each round: it must not work ahead
    while others are measured."""
    elements = batches if height == 1 else stacked(batches, height)
    run_element = on_elements(compiled.distiller.train_step, height)

    @tf.function
    def run(iterator: Any, num_steps: tf.Tensor) -> tf.Tensor:
        left = num_steps
        while left > 0:
            left -= run_element(next(iterator), left)
        return left

    started: list[Any] = []

    def before(steps: int) -> None:
        started[:] = [iter(elements)]
        # a filled buffer would flatter a slow pipeline, and a cold start belie a quick one
        int(run(started[0], tf.constant(max(1, steps // 2))))

    def run_and_wait(steps: int) -> None:
        int(run(started[0], tf.constant(steps)))
        started.clear()

    return Computation(run_and_wait, before)


def _wait(result: tf.Tensor) -> None:
    int(result)


def shares_of(medians: Mapping[str, float]) -> tuple[Share, ...]:
    """The parts of the whole from the medians of the computations.

    What it costs to call a program is taken off what is measured alone: the step is one program, or several are.

    Args:
        medians: seconds by computation: `STEP`, perhaps `CALLED_STEP` and `FED_STEP`, and the names of
            `bench_parts.Part`.

    Returns:
        In the order in which a step goes through them; "rest" last.
    """
    alone = [
        _difference(name, medians[name], medians[NOTHING], MEASURED)
        if name in medians
        else Share(name, 0.0, NOT_IN_GRAPH)
        for name in ("student_forward", "teacher", "interaction", "codecs")
    ]
    backward = _difference("student_backward", medians["student_gradients"], medians["student_forward"])
    optimizer = _difference("optimizer", medians[CALLED_STEP if CALLED_STEP in medians else STEP], medians[GRADIENTS])
    waited = Share("input", None, NOT_MEASURED)
    if FED_STEP in medians:
        waited = _difference("input", medians[FED_STEP], medians[STEP])
    known = [alone[0], backward, *alone[1:], optimizer, waited]
    whole = medians.get(FED_STEP, medians[STEP])
    return (*known, _difference("rest", whole, sum(share.seconds or 0.0 for share in known)))


def _difference(name: str, more: float, less: float, how: str = BY_DIFFERENCE) -> Share:
    return Share(name, max(0.0, more - less), how, more - less)
