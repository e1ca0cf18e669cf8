"""Wheel and sdist: what is in them, and what the wheel does where there is no TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from run_support import ROOT

from tdspec import __version__
from tdspec.heavy_commands import HEAVY_COMMANDS
from tdspec.study_commands import STUDY_COMMANDS

# Neither the checkout nor anything else but the new environment.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
PROGRAMS = "Scripts" if os.name == "nt" else "bin"


def run(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, env=CLEAN, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("packaging")
    if importlib.util.find_spec("build") is None:
        pytest.skip("needs the package build")
    here = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    done = run(sys.executable, "-m", "build", *here, "--outdir", folder, ROOT, folder=folder)
    if done.returncode and not here:
        pytest.skip(f"cannot get hatchling: {(done.stdout + done.stderr).strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_the_package_the_schemas_and_the_specs(built: Path) -> None:
    with zipfile.ZipFile(built / f"tdspec-{__version__}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        schema = wheel.read("tdspec/_shared/schemas/tdspec.schema.json")
    assert schema == (ROOT / "schemas/tdspec.schema.json").read_bytes()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tdspec").rglob("*.py")}
    assert modules | {"tdspec/data/digits.npz", "tdspec/data/digits.LICENSE.md"} <= names
    specs = {f"tdspec/_shared/specs/{path.name}" for path in (ROOT / "specs").glob("*.yaml")}
    assert specs | {"tdspec/_shared/schemas/study.schema.json"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "runs/", "build/")) or name.endswith(".pyc")]


def test_the_sdist_holds_what_a_contributor_needs(built: Path) -> None:
    with tarfile.open(built / f"tdspec-{__version__}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert {"schemas/tdspec.schema.json", "specs/digits.yaml", "examples/1_first_steps.sh"} <= names
    assert {"tdspec/cli.py", "tdspec/data/digits.npz", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith(("runs/", "build/", ".venv"))]


@pytest.fixture(scope="module")
def light(built: Path) -> Path:
    """The programs of a new environment with the wheel, and no TensorFlow."""
    run(sys.executable, "-m", "venv", built / "light", folder=built)
    programs = built / "light" / PROGRAMS
    (wheel,) = built.glob("*.whl")
    done = run(programs / "python", "-m", "pip", "install", "-q", wheel, folder=built)
    if done.returncode:
        pytest.skip(f"cannot install the wheel's dependencies: {done.stderr.strip().splitlines()[-1][:200]}")
    assert run(programs / "python", "-c", "import tensorflow", folder=built).returncode == 1
    return programs


def test_without_tensorflow_specs_are_written_and_checked(light: Path, tmp_path: Path) -> None:
    tdspec = light / "tdspec"
    assert run(tdspec, "--version", folder=tmp_path).stdout == f"tdspec {__version__}\n"
    assert run(tdspec, "init", folder=tmp_path).returncode == 0
    done = run(tdspec, "validate", "digits.yaml", "digits_teacher.yaml", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "digits.yaml: ok\ndigits_teacher.yaml: ok\n")
    assert run(tdspec, "validate", "digits.yaml", "--set", "seed=x", folder=tmp_path).returncode == 1
    assert "iterations: 1" in run(tdspec, "show", "digits.yaml", folder=tmp_path).stdout
    done = run(light / "python", "-m", "tdspec", "schema", folder=tmp_path)
    assert done.stdout == (ROOT / "schemas/tdspec.schema.json").read_text("utf-8")


def test_without_tensorflow_heavy_commands_say_how_to_get_it(light: Path, tmp_path: Path) -> None:
    tdspec = light / "tdspec"
    run(tdspec, "init", folder=tmp_path)
    more = {"diff": ["digits.yaml", "digits_teacher.yaml"], "doctor": []}
    for name in {**HEAVY_COMMANDS, **STUDY_COMMANDS}:
        done = run(tdspec, name, *more.get(name, ["digits.yaml"]), folder=tmp_path)
        assert (done.returncode, done.stdout) == (1, ""), (name, done.stderr)
        message, hint = done.stderr.splitlines()
        assert message.startswith("error: this command needs the package '"), name
        assert hint == "  hint: pip install 'tdspec[train]'", name
    assert run(tdspec, "train", "--help", folder=tmp_path).returncode == 0
