"""How much more two replicas train in the same time than one: tests/benchmarks/replicas.py

    python tests/benchmarks/replicas.py [--case vit128-17-k1] [--steps 20] [--rounds 5] [--waits]

In: the name of a case (`step_cases.py`). Out: one line of JSON: examples a second of two replicas with a thread each
over those of one replica with one thread, at the same batch a replica, XLA on; the median over rounds that take turns.
Each has a process of its own, since TensorFlow fixes threads and devices when it starts; only one works at a time.
Beside it the same for two processes of one replica that work at once and share nothing: what the two cores can give;
and for one replica whose step is cut into programs as that of two is: what cutting costs. With `--waits`: the shares of
two replicas' time in XLA's programs, in waiting for the other replica's to end, and outside.
Leaves out: the input pipeline (one batch, in memory), and whether the results are equal (`test_graph_step.py`).
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import argparse
import concurrent.futures
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from asking import answer, process_of


def steps_of(case: str, strategy_name: str, replicas: int) -> tuple[Any, int]:
    """A call that runs so many steps, each replica on a batch of its own, and how many examples such a batch has."""
    import tensorflow as tf
    from step_cases import batch_of, compiled_case

    from tdspec.run.strategy import make_strategy

    tf.config.threading.set_intra_op_parallelism_threads(1)  # for each replica
    strategy = make_strategy(strategy_name, replicas)
    with strategy.scope():
        distiller = compiled_case(case).distiller
    features, label, weight = batch_of(case)
    batch = (features, label, weight)
    given = strategy.experimental_distribute_values_from_function(lambda _: batch)

    @tf.autograph.experimental.do_not_convert
    def step() -> None:
        strategy.run(lambda part: distiller.train_step(part) and None, args=(given,))

    @tf.function
    def run(num_steps: tf.Tensor) -> None:
        for _ in tf.range(num_steps):
            step()

    run(tf.constant(1))
    return run, len(label)


def work(case: str, strategy_name: str, replicas: int, steps: int) -> None:
    """Answer each line on standard input with the examples a second of so many steps."""
    import tensorflow as tf

    run, num_examples = steps_of(case, strategy_name, replicas)
    for _ in sys.stdin:
        start = time.perf_counter()
        run(tf.constant(steps))
        print(replicas * num_examples * steps / (time.perf_counter() - start), flush=True)


def waits(case: str, steps: int) -> dict[str, float]:
    """Of the time of two replicas: in XLA's programs, waiting for the other one's to end, and with no program."""
    from thunks import intervals

    run, _ = steps_of(case, "mirrored", 2)
    programs = sorted(intervals(run, steps)["CpuExecutable::ExecuteAsyncOnStream"])
    # forward and backward in turn, two of each, which end before the next ones begin
    pairs = [[programs[number], programs[number + 1]] for number in range(0, len(programs), 2)]
    whole = max(end for _, end in programs) - programs[0][0]
    waited = sum(abs(one[1] - other[1]) for one, other in pairs) / 2
    computed = sum(end - start for start, end in programs) / 2
    shares = {"in programs": computed, "waiting": waited, "outside": whole - computed - waited}
    return {name: round(value / whole, 3) for name, value in shares.items()}


def started(case: str, strategy: str, replicas: int, steps: int) -> Any:
    """A process that measures when asked."""
    command = [sys.executable, __file__, "--case", case, "--steps", str(steps)]
    return process_of(*command, "--replicas", str(replicas), "--strategy", strategy)


def asked_at_once(processes: Sequence[Any]) -> float:
    """The examples a second of all of them together."""
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
        return sum(pool.map(answer, processes))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="vit128-17-k1")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--waits", action="store_true", help="where the time of two replicas goes")
    parser.add_argument("--replicas", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--strategy", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.replicas:
        work(given.case, given.strategy, given.replicas, given.steps)
        return
    if given.waits:
        print(json.dumps({given.case: waits(given.case, given.steps)}))
        return
    kinds = (("none", 1), ("none", 1), ("mirrored", 2), ("mirrored", 1))
    one, other, two, cut = processes = [started(given.case, *kind, given.steps) for kind in kinds]
    for process in processes:
        answer(process)
    ratios: dict[str, list[float]] = {"two replicas": [], "two processes": [], "one replica, cut": []}
    for _ in range(given.rounds):
        alone = answer(one)
        ratios["two replicas"].append(answer(two) / alone)
        ratios["two processes"].append(asked_at_once((one, other)) / alone)
        ratios["one replica, cut"].append(answer(cut) / alone)
    print(json.dumps({given.case: {name: round(statistics.median(found), 2) for name, found in ratios.items()}}))
    for process in processes:
        process.terminate()


if __name__ == "__main__":
    main()
