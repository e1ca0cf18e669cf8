"""The ladder of examples, each run as its first lines say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from run_support import ENVIRONMENT, ROOT, Trained

EXAMPLES = ROOT / "examples"


def ran(*words: str, folder: Path) -> str:
    """Run an example in a folder of its own, with a `tdspec` on the path; what it printed."""
    programs = folder / "programs"
    programs.mkdir()
    script = programs / "tdspec"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tdspec "$@"\n')
    script.chmod(0o755)
    environment = {**ENVIRONMENT, "TMPDIR": str(folder), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_first_steps(tmp_path: Path) -> None:
    lines = ran("bash", str(EXAMPLES / "1_first_steps.sh"), folder=tmp_path).splitlines()
    page = Path(lines[-1].removeprefix("look at "))
    assert page.is_file() and page.is_relative_to(tmp_path)
    assert any(line.startswith("control (scratch)  ") for line in lines)
    assert '  "split": "test",' in lines


@pytest.mark.slow
def test_keras_fit(tmp_path: Path) -> None:
    out = ran(sys.executable, str(EXAMPLES / "2_keras_fit.py"), folder=tmp_path)
    assert "Epoch 3/3" in out and "student alone: (4, 3)" in out
    assert re.search(r"'interaction': [0-9.]+", out)


@pytest.mark.slow
def test_serve(trained: Trained, tmp_path: Path) -> None:
    out = ran(sys.executable, str(EXAMPLES / "3_serve.py"), str(trained.run), folder=tmp_path)
    assert out == "".join(f"{{'logits': ({batch}, 10), 'probabilities': ({batch}, 10)}}\n" for batch in (1, 5))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["4_own_teacher", "5_own_table"])
def test_own_teacher_and_own_table(name: str, tmp_path: Path) -> None:
    out = ran(sys.executable, str(EXAMPLES / f"{name}.py"), folder=tmp_path)
    run = out.splitlines()[-1]
    assert re.fullmatch(r"runs/own_(teacher|table)/\d{8}-\d{6}-0", run)
    assert len(list(tmp_path.glob(f"*/{run}/student.keras"))) == 1


@pytest.mark.slow
def test_text(tmp_path: Path) -> None:
    out = ran(sys.executable, str(EXAMPLES / "6_text.py"), folder=tmp_path)
    run = out.splitlines()[-1]
    assert re.fullmatch(r"runs/text/\d{8}-\d{6}-0", run)
    (record,) = tmp_path.glob(f"*/{run}/run.json")
    assert json.loads(record.read_text("utf-8"))["metrics"]["test"]["accuracy"] > 0.8


@pytest.mark.slow
def test_own_term(tmp_path: Path) -> None:
    out = ran(sys.executable, str(EXAMPLES / "7_own_term.py"), folder=tmp_path)
    assert re.search(r"'closeness': [0-9.]+", out)
    assert "'formula': 'Mean over features of log cosh (target - prediction).'" in out
