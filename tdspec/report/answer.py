"""The answer first: did distillation help, and how much of it may be chance.

In: `Facts`. Out: `Answer`, a headline with what supports it.
Leaves out: the error over seeds, which one run does not have (`study/statistics.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tdspec.report.reading import Facts
from tdspec.spec.figures import MORE_IS_BETTER, signed_gain

SPLITS = ("validation", "test")
ONE_SEED = (
    "One seed says little: another seed changes both figures. "
    "`tdspec study` trains several seeds and gives the difference with its error."
)
STATUS_HEADLINES = {
    "created": "The run has not started",
    "running": "The run is still going",
    "interrupted": "The run was interrupted",
    "cut off": "The run was cut off: its process is gone",
    "failed": "The run failed",
}


@dataclass(frozen=True)
class Answer:
    """What a reader wants to know first.

    Attributes:
        headline: one short sentence without a full stop.
        remarks: what to think of it, each one sentence or two.
        rows: name, figure by split; the last row is the difference where there is a control.
    """

    headline: str
    remarks: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...] = ()


def answer(facts: Facts) -> Answer:
    """What a run says, as far as it got."""
    if facts.status != "complete" or facts.figure is None:
        return _unfinished(facts)
    student = (f"student ({facts.method})", _figures(facts, facts.record))
    if facts.control is not None and facts.method != "scratch" and "test" in facts.record["metrics"]:
        return _compared(facts, facts.figure, student)
    if "test" not in facts.record["metrics"]:
        return Answer("A trial of a search: the test split was not read", (), (student,))
    if facts.method == "scratch":
        headline = "This student learned from the labels alone"
        return Answer(headline, ("It is what a distilled student has to beat.",), (student,))
    remark = "It was compared with nothing: `tdspec train --control` also trains the same student without a teacher."
    return Answer("Whether distillation helped is not known", (remark, ONE_SEED), (student,))


def _unfinished(facts: Facts) -> Answer:
    done = facts.rows[-1]["epoch"] if facts.rows else 0
    of_all = "" if facts.epochs is None else f" of {facts.epochs}"
    remarks = [f"{done}{of_all} epochs are done; there are no final figures yet."]
    if facts.status == "failed" and "error" in facts.record:
        remarks.insert(0, f"Error: {facts.record['error']}.")
    if facts.status in {"interrupted", "cut off", "failed"}:
        remarks.append(f"To go on: tdspec train --resume --run-dir {facts.path}")
    headline = STATUS_HEADLINES.get(facts.status, f"The run's status is {facts.status}")
    return Answer(headline, tuple(remarks))


def _figures(facts: Facts, record: object) -> tuple[str, ...]:
    metrics = record["metrics"]  # type: ignore[index]
    return tuple(f"{metrics[split][facts.figure]:.4f}" if split in metrics else "not read" for split in SPLITS)


def _values(facts: Facts, record: object) -> tuple[float, ...]:
    metrics = record["metrics"]  # type: ignore[index]
    return tuple(float(metrics[split][facts.figure]) for split in SPLITS)


def _compared(facts: Facts, figure: str, student: tuple[str, tuple[str, ...]]) -> Answer:
    own, other = _values(facts, facts.record), _values(facts, facts.control)
    gains = [signed_gain(figure, a, b) for a, b in zip(own, other, strict=True)]
    noise = _noise(facts, figure, own[-1], other[-1])
    remarks = [_in_words(figure, own[-1], other[-1])]
    if gains[0] * gains[1] < 0:
        remarks.append("The validation split says the opposite.")
    if noise is not None:
        count = facts.record["data"]["examples"]["test"]
        remarks.append(
            f"With {count:,} test examples, two equally good students may differ by {noise:.4f} "
            "(two standard errors, were their mistakes independent)."
        )
    rows = (
        student,
        ("control (scratch)", _figures(facts, facts.control)),
        ("difference", tuple(_difference(a, b) for a, b in zip(own, other, strict=True))),
    )
    return Answer(_verdict(gains[-1], noise), (*remarks, ONE_SEED), rows)


def _verdict(gain: float, noise: float | None) -> str:
    if gain == 0:
        return "With this seed, distillation made no difference"
    doubt = "" if noise is None or abs(gain) > noise else ", but within the noise of the test split"
    return f"With this seed, distillation {'helped' if gain > 0 else 'did harm'}{doubt}"


def _in_words(figure: str, own: float, other: float) -> str:
    better = "higher" if MORE_IS_BETTER[figure] else "lower"
    relative = f" ({_percent(own, other)})" if other else ""
    return (
        f"Test {figure} {own:.4f} against {other:.4f} of the same student trained without a teacher: "
        f"{own - other:+.4f}{relative}; {better} is better."
    )


def _difference(own: float, other: float) -> str:
    return f"{own - other:+.4f} ({_percent(own, other)})" if other else f"{own - other:+.4f}"


def _percent(own: float, other: float) -> str:
    return f"{100 * (own / other - 1):+.1f} %"


def _noise(facts: Facts, figure: str, own: float, other: float) -> float | None:
    """Two standard errors of the difference of two shares of right answers; None for other figures."""
    task = facts.plan["task"]["type"] if facts.plan is not None else None
    if figure != "accuracy" or task not in {"classification", "binary"}:
        return None
    # 2 sqrt(p (1 - p) / n + q (1 - q) / n)
    count = facts.record["data"]["examples"]["test"]
    return 2 * math.sqrt((own * (1 - own) + other * (1 - other)) / count)
