"""The run folder: its paths, its record, its metrics, and who may write to it.

In: a root folder, the spec's name, a seed. Out: `RunFolder`, and functions that read and write what lies in it.
Every file appears whole or not at all: it is written under a temporary name, flushed to the disk and renamed.
Leaves out: checkpoints (`checkpoints.py`), TensorBoard's files (`events.py`), what the record says (`train.py`).
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdspec.errors import RunError

RECORD = "run.json"


@dataclass(frozen=True)
class RunFolder:
    """Where everything of one run lies; the paths are there whether or not the files are."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "spec.yaml"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def record(self) -> Path:
        return self.path / RECORD

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def student(self) -> Path:
        return self.path / "student.keras"

    @property
    def saved_model(self) -> Path:
        return self.path / "export" / "saved_model" / "1"

    @property
    def report(self) -> Path:
        return self.path / "report.html"


def create(root: Path, name: str, seed: int, run_dir: Path | None) -> RunFolder:
    """Make a new run folder with a first record of status "created".

    Args:
        root: the folder of all runs.
        name: the spec's name.
        seed: the run's seed.
        run_dir: the folder to use; None: `root/name/<YYYYmmdd-HHMMSS>-<seed>`, one that no other run has.

    Raises:
        RunError: `run_dir` is a file, or holds something already.
    """
    if run_dir is None:
        run = RunFolder(_unique_folder(root / name, seed))
    else:
        refuse_used(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        run = RunFolder(run_dir)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    write_json(run.record, {"name": name, "seed": seed, "status": "created", "created": created})
    return run


def scratch() -> RunFolder:
    """A run folder that is gone when the process ends: of a worker whose run another one records."""
    path = Path(tempfile.mkdtemp(prefix="tdspec-worker-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return RunFolder(path)


def refuse_used(path: Path) -> None:
    """Refuse what cannot become a new run folder.

    Raises:
        RunError: `path` is a file, or holds something already.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file, expected a folder for the run", "name another --run-dir")
    if path.is_dir() and any(path.iterdir()):
        raise RunError(f"{path} is not empty", "add --resume to go on with the run in it, or name another --run-dir")


def open_run(path: Path) -> RunFolder:
    """The run folder at `path`.

    Raises:
        RunError: there is none.
    """
    run = RunFolder(path)
    if not run.record.is_file():
        found = "holds no run.json" if path.is_dir() else "is no folder"
        raise RunError(
            f"{path} {found}, expected a run folder", "`tdspec train` prints the folder of a run as its last line"
        )
    return run


def find_resumable(root: Path, name: str) -> RunFolder | None:
    """The newest run of `name` whose status is not "complete", or None.

    Raises:
        RunError: the record of one of the runs is damaged.
    """
    runs = [RunFolder(path.parent) for path in (root / name).glob(f"*/{RECORD}")]
    records = [(read_record(run), run) for run in runs]
    unfinished = [(record["created"], str(run.path), run) for record, run in records if record["status"] != "complete"]
    return max(unfinished)[2] if unfinished else None


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that is there whole or, after a crash, as it was before; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_entry(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON with sorted keys, as `write_text` does.

    Raises:
        ValueError: `value` holds NaN or an infinity, which JSON cannot say.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_record(run: RunFolder) -> dict[str, Any]:
    """The record of a run.

    Raises:
        RunError: run.json is missing or damaged.
    """
    try:
        return json.loads(run.record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{run.record} is missing", "name a run folder that `tdspec train` made") from None
    except ValueError as error:
        raise RunError(f"{run.record} is damaged: {error}", "restore the file, or train anew") from None


def update_record(run: RunFolder, **fields: Any) -> None:
    """Set fields of the record; the others stay."""
    write_json(run.record, read_record(run) | fields)


def append_metrics(run: RunFolder, row: Mapping[str, Any]) -> None:
    """Add a line to metrics.jsonl and flush it to the disk; a half-written last line is removed first.

    Raises:
        ValueError: `row` holds NaN or an infinity.
    """
    line = json.dumps(dict(row), sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    with open(run.metrics, "a+b") as file:
        file.truncate(_whole_lines(run.metrics.read_bytes()))
        file.write(line.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
    flush_entry(run.path)


def read_metrics(run: RunFolder) -> list[dict[str, Any]]:
    """All rows of metrics.jsonl, oldest first; none where there is no file; a half-written last line is left out.

    Raises:
        RunError: a line is not JSON.
    """
    if not run.metrics.exists():
        return []
    data = run.metrics.read_bytes()
    lines = data[: _whole_lines(data)].decode("utf-8", errors="replace").splitlines()
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise RunError(f"{run.metrics} is damaged: {error}", "restore the file, or train anew") from None


def truncate_metrics(run: RunFolder, epoch: int) -> None:
    """Drop the rows of epochs that will be run again: those whose "epoch" is `epoch` or later."""
    rows = [row for row in read_metrics(run) if row["epoch"] < epoch]
    lines = [json.dumps(row, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n" for row in rows]
    write_text(run.metrics, "".join(lines))


@contextlib.contextmanager
def lock(run: RunFolder) -> Iterator[None]:
    """Keep every other process out of the run folder; the system lets go of the lock when this process ends.

    Raises:
        RunError: another process holds it; the message says which.
    """
    with open(run.path / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunError(
                f"{run.path} is in use by process {file.read().strip() or 'unknown'}",
                "wait until that process has ended, or train into another --run-dir",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def is_in_use(run: RunFolder) -> bool:
    """Whether a process holds the run folder's lock."""
    lock = run.path / ".lock"
    if not lock.is_file():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def flush_entry(path: Path) -> None:
    """Write one file's content, or one folder's list of names, through to the disk, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unique_folder(parent: Path, seed: int) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        path = parent / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{seed}"
        try:
            path.mkdir()
        except FileExistsError:
            # Waiting keeps names in the order of time, which a counter behind the seed would not.
            time.sleep(0.05)
        else:
            return path


def _whole_lines(data: bytes) -> int:
    """The length of `data` up to and with its last line end."""
    return data.rfind(b"\n") + 1
