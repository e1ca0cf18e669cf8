"""Whole jobs across the stages: train with export and report, evaluate, export again, fetch, list cuts.

In: documents and run folders. Out: run folders, artefacts, plain data for the command line.
Leaves out: parsing the call and printing (`commands.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tdspec.data.state_store import StateFiles
from tdspec.errors import RunError, SpecError, UsageError
from tdspec.graph.compiler import Compiled
from tdspec.graph.cuts import clean_cuts
from tdspec.graph.sides import CutModel, cut_model, whole_model
from tdspec.graph.summary import cut_rows
from tdspec.graph.weights import from_file
from tdspec.run import loop, run_dir
from tdspec.run import train as training
from tdspec.run.outcome import Interrupted
from tdspec.run.precision import AUTO, recorded
from tdspec.run.prepare import compile_with_weights, describe, open_data
from tdspec.run.run_dir import RunFolder
from tdspec.run.strategy import make_strategy
from tdspec.run.teacher_cache import files_of, with_states
from tdspec.run.teacher_check import fit_head
from tdspec.run.teacher_keys import folder_of_checks
from tdspec.run.teachers import is_of, named_specs
from tdspec.run.team import Team, team_of
from tdspec.serve.export import TARGETS, Artefact, export_student
from tdspec.serve.student_file import save_student
from tdspec.spec.load import Document, load
from tdspec.spec.words import did_you_mean, one_of, similar

EXPORT_FORMATS = tuple(TARGETS)
NUM_EXAMPLES_COMPARED = 8


def train(document: Document, root: Path, *, folder: Path | None, resume: bool, control: Document | None) -> RunFolder:
    """Train, export, and where `control` is given train that too, into the run's folder `control`.

    Args:
        document: the spec.
        root: the folder of all runs.
        folder: of this run, or None for a new one.
        resume: go on with an unfinished run.
        control: the same spec with method scratch, or None.

    Returns:
        The folder of the complete run; its record has the control's figures. Of a worker that is not the chief, one
        that holds nothing to keep.
    """
    options = training.Options(root, finish)
    team = team_of(make_strategy(document.spec.train.strategy, document.spec.train.replicas))
    run = _complete_or_trained(document, options, folder, resume, team, may_be_complete=control is not None)
    if control is not None:
        _train_control(run, control, options, resume, team)
    team.as_chief(lambda: _write_report(run))
    return run


def try_out(document: Document, root: Path, *, folder: Path | None, resume: bool) -> RunFolder:
    """Train as a trial of a search does: measured on validation alone, the test split unread, nothing exported."""
    options = training.Options(root, lambda run: {"exports": []}, measured=("validation",), events=False)
    return training.train(document, options, folder=folder, resume=resume)


def train_bare(document: Document, root: Path, *, folder: Path | None, resume: bool) -> RunFolder:
    """Train as a run of a study does: complete, its student kept, without what can be made from it later."""
    options = training.Options(root, lambda run: _finished(run, (), apart=False), events=False)
    return training.train(document, options, folder=folder, resume=resume)


def _complete_or_trained(
    document: Document,
    options: training.Options,
    folder: Path | None,
    resume: bool,
    team: Team,
    *,
    may_be_complete: bool,
) -> RunFolder:
    """A run that was stopped while its control was trained is complete itself."""
    if resume and may_be_complete and folder is not None:
        run = RunFolder(folder)
        if team.as_chief(lambda: is_of(run_dir.open_run(folder), document)):
            return run
    return training.train(document, options, folder=folder, resume=resume)


def _train_control(run: RunFolder, control: Document, options: training.Options, resume: bool, team: Team) -> None:
    trained = RunFolder(run.path / "control")
    started = team.as_chief(lambda: resume and trained.record.is_file())
    if not team.as_chief(lambda: started and is_of(trained, control)):
        if team.is_chief:
            print("now the control: the same student without a teacher, all else as the spec says", file=options.stream)
        alone = training.Options(options.root, _keep_student, options.stream)
        try:
            training.train(control, alone, folder=trained.path, resume=started)
        except Interrupted as stop:
            raise Interrupted(run) from stop
    team.as_chief(lambda: _record_control(run, trained))


def _record_control(run: RunFolder, trained: RunFolder) -> None:
    record = run_dir.read_record(trained)
    kept = {key: record[key] for key in ("method", "metrics", "best_epoch", "seconds")}
    run_dir.update_record(run, control={**kept, "path": "control"})


def _write_report(run: RunFolder) -> None:
    from tdspec.report.page import run_page

    run_dir.write_text(run.report, run_page(run))


def finish(run: training.Run) -> dict[str, Any]:
    """What completes a run: `student.keras` and the exports of its spec, each loaded back and compared."""
    return _finished(run, run.document.spec.export.formats, apart=True)


def _finished(run: training.Run, formats: tuple[str, ...], *, apart: bool) -> dict[str, Any]:
    student = run.compiled.distiller.student
    difference = save_student(student, run.folder.student, apart=apart)
    artefacts = _export(run.compiled, run.splits, run.folder.path / "export", formats) if formats else ()
    return {
        "student": {
            "path": run.folder.student.name,
            "parameters": student.count_params(),
            "max_difference": float(difference),
            "inputs": {tensor.name: [list(tensor.shape), str(tensor.dtype)] for tensor in student.inputs},
        },
        "class_names": None if run.splits.class_names is None else list(run.splits.class_names),
        "exports": [_artefact_record(artefact, run.folder.path) for artefact in artefacts],
    }


def _keep_student(run: training.Run) -> dict[str, Any]:
    """What completes a control: it is measured, not served."""
    save_student(run.compiled.distiller.student, run.folder.student)
    return {"exports": []}


def _export(compiled: Compiled, splits: Any, folder: Path, formats: tuple[str, ...]) -> tuple[Artefact, ...]:
    spec = compiled.document.spec
    features, _, _ = next(iter(splits.validation.batches(NUM_EXAMPLES_COMPARED, epoch=None)))
    return export_student(
        compiled.distiller.student,
        folder,
        formats=formats,
        task_type=spec.task.type,
        examples={name: np.asarray(features[name]) for name in compiled.distiller.student.input},
        class_names=splits.class_names,
    )


def _artefact_record(artefact: Artefact, run: Path) -> dict[str, Any]:
    return {
        "format": artefact.format,
        "path": artefact.path.relative_to(run).as_posix(),
        "num_bytes": artefact.num_bytes,
        "max_difference": float(artefact.max_difference),
    }


def artefact_line(artefact: Artefact) -> str:
    """One line about an artefact."""
    return (
        f"{artefact.format}: {artefact.path} ({artefact.num_bytes:,} bytes, differs by {artefact.max_difference:.1e})"
    )


def result_lines(run: RunFolder) -> list[str]:
    """The figures of a run, and of its control, for people."""
    record = run_dir.read_record(run)
    rows = [(f"student ({record['method']})", record)]
    if "control" in record:
        rows.append(("control (scratch)", record["control"]))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name.ljust(width)}  {_figures(entry)}" for name, entry in rows]
    for entry in record["exports"]:
        size = f"{entry['num_bytes']:,} bytes, differs from the student by {entry['max_difference']:.1e}"
        lines.append(f"{entry['format']}: {run.path / entry['path']} ({size})")
    return lines


def _figures(entry: Mapping[str, Any]) -> str:
    parts = [
        f"{split} " + ", ".join(f"{name} {value:.4f}" for name, value in sorted(values.items()))
        for split, values in sorted(entry["metrics"].items(), reverse=True)
    ]
    return f"{'; '.join(parts)}; best epoch {entry['best_epoch']}"


def _student_alone(run: RunFolder) -> Compiled:
    """The student of a complete run with its weights; no teacher is built."""
    if not run.student.is_file():
        status = run_dir.read_record(run)["status"]
        raise RunError(f"{run.path} has no student.keras, its status is '{status}'", "finish it: tdspec train --resume")
    document = load(run.spec, ["method=scratch"])
    files = {"student": run.student} if "student" in named_specs(document) else {}
    compiled = compile_with_weights(document, files, recorded(run))
    from_file(compiled.student.whole.model, str(run.student))
    return compiled


def evaluate(run: RunFolder, split: str) -> dict[str, Any]:
    """The student's figures on a split, with what they were measured on."""
    compiled = _student_alone(run)
    compiled.distiller.compile("sgd")
    splits = open_data(compiled, download=False)
    part = getattr(splits, split)
    batches = part.batches(compiled.document.spec.data.batch_size, epoch=None)
    metrics = loop.evaluate(compiled.distiller, batches, strategy=make_strategy("none", "auto"))
    return {
        "run": str(run.path),
        "split": split,
        "examples": part.num_examples,
        "metrics": metrics,
        "data_fingerprint": splits.fingerprint,
    }


def export(run: RunFolder, folder: Path, formats: tuple[str, ...] | None) -> tuple[Artefact, ...]:
    """Export the student of a complete run again."""
    compiled = _student_alone(run)
    splits = open_data(compiled, download=False)
    return _export(compiled, splits, folder, formats or compiled.document.spec.export.formats)


def cut_points(document: Document, side: str | None) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """By model, the backbone's kind and its clean cuts; cuts that are not clean do not stop the list.

    Args:
        document: the spec.
        side: "student", "teacher" (every one), or a teacher's name; None: all.

    Raises:
        UsageError: there is no such model.
    """
    views = [*((view, "teacher") for view in document.views), (document, "student")]
    names = [view.name_of(word) for view, word in views]
    if side not in (None, *names, "teacher"):
        raise UsageError(f"found --side {side}, expected {one_of(names)}", did_you_mean(similar(str(side), names)))
    listed = {}
    for view, word in views:
        if side in (None, word, view.name_of(word)):
            with keras.StatelessScope(initialize_variables=False):
                whole = whole_model(view, word, describe)
                listed[view.name_of(word)] = (whole.backbone.kind, cut_rows(_cut_or_not(view, word, whole)))
    return listed


def _cut_or_not(document: Document, side: str, whole: Any) -> CutModel:
    try:
        return cut_model(document, side, whole)
    except SpecError:
        points = clean_cuts(whole.graph, whole.features, own_head=whole.own_head and whole.has_prediction)
        return CutModel(whole, points, None, None, None)


def cache_states(document: Document, root: Path) -> StateFiles:
    """Compute and keep what a spec's training needs of its teacher, which is trained first where it is a spec.

    Args:
        document: the spec.
        root: the folder of all runs.

    Raises:
        SpecError: the spec wants nothing kept, nothing of the teacher is needed on the data, or only a measurement by
            `train` would say in which precision.
    """
    if document.spec.data.teacher_cache is None:
        hint = "write teacher_cache: true, or call with --set data.teacher_cache=true as `train` is to be called"
        raise document.error("data.teacher_cache", "found false, expected true: `train` would use no cache", hint)
    if document.spec.train.precision == AUTO:
        hint = "write the precision, or leave the cache to `train`, which measures and then computes it"
        raise document.error("train.precision", "found 'auto', expected a precision: states are kept in one", hint)
    options = training.Options(root, finish)
    compiled = compile_with_weights(document, training.named_students(document, options))
    files = None
    if compiled.cached:
        splits = open_data(compiled, download=True)
        with tempfile.TemporaryDirectory() as name:
            # The same probe as `train` will fit, whose predictions are kept too.
            fit_head(compiled, splits, Path(name), folder_of_checks(root))
        files = files_of(with_states(compiled, splits, options.stream))
    if files is None:
        message = f"found a cache, expected none: no term of method '{document.spec.method}' needs it"
        raise document.error("data.teacher_cache", message, "delete teacher_cache: the teacher never sees the data")
    return files
