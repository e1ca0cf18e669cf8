"""Finding the trained student of another spec, which is a teacher here.

In: a spec that names another spec as its teacher. Out: the run folder of that spec whose content hash is the same.
Leaves out: training it where there is none (`train.py`).
"""

from __future__ import annotations

from pathlib import Path

from tdspec.run.run_dir import RunFolder, read_record
from tdspec.spec.load import Document, load
from tdspec.spec.model import Backbone, SpecBackbone

COMPLETE = "complete"


def named_specs(document: Document) -> dict[str, Document]:
    """By model the spec whose trained student it is; a method without a teacher needs none, nor one of weight 0."""
    backbones: dict[str, Backbone] = {"student": document.spec.student.backbone}
    if document.spec.method != "scratch":
        for view in document.teaching:
            assert view.spec.teacher is not None
            backbones[view.name_of("teacher")] = view.spec.teacher.backbone
    return {name: load(backbone.spec) for name, backbone in backbones.items() if type(backbone) is SpecBackbone}


def trained_run(document: Document, root: Path) -> RunFolder | None:
    """The newest complete run of exactly this spec, or None where it is missing or stale.

    Args:
        document: the spec.
        root: the folder of all runs.
    """
    runs = [RunFolder(record.parent) for record in (root / document.spec.name).glob("*/run.json")]
    fresh = [run for run in runs if is_of(run, document) and run.student.is_file()]
    return max(fresh, key=lambda run: str(read_record(run)["created"]), default=None)


def is_of(run: RunFolder, document: Document) -> bool:
    """Whether a run is complete and was trained from a spec of this content."""
    record = read_record(run)
    return record["status"] == COMPLETE and record["spec_sha256"] == document.sha256
