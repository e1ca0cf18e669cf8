"""`tdspec cache` killed in the middle, then called by two processes at once: one set of whole files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from run_support import ENVIRONMENT, IMAGE, STUDENT, merged, write_spec

CALL = [sys.executable, "-m", "tdspec", "cache", "small.yaml"]
TEACHER = {"backbone": {"mlp": {"units": [24, 16, 12]}, "weights": "random"}, "input": IMAGE}


def start(folder: Path, cache: str) -> subprocess.Popen[str]:
    environment = {**ENVIRONMENT, "TDSPEC_CACHE_DIR": str(folder / cache)}
    return subprocess.Popen(
        CALL, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_killed_then_two_at_once(tmp_path: Path) -> None:
    teacher = {"teacher": {**TEACHER, "cut": {"low": 1, "high": 3}}}
    # Batches of one, so that a process is at it for a while.
    data = {"data": {"batch_size": 1, "teacher_cache": {"dtype": "float32"}}, "losses": {"interaction": 0}}
    l2 = {name: {"distance": "l2"} for name in ("message_consistency", "state_consistency")}
    write_spec(tmp_path / "small.yaml", merged({**STUDENT, **teacher}, merged(data, {"losses": l2})))
    with start(tmp_path, "killed") as process:
        while process.poll() is None and not any(
            path.stat().st_size for path in (tmp_path / "killed").rglob("teacher_low.bin")
        ):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    pair = [start(tmp_path, "killed"), start(tmp_path, "killed"), start(tmp_path, "whole")]
    ended = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [0, 0, 0], ended
    (folder,), (whole,) = ((tmp_path / name / "teacher_states").iterdir() for name in ("killed", "whole"))
    assert ended[0][0].splitlines()[-1] == ended[1][0].splitlines()[-1] == str(folder)
    # One of the two computed; the other waited for it, or came when it was done.
    assert sum("teacher states: 899 examples" in messages for _, messages in ended[:2]) == 1
    assert folder.name == whole.name
    assert json.loads((folder / "cache.json").read_text())["done"] == 899
    for name in ("teacher_low.bin", "teacher_high.bin"):
        assert np.array_equal(np.fromfile(folder / name, "<f4"), np.fromfile(whole / name, "<f4"))
