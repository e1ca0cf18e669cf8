"""Training the specs that teach in a study, once each, before anything needs them at the same time.

In: documents of runs. Out: a complete run of each spec they name, in the folder of all runs.
Leaves out: how a teacher is found (`run/teachers.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from tdspec.errors import RunError
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.run.teachers import named_specs, trained_run
from tdspec.spec.load import Document
from tdspec.study import children

SECONDS_BETWEEN_LOOKS = 1.0


def train_teachers(folder: Path, documents: Iterable[Document], root: Path, stream: TextIO) -> None:
    """Train what documents name as teachers and was not trained yet.

    Args:
        folder: gets the logs.
        documents: of runs.
        root: the folder of all runs.
        stream: for messages.

    Raises:
        RunError: a teacher could not be trained.
    """
    needed = {other.sha256: other for document in documents for other in named_specs(document).values()}
    for teacher in needed.values():
        _wait_for_another(teacher, root, stream)
        if trained_run(teacher, root) is None:
            _train(teacher, folder / "logs" / f"{teacher.spec.name}.log", root, stream)


def _train(teacher: Document, log: Path, root: Path, stream: TextIO) -> None:
    name = teacher.spec.name
    print(f"'{name}' has no run of this spec yet: training it first", file=stream, flush=True)
    run = _begun(teacher, root) or run_dir.create(root, name, teacher.spec.seed, None)
    child = children.start(teacher.source.file, (), run=run.path, root=root, log=log)
    with children.ended_at_exit({name: child}):
        child.wait()
    if trained_run(teacher, root) is None:
        raise RunError(f"'{name}' could not be trained: {children.why_failed(child)}", f"its log is {log}")


def _begun(teacher: Document, root: Path) -> RunFolder | None:
    """The newest unfinished run of exactly this spec."""
    found = run_dir.find_resumable(root, teacher.spec.name)
    if found is not None and run_dir.read_record(found).get("spec_sha256") == teacher.sha256:
        return found
    return None


def _wait_for_another(teacher: Document, root: Path, stream: TextIO) -> None:
    """Wait while another process trains it, such as another study or one whose parent was killed."""
    begun = _begun(teacher, root)
    if begun is not None and run_dir.is_in_use(begun):
        print(f"'{teacher.spec.name}' is being trained in {begun.path}: waiting for it", file=stream, flush=True)
        while run_dir.is_in_use(begun):
            time.sleep(SECONDS_BETWEEN_LOOKS)
