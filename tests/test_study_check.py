"""Studies validated as studies: told from specs by their keys, and every problem at its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from study_support import STUDENT, write_specs

from tdspec.cli import execute, parse
from tdspec.study.check import check_study, is_study_file

ROOT = Path(__file__).parent.parent
SHIPPED = sorted((ROOT / "specs" / "studies").glob("*.yaml"))
DRAWN = STUDENT.replace('{train: "all[:50%]", validation: "all[50%:70%]", test: "all[70%:]"}', "{train: 0.8}")


def study(folder: Path, rest: str) -> Path:
    write_specs(folder)
    path = folder / "study.yaml"
    path.write_text(f"version: 1\nname: s\nspec: student.yaml\n{rest}", "utf-8")
    return path


def problems(path: Path) -> list[str]:
    return [line.replace(f"{path.parent}/", "") for item in check_study(path) for line in str(item).splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spec: a.yaml\naxes: {seed: [0]}", True),
        ("version: 1\nname: s\naxes: {seed: [0]}", True),
        ("spec: a.yaml\naxes: {}\ntrain: {epochs: 3}", True),
        ("spec: a.yaml", True),
        ("version: 1\nname: s", False),
        ("data: {source: digits}\nstudent: {}\nsearch: {}", False),
        ("[axes, spec]", False),
        ("axes: {", False),
        ("", False),
    ],
)
def test_a_study_is_told_by_its_keys(tmp_path: Path, text: str, expected: bool) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    assert is_study_file(path) is expected
    assert not is_study_file(tmp_path / "missing.yaml")


def test_the_studies_that_ship_have_no_problem() -> None:
    assert SHIPPED
    for path in SHIPPED:
        assert is_study_file(path) and check_study(path) == ()


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (
            "axes: {methd: [scratch]}\nset: {train.epocs: 3}\n",
            [
                "study.yaml:4:8: error: methd: found an unknown key",
                "study.yaml:5:20: error: train.epocs: found an unknown key",
            ],
        ),
        (
            "axes: {method: [scratch, talkin], seed: [0, -1]}\n",
            [
                "study.yaml:4:26: error: method: found the text 'talkin', expected",
                "study.yaml:4:45: error: seed: found -1, expected",
            ],
        ),
        (
            "axes: {method: [scratch, fitnet]}\n"
            "search:\n  seeds: [7]\n  space: {fitnet: {losses.fitnet: {low: -1, high: 2}, losses.logit: [1]}}\n",
            ["study.yaml:7:55: error: losses.logit.weight: found a key that the method 'fitnet' does not read"],
        ),
        (
            "axes: {method: scratch}\n",
            ["study.yaml:4:16: error: axes.method: found the text 'scratch', expected a list"],
        ),
    ],
)
def test_every_problem_has_its_place_in_the_study(tmp_path: Path, rest: str, expected: list[str]) -> None:
    found = [line for line in problems(study(tmp_path, rest)) if not line.startswith("  hint")]
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


def test_its_spec_is_checked_too(tmp_path: Path) -> None:
    path = study(tmp_path, "axes: {seed: [0, 1]}\n")
    assert problems(path) == []
    student = tmp_path / "student.yaml"
    student.write_text(STUDENT.replace("dim: 6", "dim: 0"), "utf-8")
    (line,) = problems(path)
    assert line.startswith("student.yaml:6:32: error: communication.message.dim: found 0")
    student.rename(tmp_path / "studen.yaml")
    assert problems(path) == [
        "study.yaml:3:7: error: spec: found no such file, expected a spec at 'student.yaml'",
        "  hint: did you mean 'studen.yaml'?",
    ]


def test_a_search_that_sees_what_others_are_tested_on_is_doubtful(tmp_path: Path) -> None:
    path = study(
        tmp_path, "axes: {method: [scratch], seed: [0, 1]}\nsearch: {space: {scratch: {train.epochs: [1, 2]}}}\n"
    )
    (tmp_path / "student.yaml").write_text(DRAWN.replace("0.8", "0.8, validation: 0.1, test: 0.1"), "utf-8")
    found = problems(path)
    assert all(line.startswith("study.yaml:3:7: warning: spec: ") for line in found)
    assert any("a search is judged by examples that other seeds have in their test split" in line for line in found)


def test_validate_takes_specs_and_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study(tmp_path, "axes: {seed: [0]}\n")
    spec = tmp_path / "student.yaml"
    assert execute(parse(["tdspec", "validate", str(spec), str(path)])) == 0
    assert capsys.readouterr() == (f"{spec}: ok\n{path}: ok\n", "2 specs: 0 errors, 0 warnings\n")
    assert execute(parse(["tdspec", "validate", str(path), "--set", "seed=1"])) == 2
    assert f"error: found --set beside {path}, which is a study" in capsys.readouterr().err


def test_a_study_is_validated_without_tensorflow(tmp_path: Path) -> None:
    path = study(tmp_path, "axes: {seed: [0]}\nsearch: {seeds: [5], space: {talking: {losses.interaction: [1, 2]}}}\n")
    code = (
        "import sys; from tdspec.cli import execute, parse; assert execute(parse(sys.argv)) == 0; print(*sys.modules)"
    )
    call = [sys.executable, "-c", code, "validate", str(path)]
    out = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "keras", "numpy", "optuna"} & set(out.split())
