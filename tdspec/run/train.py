"""A run from beginning to end: train, choose the best epoch, read the test split once, export.

In: a `Document` and where to put the run. Out: a run folder (see `run_dir.py`), complete or resumable.
Leaves out: the step (`graph/distiller.py`), the loop (`loop.py`), what artefacts are (`serve/`), the page (`report/`).
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import keras
import tensorflow as tf

from tdspec.data.pipeline import LoadedSplits
from tdspec.errors import RunError
from tdspec.graph.compiler import Compiled
from tdspec.graph.plan import as_text, plan_of, versions
from tdspec.run import loop, outcome, run_dir, signals
from tdspec.run.checkpoints import Checkpoints
from tdspec.run.diagnostics import TeacherWeights, TermWatch
from tdspec.run.events import TensorBoardWriter
from tdspec.run.precision import agreed, chosen, chosen_before, record_choice
from tdspec.run.preflight import check_teacher, check_terms, teacher_hashes
from tdspec.run.prepare import compile_optimizer, compile_with_weights, open_data, state_of, variables_of
from tdspec.run.progress import Progress
from tdspec.run.recorder import Recorder
from tdspec.run.run_dir import RunFolder
from tdspec.run.stacks import height_for
from tdspec.run.strategy import make_strategy
from tdspec.run.teacher_cache import files_of, with_states
from tdspec.run.teachers import COMPLETE, named_specs, trained_run
from tdspec.run.team import Team, team_of
from tdspec.spec.bundle import bundle
from tdspec.spec.load import Document

Finish = Callable[["Run"], Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """What is at hand while a run goes on; `finish` of a later stage gets it at the end, with the best weights."""

    folder: RunFolder
    document: Document
    compiled: Compiled
    splits: LoadedSplits
    strategy: tf.distribute.Strategy

    @property
    def team(self) -> Team:
        """The workers of the run."""
        return team_of(self.strategy)


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what.

    Attributes:
        root: the folder of all runs.
        finish: called with the best student before the run counts as complete; what it returns joins the record.
        stream: for progress and messages.
        measured: the splits that the best student is measured on.
        events: whether TensorBoard's files are written.
    """

    root: Path
    finish: Finish
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    measured: tuple[str, ...] = ("validation", "test")
    events: bool = True


def train(document: Document, options: Options, *, folder: Path | None = None, resume: bool = False) -> RunFolder:
    """Train a spec; its teacher first, where that is another spec whose run is missing or stale.

    Args:
        document: the spec.
        options: where runs go and how they end.
        folder: of this run, or None for a new one under `options.root`.
        resume: go on with `folder`, or with the newest unfinished run of the spec.

    Returns:
        The folder of the complete run; of a worker that is not the chief, one that holds nothing to keep.

    Raises:
        TdspecError: the spec, data, weights or run are wrong; what was written stays, and the record says so.
        Interrupted: the run was stopped; it can be resumed.
    """
    # Before anything else: TensorFlow fixes the number of its devices at the first operation.
    strategy = make_strategy(document.spec.train.strategy, document.spec.train.replicas)
    team = team_of(strategy)
    if not team.is_chief:
        options = replace(options, stream=os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    resumed = team.as_chief(lambda: _to_resume(document, options.root, folder, resume))
    student_files = _files_of_students(document, options, team)
    known = team.as_chief(lambda: chosen_before(resumed))
    precision = agreed(chosen(document, student_files, strategy, known), team)
    with strategy.scope():
        compiled = compile_with_weights(document, student_files, precision.name)
        splits = team.chief_first(lambda: open_data(compiled, download=True))
        team.refuse_differences(versions=str(versions()), spec=document.sha256, data=splits.fingerprint)
        team.as_chief(lambda: team.refuse_uneven(document.spec.data.batch_size))
        # Refuses a split that is smaller than a batch, before there is a run folder.
        splits.train.batches(document.spec.data.batch_size, epoch=0)
        steps = splits.train.num_examples // document.spec.data.batch_size
        total_steps = steps * document.spec.train.epochs
        plan = plan_of(compiled)
        jit = compile_optimizer(compiled, schedule=document.spec.train.schedule, total_steps=total_steps, plan=plan)
    run = _folder(document, options.root, folder, resumed) if team.is_chief else run_dir.scratch()
    with run_dir.lock(run), signals.stop_on_signals():
        if team.is_chief:
            _record_start(run, compiled, splits, plan)
            record_choice(run, precision, options.stream)
            jit.say(options.stream)
        with outcome.recorded(run), team.lost_is_an_error():
            _run(Run(run, document, compiled, splits, strategy), options, steps)
    return run


def _to_resume(document: Document, root: Path, folder: Path | None, resume: bool) -> str | None:
    """The run to go on with; what can be refused at once is, before a teacher is trained."""
    if resume:
        return str(_resumed(document, root, folder).path)
    if folder is not None:
        run_dir.refuse_used(folder)
    return None


def _folder(document: Document, root: Path, folder: Path | None, resumed: str | None) -> RunFolder:
    if resumed is not None:
        return RunFolder(Path(resumed))
    return run_dir.create(root, document.spec.name, document.spec.seed, folder)


def _files_of_students(document: Document, options: Options, team: Team) -> dict[str, Path]:
    """What `named_students` gives, the same files on every worker."""

    def find() -> dict[str, str]:
        for side, other in named_specs(document).items():
            if team.size > 1 and trained_run(other, options.root) is None:
                message = f"{side} '{other.spec.name}' has no run of this spec in {options.root}"
                hint = f"train it first, on one machine: tdspec train {other.source.file} --runs {options.root}"
                raise RunError(f"{message}, expected one before several workers start", hint)
        return {side: str(file) for side, file in named_students(document, options).items()}

    return {side: Path(file) for side, file in team.as_chief(find).items()}


def named_students(document: Document, options: Options) -> dict[str, Path]:
    """The `student.keras` of each side that is the trained student of another spec."""
    files = {}
    for side, other in named_specs(document).items():
        run = trained_run(other, options.root)
        if run is None:
            print(f"{side} '{other.spec.name}' has no run of this spec yet: training it first", file=options.stream)
            run = train(other, options)
            print(f"{side} '{other.spec.name}' is ready: {run.path}", file=options.stream)
        files[side] = run.student
    return files


def _resumed(document: Document, root: Path, folder: Path | None) -> RunFolder:
    run = run_dir.find_resumable(root, document.spec.name) if folder is None else run_dir.open_run(folder)
    if run is None:
        raise RunError(f"there is no unfinished run of '{document.spec.name}' in {root}", "train without --resume")
    record = run_dir.read_record(run)
    if record["status"] == COMPLETE:
        raise RunError(f"{run.path} is complete already", "train without --resume for a new run")
    if record.get("spec_sha256") not in (None, document.sha256):
        raise RunError(f"{run.path} was started from another spec", "resume with the spec it was started from")
    return run


def _record_start(run: RunFolder, compiled: Compiled, splits: LoadedSplits, plan: Mapping[str, Any]) -> None:
    if not run.spec.is_file():
        run_dir.write_text(run.plan, as_text(plan))
        # The spec itself is the last: where it is, a killed process has left nothing out.
        for name, text in reversed(bundle(compiled.document, run.path).items()):
            run_dir.write_text(run.path / name, text)
    run_dir.update_record(
        run,
        status="running",
        error=None,
        method=compiled.document.spec.method,
        spec_sha256=compiled.document.sha256,
        versions=plan["versions"],
        data={
            "fingerprint": splits.fingerprint,
            "examples": {part: getattr(splits, part).num_examples for part in ("train", "validation", "test")},
        },
        teacher_sha256=teacher_hashes(compiled),
        process=os.getpid(),
    )


def _with_teacher_cache(run: Run, stream: TextIO) -> Run:
    """The run with the teacher's states in its training batches, where its spec wants them kept."""
    splits = with_states(run.compiled, run.splits, stream)
    files = files_of(splits)
    if files is not None:
        run_dir.update_record(run.folder, teacher_cache={"path": str(files.folder), "num_bytes": files.spec.num_bytes})
    return replace(run, splits=splits)


def _begin(run: Run, options: Options) -> None:
    """Check the teacher, and give every worker the chief's weights and record."""
    run.team.as_chief(lambda: check_teacher(run.folder, run.compiled, run.splits, options.root, options.stream))
    run.team.share(variables_of(run.compiled))
    record = run.team.as_chief(lambda: run_dir.read_record(run.folder))
    if not run.team.is_chief:
        run_dir.write_json(run.folder.record, record)


def _run(run: Run, options: Options, steps: int) -> None:
    _begin(run, options)
    # After the probe is fitted, since its predictions are kept too.
    run = _with_teacher_cache(run, options.stream)
    watched = check_terms(run.folder, run.compiled, run.splits, run.strategy, options.stream)
    checkpoints = Checkpoints(run.folder.checkpoints, state_of(run.compiled))
    first_epoch = run.team.as_chief(lambda: checkpoints.restore_last() or 0)
    run.team.share(list(state_of(run.compiled).values()))
    run_dir.truncate_metrics(run.folder, first_epoch + 1)
    started = time.perf_counter()
    before = sum(row["seconds"] for row in run_dir.read_metrics(run.folder))
    spec, distiller = run.document.spec, run.compiled.distiller
    progress = Progress(
        epochs=spec.train.epochs, steps_per_epoch=steps, batch_size=spec.data.batch_size, stream=options.stream
    )
    watches: list[keras.callbacks.Callback] = [TeacherWeights(distiller)]
    watches += [] if watched is None else [TermWatch(distiller, *watched, spec.losses.balance, progress.say)]
    # A watch adds to the figures of an epoch, for the record and the events behind it.
    recorders: list[Recorder | TensorBoardWriter] = [Recorder(run.folder, run.compiled, checkpoints)]
    recorders += [TensorBoardWriter(run.folder.tensorboard)] if options.events else []
    recorders = recorders if run.team.is_chief else []
    if first_epoch < spec.train.epochs:
        _fit(run, first_epoch, [progress, *watches, *recorders], options.stream)
    best_epoch = run.team.as_chief(checkpoints.restore_best)
    run.team.share(list(state_of(run.compiled).values()))
    metrics = {split: evaluate_split(run, split) for split in options.measured}
    finished = run.team.as_chief(lambda: options.finish(run))
    run_dir.update_record(
        run.folder,
        status=COMPLETE,
        best_epoch=best_epoch,
        metrics=metrics,
        seconds=round(before + time.perf_counter() - started, 3),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **finished,
    )


def _fit(run: Run, first_epoch: int, callbacks: list[keras.callbacks.Callback], stream: TextIO) -> None:
    batch_size = run.document.spec.data.batch_size
    element_spec = run.splits.train.batches(batch_size, epoch=first_epoch).element_spec
    xla = run.compiled.distiller.prepare(loop.as_distributed(element_spec, run.strategy), run.strategy)
    if xla.why_not:
        print(xla.why_not, file=stream)
    loop.fit(
        run.compiled.distiller,
        strategy=run.strategy,
        train_batches=lambda epoch: run.splits.train.batches(batch_size, epoch=epoch),
        validation_batches=run.splits.validation.batches(batch_size, epoch=None),
        epochs=run.document.spec.train.epochs,
        first_epoch=first_epoch,
        height=height_for(xla),
        callbacks=callbacks,
    )


def evaluate_split(run: Run, split: str) -> dict[str, float]:
    """The student's task loss and figure on a split."""
    batches = getattr(run.splits, split).batches(run.document.spec.data.batch_size, epoch=None)
    return loop.evaluate(run.compiled.distiller, batches, strategy=run.strategy)
