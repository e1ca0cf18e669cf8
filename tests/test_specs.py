"""The specs that ship: short, valid, started by their first line, and compiled without weights, data or network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
import yaml
from call_lines import shell_calls
from run_support import ENVIRONMENT, ROOT

from tdspec.cli import parse
from tdspec.run.build_dir import check_build
from tdspec.run.prepare import compile_without_weights
from tdspec.spec.load import check, load
from tdspec.study.study_file import load_study

SPECS = {path.stem: path for path in sorted((ROOT / "specs").glob("*.yaml"))}
PLANS = {path.parent.name: path.parent for path in sorted((ROOT / "specs/plans").glob("*/plan.json"))}
NEEDS_PRESET = {"cifar10_efficientnet"}
MEBIBYTE = 2**20


def test_these_specs_ship() -> None:
    assert set(SPECS) >= {
        "digits", "digits_teacher", "movielens_teacher", "movielens_drama", "cifar10_efficientnet", "vit_cifar10",
        "vit_cifar100", "vit_imagenet",
    }  # fmt: skip
    assert set(PLANS) == set(SPECS) - NEEDS_PRESET


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_is_short_and_its_first_line_runs_it(name: str) -> None:
    lines = SPECS[name].read_text("utf-8").splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith("# tdspec ")
    *before, last = shell_calls(lines[0].removeprefix("# "))
    target = f"specs/{name}.yaml"
    assert last[1] == "train" and parse(last).target == target
    assert all(words[1] == "fetch" and parse(words).spec == target for words in before)
    head = list(takewhile(lambda line: line.startswith("#"), lines))
    assert head[-1] == "# yaml-language-server: $schema=../schemas/tdspec.schema.json"
    assert yaml.safe_load("\n".join(lines))["name"] == name
    assert check(SPECS[name]) == ()


@pytest.mark.parametrize("name", PLANS)
def test_the_committed_plan_is_that_of_the_spec(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", "/nonexistent")
    assert check_build(compile_without_weights(load(SPECS[name])), PLANS[name]) == ()
    assert load(PLANS[name] / "spec.yaml").sha256 == load(SPECS[name]).sha256


def test_the_spec_of_a_preset_compiles_from_a_local_folder(shared_folder: Path) -> None:
    preset = shared_folder / "presets" / "efficientnet_lite0"
    if not preset.is_dir():
        pytest.skip("needs the shared preset efficientnet_lite0")
    document = load(SPECS["cifar10_efficientnet"], [f"teacher.backbone.preset={preset}"])
    compiled = compile_without_weights(document)
    assert [term.name for term in compiled.distiller.terms] == [
        "task", "interaction", "interpretation", "message_consistency", "state_consistency",
    ]  # fmt: skip


def test_more_ratings_take_one_changed_line(tmp_path: Path) -> None:
    for name in ("movielens_teacher", "movielens_drama"):
        text = SPECS[name].read_text("utf-8")
        changed = text.replace("name: movielens/100k-ratings", "name: movielens/1m-ratings")
        pairs = zip(text.splitlines(), changed.splitlines(), strict=True)
        assert sum(old != new for old, new in pairs) == 1
        (tmp_path / f"{name}.yaml").write_text(changed)
        assert check(tmp_path / f"{name}.yaml") == ()
    compiled = compile_without_weights(load(tmp_path / "movielens_drama.yaml"))
    assert set(compiled.distiller.input) >= {"user_id", "movie_id", "movie_genres"}


# The kernel hands a process the peak of the one that started it, so a small one starts what is measured.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_the_large_spec_compiles_in_little_memory(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "tdspec", "compile", str(SPECS["vit_imagenet"]), "-o", "plan"]
    environment = {**ENVIRONMENT, "TFDS_DATA_DIR": str(tmp_path / "none"), "KAGGLEHUB_CACHE": str(tmp_path / "none")}
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, *call], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True
    )
    assert (tmp_path / "plan" / "graph.svg").is_file()
    assert 0 < int(measured.stdout) / 1024 < 1.5e9 / MEBIBYTE


@pytest.mark.parametrize("path", sorted((ROOT / "specs/studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_studies_that_ship(path: Path, tmp_path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    if first.startswith("# tdspec "):
        assert [parse(words).study for words in shell_calls(first.removeprefix("# "))] == [f"specs/studies/{path.name}"]
    moved = shutil.copytree(ROOT / "specs", tmp_path / "specs")
    assert load_study(str(moved / "studies" / path.name)).name == path.stem
