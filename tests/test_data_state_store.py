"""Stored states: written in order, read by row, resumed, locked, refused where damaged or without space."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_support import ENVIRONMENT

from tdspec.data import state_store
from tdspec.data.state_store import RECORD, StoreSpec, Written, open_files, what_is_written, writing
from tdspec.errors import DataError

SPEC = StoreSpec({"teacher": "a", "dtype": "float32"}, {"low": (3, 2), "high": (4,)}, "float32", 10)
LOW = np.arange(60, dtype="float32").reshape(10, 3, 2)
NOTHING = Written(0, {"low": 0, "high": 0})
HIGH = -np.arange(40, dtype="float32").reshape(10, 4)


def never() -> None:
    raise AssertionError("nobody else writes")


def rows(start: int, stop: int) -> dict[str, Any]:
    return {"low": LOW[start:stop], "high": HIGH[start:stop]}


def write(root: Path, spec: StoreSpec = SPEC) -> None:
    with writing(root, spec, never) as writer:
        for start in range(writer.done, 10, 4):
            writer.append(rows(start, min(start + 4, 10)))


def test_what_is_written_is_read_by_row(tmp_path: Path) -> None:
    assert open_files(tmp_path, SPEC) is None
    write(tmp_path)
    files = open_files(tmp_path, SPEC)
    assert files is not None
    read = files.read(np.array([7, 0, 7]))
    assert np.array_equal(read["low"], LOW[[7, 0, 7]]) and np.array_equal(read["high"], HIGH[[7, 0, 7]])
    assert {path.name for path in files.folder.iterdir()} == {RECORD, ".lock", "low.bin", "high.bin"}
    assert sum(path.stat().st_size for path in files.folder.glob("*.bin")) == SPEC.num_bytes == 400


def test_another_key_is_another_store(tmp_path: Path) -> None:
    write(tmp_path)
    other = StoreSpec({**SPEC.key, "teacher": "b"}, SPEC.shapes, SPEC.dtype, SPEC.num_rows)
    assert other.folder(tmp_path) != SPEC.folder(tmp_path)
    assert open_files(tmp_path, other) is None


def test_an_interrupted_writer_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing(tmp_path, SPEC, never) as writer:
        writer.append(rows(0, 4))
        raise KeyboardInterrupt
    assert what_is_written(SPEC.folder(tmp_path), SPEC).rows == 4
    assert open_files(tmp_path, SPEC) is None
    write(tmp_path)
    files = open_files(tmp_path, SPEC)
    assert files is not None and np.array_equal(files.arrays["low"], LOW)


IN_A_PROCESS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from tdspec.data.state_store import StoreSpec, writing
spec = StoreSpec({"teacher": "a", "dtype": "float32"}, {"low": (3, 2), "high": (4,)}, "float32", 10)
low, high = np.arange(60.0).reshape(10, 3, 2), -np.arange(40.0).reshape(10, 4)
rows = lambda count: {"low": low[:count], "high": high[:count]}
with writing(Path(sys.argv[1]), spec, lambda: None) as writer:
    print("writing", flush=True)
    if sys.argv[2] == "die":
        writer.append(rows(4))
        writer.save()
        writer.append(rows(3))
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    writer.append(rows(10))
"""


def in_a_process(root: Path, way: str) -> subprocess.Popen[str]:
    call = [sys.executable, "-c", IN_A_PROCESS, str(root), way]
    return subprocess.Popen(call, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


def test_rows_that_a_killed_writer_never_counted_are_written_again(tmp_path: Path) -> None:
    with in_a_process(tmp_path, "die") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert what_is_written(SPEC.folder(tmp_path), SPEC).rows == 4
    write(tmp_path)
    files = open_files(tmp_path, SPEC)
    assert files is not None and np.array_equal(files.arrays["low"], LOW)


def test_a_second_process_waits_and_finds_the_work_done(tmp_path: Path) -> None:
    waited: list[bool] = []
    with in_a_process(tmp_path, "slowly") as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        with writing(tmp_path, SPEC, lambda: waited.append(True)) as writer:
            assert writer.done == 10
    assert waited == [True]


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    folder = SPEC.folder(tmp_path)
    stored = bytearray((folder / "high.bin").read_bytes())
    stored[77] ^= 1
    (folder / "high.bin").write_bytes(stored)
    with pytest.raises(DataError, match=r"high\.bin is not what was written"):
        open_files(tmp_path, SPEC)
    (folder / "high.bin").write_bytes(b"short")
    with pytest.raises(DataError, match=r"high\.bin has 5 bytes, expected 160"):
        open_files(tmp_path, SPEC)
    (folder / RECORD).write_text(json.dumps({**SPEC.record(NOTHING), "rows": 11}))
    with pytest.raises(DataError, match="is of other states"):
        open_files(tmp_path, SPEC)
    (folder / RECORD).write_text("{")
    with pytest.raises(DataError, match="cannot be read") as caught:
        open_files(tmp_path, SPEC)
    assert str(folder) in caught.value.hint


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(state_store.shutil, "disk_usage", lambda path: usage._replace(free=399))
    with pytest.raises(DataError, match=r"need 400 B, the disk of .* has 399 B left"):
        write(tmp_path)
    assert not list(tmp_path.rglob("*.bin"))


def test_a_disk_that_fills_up_is_one_clear_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with full.open("wb", buffering=0) as file:
        writer = state_store.Writer(Path("x"), SPEC, {"low": file, "high": file}, NOTHING)
        with pytest.raises(DataError, match="cannot write the teacher's states to x: No space left on device"):
            writer.append(rows(0, 1))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the teacher's states to"):
        write(tmp_path / "file")
