"""What a run folder holds, whether the run ended, goes on, or was cut off.

In: a run folder. Out: `Facts`, in which a part that is missing is None.
Leaves out: judging (`answer.py`) and showing (`sections.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdspec.errors import RunError, SpecError
from tdspec.run.run_dir import RunFolder, is_in_use, read_metrics, read_record
from tdspec.spec.figures import figure_in
from tdspec.spec.reader import read_file
from tdspec.spec.source import plain_data

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """A run, as far as it got.

    Attributes:
        path: the run folder.
        record: the content of run.json.
        rows: of metrics.jsonl, a row an epoch.
        plan: the content of plan.json, or None.
        spec: the text of the resolved spec, or None.
        epochs: how many the spec asks for, or None.
        status: that of the record; "cut off" where it says "running" and no process holds the folder.
        figure: the name of the task's figure, or None before the first epoch.
        control: the record of the control, or None.
        control_rows: the control's rows, none where its folder is gone.
    """

    path: Path
    record: Row
    rows: Sequence[Row]
    plan: Row | None
    spec: str | None
    epochs: int | None
    status: str
    figure: str | None
    control: Row | None
    control_rows: Sequence[Row]

    @property
    def method(self) -> str | None:
        """The method, or None where the run never started."""
        return self.record.get("method")


def read_facts(run: RunFolder) -> Facts:
    """Read a run folder.

    Raises:
        RunError: run.json, plan.json or metrics.jsonl is damaged.
    """
    record, rows = read_record(run), read_metrics(run)
    control = record.get("control")
    metrics = record["metrics"]["validation"] if "metrics" in record else rows[-1] if rows else {}
    return Facts(
        path=run.path,
        record=record,
        rows=rows,
        plan=_read_plan(run.plan),
        spec=run.spec.read_text("utf-8") if run.spec.is_file() else None,
        epochs=_epochs(run.spec),
        status=_status(run, record["status"]),
        figure=figure_in(metrics),
        control=control,
        control_rows=[] if control is None else read_metrics(RunFolder(run.path / control["path"])),
    )


def _status(run: RunFolder, status: str) -> str:
    return "cut off" if status == "running" and not is_in_use(run) else status


def _read_plan(path: Path) -> Row | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}", "restore the file, or train anew") from None


def _epochs(spec: Path) -> int | None:
    """The number of epochs in a resolved spec; None where a person's hand left no such thing."""
    if not spec.is_file():
        return None
    try:
        values = plain_data(read_file(spec, str(spec))[0])
        return int(values["train"]["epochs"])
    except (SpecError, KeyError, TypeError, ValueError):
        return None
