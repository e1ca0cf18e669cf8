"""Alive or refused: what is checked in seconds before a run trains for hours.

In: a compiled spec with its weights, its splits, the run's folder. Out: the teacher's figure, the pull of each term and
the factors that balance them, printed and in the record; or a RunError. A resumed run takes them from the record.
Leaves out: how a teacher is judged (`teacher_check.py`), how a pull is measured (`gradients.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import tensorflow as tf

from tdspec.data.pipeline import LoadedSplits
from tdspec.errors import RunError
from tdspec.graph.compiler import Compiled
from tdspec.graph.terms import Term
from tdspec.graph.weights import weights_sha256
from tdspec.run import run_dir
from tdspec.run.gradients import (
    PARTS,
    Pull,
    PullMeter,
    balancing_factors,
    first_batches,
    full_weights,
    mean_pull,
    set_term_factors,
    shares,
)
from tdspec.run.run_dir import RunFolder
from tdspec.run.teacher_check import as_record, fit_head, judged, shared_figure
from tdspec.run.teacher_keys import folder_of_checks
from tdspec.spec.model import SpecBackbone

NUM_BATCHES = 4


def check_teacher(folder: RunFolder, compiled: Compiled, splits: LoadedSplits, root: Path, stream: TextIO) -> None:
    """Fit each teacher's probe if it has one, measure the teacher, and print and record its figure.

    Both are done once for all runs below `root` that have the same teacher and examples.

    Raises:
        RunError: one misses its `expect`, or its features are not finite.
    """
    checks = folder_of_checks(root)
    probes = [fit_head(alone, splits, folder.path, checks) for alone in compiled.alone]
    if any(probes):
        # The hash is of the teacher that teaches, its fitted head included.
        run_dir.update_record(folder, teacher_sha256=teacher_hashes(compiled))
    if "preflight" in run_dir.read_record(folder):
        return
    records: dict[str, Any] = {}
    for alone, probe in zip(compiled.alone, probes, strict=True):
        figure, name = shared_figure(alone, splits, checks), alone.teachers[0].name
        records[name] = None if figure is None else as_record(figure, probe)
        # What is known of a teacher that is refused is in the record.
        run_dir.update_record(folder, teacher=_of_teachers(compiled, records))
        if figure is not None:
            print(judged(alone, splits, figure), file=stream)
        else:
            print(f"note: the {name} is not checked, since no training example has a label", file=stream)
    if not compiled.teachers:
        run_dir.update_record(folder, teacher=None)
        views = compiled.document.views
        if any(view.spec.teacher is not None and view.spec.teacher.expect is not None for view in views):
            print("note: teacher.expect is not checked, since the method uses no teacher", file=stream)


def teacher_hashes(compiled: Compiled) -> Any:
    """The hash of the teacher's weights; of several, by name; None where there is none."""
    hashes = {teacher.name: weights_sha256(teacher.side.whole.model) for teacher in compiled.teachers}
    return _of_teachers(compiled, hashes)


def _of_teachers(compiled: Compiled, values: Mapping[str, Any]) -> Any:
    """What is known of each teacher, as the record has it: by name only where the spec has several."""
    if compiled.document.spec.teachers:
        return dict(values) or None
    return next(iter(values.values()), None)


def check_terms(
    folder: RunFolder, compiled: Compiled, splits: LoadedSplits, strategy: tf.distribute.Strategy, stream: TextIO
) -> tuple[PullMeter, Any] | None:
    """Measure each term on the first batches, balance the terms if the spec says so, print and record the shares.

    Where a regression's labels are far from where its student starts, a note says so.

    Returns:
        The meter and the first global batch, for the checks of each epoch; None where the task is the only term.

    Raises:
        RunError: a term is not finite, or has no gradient.
    """
    spec, distiller = compiled.document.spec, compiled.distiller
    known = run_dir.read_record(folder).get("preflight")
    if known is None:
        _note_start(compiled, splits, stream)
    if {term.name for term in distiller.terms} == {"task"}:
        if known is None:
            run_dir.update_record(folder, preflight={"terms": {}})
        return None
    meter = PullMeter(distiller, strategy)
    most = 1 if known else NUM_BATCHES
    batches = first_batches(splits.train.batches(spec.data.batch_size, epoch=0), strategy, most)
    if known is not None:
        set_term_factors(distiller, {name: term["factor"] for name, term in known["terms"].items()})
        return meter, batches[0]
    pulls = [meter(batch) for batch in batches]
    for pull in pulls:
        _refuse_broken(pull)
    mean = mean_pull(pulls)
    _refuse_loose(meter, distiller.terms)
    if spec.losses.balance == "auto":
        set_term_factors(distiller, balancing_factors(mean))
    record = _as_record(mean, compiled)
    run_dir.update_record(folder, preflight={"terms": record})
    print("\n".join([*_table(record), *warnings_of(record)]), file=stream)
    return meter, batches[0]


def _note_start(compiled: Compiled, splits: LoadedSplits, stream: TextIO) -> None:
    """Say so where a regression's labels are far from where the new head of its student starts."""
    spec, labels = compiled.document.spec, splits.train.labels
    head = spec.student.head
    if isinstance(head, str) or type(spec.student.backbone) is SpecBackbone:
        return  # there is no new head
    if spec.task.type != "regression" or labels is None:
        return
    known = labels[splits.train.weights > 0]
    mean, spread = float(known.mean()), float(known.std())
    if abs(mean - head.bias) > spread:
        print(
            f"note: the labels are {mean:.4g} on average, give or take {spread:.2g}, and the student starts from "
            f"{head.bias:g}, so that its first epochs go into that; write student.head.bias: {mean:.3g}",
            file=stream,
        )


def _refuse_broken(pulls: Mapping[str, Pull]) -> None:
    for name, pull in pulls.items():
        if not pull.is_finite:
            what = f"is {pull.value}" if pull.value - pull.value != 0 else "has a gradient that is not finite"
            raise RunError(
                f"the term '{name}' {what} before the first step",
                "are the weights and the inputs finite, and the models' input what they were trained with?",
            )


def _refuse_loose(meter: PullMeter, terms: Sequence[Term]) -> None:
    for term in terms:
        if not meter.is_connected(term.name):
            raise RunError(
                f"the term '{term.name}' has no gradient: nothing that is trained leads to it",
                f"write {term.weight_key}: 0, or let its gradient through",
            )


def _as_record(pulls: Mapping[str, Pull], compiled: Compiled) -> dict[str, dict[str, float]]:
    """By term: its value, its weight, the factor that balances it, its gradient's norm, its shares."""
    distiller = compiled.distiller
    weights = full_weights(distiller)
    of_parts = {part: shares(pulls, weights, part) for part in PARTS}
    return {
        term.name: {
            "value": pulls[term.name].value,
            "weight": term.weight,
            "factor": float(distiller.term_factors[term.name].numpy()),
            "gradient": weights[term.name] * pulls[term.name].anywhere,
            **{part: of_parts[part][term.name] for part in PARTS},
        }
        for term in distiller.terms
    }


def _table(record: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield "the terms before the first step, and their shares of the gradient in the student's low and high layers:"
    width = max(map(len, record))
    yield f"  {'term':<{width}}  {'weight':>9}  {'value':>9}  {'low':>6}  {'high':>6}"
    for name, row in record.items():
        weight = row["weight"] * row["factor"]
        cells = "  ".join(f"{row[part]:>6.1%}" for part in PARTS)
        yield f"  {name:<{width}}  {weight:>9.4g}  {row['value']:>9.4g}  {cells}"


def warnings_of(record: Mapping[str, Mapping[str, float]]) -> Sequence[str]:
    """Which terms have no gradient. How strong the others are says little before the codecs have learned anything."""
    return [
        f"warning: the term '{name}' has no gradient on the first batches; it may be dead"
        for name, row in record.items()
        # The task has none on batches without a label.
        if row["gradient"] == 0 and (name != "task" or row["value"] != 0)
    ]
