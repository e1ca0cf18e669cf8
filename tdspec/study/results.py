"""The folder of a study: what was planned, and what came of each run so far.

In: a study's folder. Out: `Results`, read anew from the run folders each time.
Leaves out: running (`runner.py`), comparing (`table.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdspec.errors import RunError
from tdspec.run.run_dir import RunFolder, read_record, write_json
from tdspec.run.teachers import COMPLETE
from tdspec.spec.figures import figure_in
from tdspec.study.matrix import BASELINE, StudyRun, as_key, effective, leaks, method_of
from tdspec.study.outcomes import Outcome, read_outcomes
from tdspec.study.study_file import METHOD, REPETITION, VARIANTS, Study

MANIFEST = "study.json"


@dataclass(frozen=True)
class Result:
    """A planned run and what came of it.

    Attributes:
        id: names its folder.
        method: of its spec.
        settings: by axis, the value; axes that its method does not read are left out.
        cell: the settings but for the seed, as text; runs of one cell are repetitions.
        baseline: the cell it is compared with, or None.
        seed: the seed.
        status: of the run; "missing" where it has not begun.
        figures: by split, the task's figure; empty where the run is not complete.
        error: what made it fail, or "".
    """

    id: str
    method: str
    settings: Mapping[str, Any]
    cell: str
    baseline: str | None
    seed: int
    status: str
    figures: Mapping[str, float]
    error: str


@dataclass(frozen=True)
class Results:
    """A study, as far as it got.

    Attributes:
        name: of the study.
        axes: the key paths that vary, but for the seed.
        average: those whose values are one task together.
        figure: the name of the task's figure, or None before the first run is complete.
        warnings: what is doubtful about the whole.
        search: what was chosen before the runs.
        runs: in the order of the plan.
    """

    name: str
    axes: tuple[str, ...]
    average: tuple[str, ...]
    figure: str | None
    warnings: tuple[str, ...]
    search: tuple[Outcome, ...]
    runs: tuple[Result, ...]


def study_folder(root: Path, study: Study) -> Path:
    """Where a study lies below the folder of all runs."""
    return root / "studies" / study.name


def run_folder(folder: Path, run_id: str) -> RunFolder:
    """Where a run of a study lies."""
    return RunFolder(folder / "runs" / run_id)


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    return (folder / MANIFEST).is_file()


def write_plan(folder: Path, study: Study, runs: Sequence[StudyRun], warnings: Sequence[str] = ()) -> None:
    """Write what is planned, before anything runs; `warnings` join those about the runs."""
    planned = [
        {
            "id": run.id,
            "method": run.document.spec.method,
            "settings": dict(run.settings),
            "cell": _cell(run.settings),
            "baseline": _baseline(study, run.settings),
            "seed": run.document.spec.seed,
            "spec_sha256": run.document.sha256,
        }
        for run in runs
    ]
    about: dict[str, Any] = {"name": study.name, "axes": list(study.axes), "warnings": [*leaks(runs), *warnings]}
    about |= {"average": list(study.average), "search": study.search is not None}
    write_json(folder / MANIFEST, {**about, "runs": planned})


def read_results(folder: Path) -> Results:
    """Read what came of a study so far.

    Raises:
        RunError: the folder is no study's, or a file in it is damaged.
    """
    try:
        plan = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        raise RunError(f"{folder} holds no {MANIFEST}, expected the folder of a study") from None
    except ValueError as error:
        raise RunError(f"{folder / MANIFEST} is damaged: {error}", "start the study again with --resume") from None
    records = [_record(run_folder(folder, run["id"]), run["spec_sha256"]) for run in plan["runs"]]
    figure = next((figure_in(record["metrics"]["test"]) for record in records if "metrics" in record), None)
    order = plan["axes"]
    runs = tuple(_result(run, order, record, figure) for run, record in zip(plan["runs"], records, strict=True))
    axes = tuple(key for key in order if key != REPETITION)
    search = read_outcomes(folder) if plan["search"] else ()
    return Results(plan["name"], axes, tuple(plan["average"]), figure, tuple(plan["warnings"]), search, runs)


def is_complete(folder: Path, run: StudyRun) -> bool:
    """Whether a run needs not be trained any more."""
    return str(_record(run_folder(folder, run.id), run.document.sha256)["status"]) == COMPLETE


def _record(run: RunFolder, spec_sha256: str) -> Mapping[str, Any]:
    """The run's record; what lies there of another spec does not count."""
    if not run.record.is_file():
        return {"status": "missing"}
    record = read_record(run)
    return record if record.get("spec_sha256") in (None, spec_sha256) else {"status": "missing"}


def _result(planned: Mapping[str, Any], order: Sequence[str], record: Mapping[str, Any], figure: str | None) -> Result:
    complete = record["status"] == COMPLETE
    return Result(
        id=planned["id"],
        method=planned["method"],
        settings={key: planned["settings"][key] for key in order if key in planned["settings"]},
        cell=planned["cell"],
        baseline=planned["baseline"],
        seed=planned["seed"],
        status=record["status"],
        figures={split: values[figure] for split, values in record["metrics"].items()} if complete else {},
        error=record.get("error", "") if record["status"] == "failed" else "",
    )


def _cell(settings: Mapping[str, Any]) -> str:
    return as_key({key: value for key, value in settings.items() if key != REPETITION})


def _baseline(study: Study, settings: Mapping[str, Any]) -> str | None:
    """The cell of the same settings without a teacher, where the study has one."""
    if method_of(study, settings) == BASELINE:
        return None
    if METHOD in settings and BASELINE in study.axes[METHOD]:
        return _cell(effective(study, {**settings, METHOD: BASELINE}))
    alone = [name for name, variant in study.variants.items() if variant.get(METHOD) == BASELINE]
    if VARIANTS in settings and alone:
        return _cell(effective(study, {**settings, VARIANTS: alone[0]}))
    return None
