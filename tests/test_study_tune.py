"""`tdspec tune`: one spec's search, and the tuned spec, which keeps the user's text where that is simple."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_in_training import figure_of
from study_support import write_specs
from test_study_searching import calls as calls

from tdspec.cli import execute, parse
from tdspec.errors import SpecError
from tdspec.spec.load import load
from tdspec.study.outcomes import read_outcomes
from tdspec.study.tune import read_space_file

Calls = list[tuple[str, ...]]


@pytest.fixture(autouse=True)
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_specs(tmp_path)


def call(*words: str) -> int:
    return execute(parse(["tdspec", "tune", *words]))


def test_the_tuned_spec_keeps_the_text_and_says_how_it_came_about(
    tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "student.yaml"
    spec.write_text("# mine\n" + spec.read_text("utf-8") + "losses: {task: 1.0}   # kept\n", "utf-8")
    (tmp_path / "space.yaml").write_text("losses.interaction: {low: 0.01, high: 100, log: true}\n", "utf-8")
    assert call("student.yaml", "--trials", "4", "--space", "space.yaml", "--seeds", "5,7", "--jobs", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "student.tuned.yaml"
    assert lines[0].startswith("Chosen for talking on validation, from 4 trials: losses.interaction.weight ")
    (outcome,) = read_outcomes(tmp_path / "runs" / "tune" / "student")
    best = outcome.best_trial()
    assert best is not None
    text = (tmp_path / "student.tuned.yaml").read_text("utf-8").splitlines()
    weight = best.values["losses.interaction.weight"]
    assert text[0] == "# tdspec tune student.yaml --trials 4 --space space.yaml --seeds 5,7"
    own = (figure_of(0.3, 5) + figure_of(0.3, 7)) / 2
    assert text[1] == (
        f"# validation accuracy {best.value:.4f}, the best of 4 trials, mean over seeds 5, 7; "
        f"with the spec's own values {own:.4f}"
    )
    assert text[2] == "# mine"
    assert text[-1] == f"losses: {{task: 1.0, interaction: {weight}}}   # kept"
    tuned = load(tmp_path / "student.tuned.yaml")
    assert tuned.sha256 == load(spec, [f"losses.interaction.weight={weight}"]).sha256
    assert "<h2>Search</h2>" in (tmp_path / "runs" / "tune" / "student" / "report.html").read_text("utf-8")
    assert execute(parse(["tdspec", "report", "runs/tune/student"])) == 0


def test_the_same_call_runs_nothing_again(tmp_path: Path, calls: Calls) -> None:
    assert call("student.yaml", "--trials", "2") == 0
    count = len(calls)
    first = (tmp_path / "student.tuned.yaml").read_text("utf-8")
    assert call("student.yaml", "--trials", "2") == 0
    assert len(calls) == count == 2
    assert (tmp_path / "student.tuned.yaml").read_text("utf-8") == first
    assert {text.partition("=")[0] for text in calls[0]} >= {
        "losses.interaction.weight",
        "losses.message_consistency.weight",
        "losses.state_consistency.weight",
    }


def test_elsewhere_or_with_overrides_every_key_is_written(tmp_path: Path, calls: Calls) -> None:
    (tmp_path / "other").mkdir()
    words = ("--trials", "1", "--set", "train.epochs=9", "-o", "other/tuned.yaml")
    assert call("student.yaml", *words) == 0
    tuned = load(tmp_path / "other" / "tuned.yaml")
    assert tuned.spec.train.epochs == 9
    assert tuned.spec.teacher is not None
    assert tuned.spec.teacher.backbone.spec == str(tmp_path / "teacher.yaml")  # type: ignore[union-attr]


def test_a_tuned_spec_can_be_tuned_again_in_place(tmp_path: Path, calls: Calls) -> None:
    for _ in range(2):
        assert call("student.yaml", "--trials", "1", "-o", "student.yaml") == 0
    text = (tmp_path / "student.yaml").read_text("utf-8")
    assert text.count("# tdspec tune") == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--trials", "0"), 2, "--trials: found 0, expected a whole number from 1 to 100000"),
        (("--seeds", "a"), 2, "found --seeds a, expected whole numbers"),
        (("--seeds", "0"), 2, "found seed 0 in --seeds, which is the spec's own"),
        (("--jobs", "0"), 2, "found --jobs 0, expected at least 1"),
        (("-o", "nowhere/a.yaml"), 2, "found no folder nowhere for --output"),
        (("-o", "."), 2, "found the folder . for --output, expected a file"),
        (("--set", "method=talkin"), 1, "found the text 'talkin'"),
        (("--storage", "nosuch://x"), 1, "the storage 'nosuch://x' cannot be opened"),
    ],
)
def test_mistakes_are_told(
    words: tuple[str, ...], code: int, message: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("student.yaml", *words) == code
    assert message in capsys.readouterr().err
    assert calls == []


def test_a_space_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    for text, message in (
        ("- 1\n", "found a list of 1, expected a space"),
        ("{}\n", "found an empty mapping, expected at least one value"),
        ("spec: a.yaml\naxes: {seed: [0]}\n", "found a study, expected a space: a mapping of keys to"),
        ("train..epochs: {low: 1, high: 3}\n", "found 'train..epochs', expected the path of a key, such as"),
        ("a: {low: 3, high: 1}\n", "found 1, expected more than low, which is 3"),
        ("a: {lo: 3, low: 1, high: 2}\n", "found an unknown key, expected 'low', 'high', 'log' or 'integer'"),
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(SpecError, match=message):
            read_space_file(str(path))


def test_what_cannot_be_read_of_a_space_is_told_of_once(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("losses.interaction: {low: .nan, high: 1}\n", "utf-8")
    with pytest.raises(SpecError) as caught:
        read_space_file(str(path))
    (item,) = caught.value.diagnostics
    assert item.message == "found .nan, expected a finite number"
