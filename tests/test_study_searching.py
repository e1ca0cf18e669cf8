"""Searches: the same budget for each method, nothing run twice, what was chosen is what the runs have.

Trainings are stood in for by processes that end in no time, so that their figures are known.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from run_support import ENVIRONMENT
from stand_in_training import figure_of
from study_support import page_of, write_study

from tdspec.errors import RunError
from tdspec.run import run_dir
from tdspec.study import children, teachers_first
from tdspec.study.outcomes import Outcome, in_one_sentence, read_outcomes
from tdspec.study.quests import plan_quests
from tdspec.study.results import read_results
from tdspec.study.runner import run_study
from tdspec.study.searching import run_search
from tdspec.study.study_file import Search, Study
from tdspec.study.table import tabulate
from tdspec.study.trials import Trials

SPACE = "{losses.interaction: {low: 0.01, high: 100, log: true}}"
STAND_IN = "stand_in_training"


def study_with(folder: Path, search: str, axes: str = "method: [scratch, talking], seed: [0, 1]") -> Study:
    return write_study(folder, f"axes: {{{axes}}}\nsearch: {{{search}}}\n")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Trainings are stood in for; the overrides of each, and its options."""
    called: list[tuple[str, ...]] = []
    start = children.start

    def noted(spec: str, overrides: Sequence[str], **options: Any) -> children.Child:
        called.append((*overrides, *options["options"]))
        return start(spec, overrides, **options)

    monkeypatch.setattr(children, "PROGRAM", STAND_IN)
    monkeypatch.setattr(children, "start", noted)
    monkeypatch.setattr(teachers_first, "named_specs", lambda document: {})
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    return called


def searched(folder: Path, study: Study, jobs: int = 2) -> tuple[Outcome, ...]:
    assert study.search is not None
    (folder / "study").mkdir(exist_ok=True)
    quests = tuple(plan_quests(study, study.search).values())
    return run_search(quests, study.search, folder=folder / "study", root=folder, jobs=jobs, stream=io.StringIO())


def test_trials_are_judged_by_the_mean_over_seeds_and_the_first_has_the_spec_s_values(
    tmp_path: Path, calls: list[tuple[str, ...]]
) -> None:
    study = study_with(tmp_path, f"trials: 4, seeds: [5, 6], space: {{talking: {SPACE}}}")
    (outcome,) = searched(tmp_path, study)
    assert len(calls) == 8
    assert all("--trial" in words for words in calls)
    assert [trial.state for trial in outcome.trials] == ["complete"] * 4
    first = outcome.trials[0]
    assert first.values == {"losses.interaction.weight": pytest.approx(0.3)}
    for trial in outcome.trials:
        weight = trial.values["losses.interaction.weight"]
        assert trial.figures == (figure_of(weight, 5), figure_of(weight, 6))
        assert trial.value == pytest.approx(sum(trial.figures) / 2)
    assert outcome.best_trial() == max(outcome.trials, key=lambda trial: trial.value or 0)
    assert read_outcomes(tmp_path / "study") == (outcome,)
    assert "from 4 trials: losses.interaction.weight " in in_one_sentence(outcome)


def test_what_has_ended_is_not_run_again_and_more_trials_go_on(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    space = f"space: {{talking: {SPACE}}}"
    (before,) = searched(tmp_path, study_with(tmp_path, f"trials: 3, {space}"))
    (again,) = searched(tmp_path, study_with(tmp_path, f"trials: 3, {space}"))
    assert again == before
    assert len(calls) == 3
    (more,) = searched(tmp_path, study_with(tmp_path, f"trials: 5, {space}"))
    assert more.trials[:3] == before.trials
    assert len(calls) == 5
    weights = [trial.values["losses.interaction.weight"] for trial in more.trials]
    assert len(set(weights)) == 5


def test_a_search_that_was_resumed_proposes_what_one_in_one_go_does(
    tmp_path: Path, calls: list[tuple[str, ...]]
) -> None:
    values = []
    for name, steps in (("once", (9,)), ("twice", (2, 9))):
        (tmp_path / name).mkdir()
        for trials in steps:
            study = study_with(tmp_path / name, f"trials: {trials}, space: {{talking: {SPACE}}}")
            (outcome,) = searched(tmp_path / name, study, jobs=1)
        values.append([trial.values for trial in outcome.trials])
    assert values[0] == values[1]


def test_machines_that_share_a_database_share_the_budget(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    for name, trials in (("one", 2), ("two", 5)):
        (tmp_path / name).mkdir()
        storage = f"'sqlite:///{tmp_path}/trials.db'"
        search = f"trials: {trials}, storage: {storage}, space: {{talking: {SPACE}}}"
        (outcome,) = searched(tmp_path / name, study_with(tmp_path / name, search))
    assert [trial.state for trial in outcome.trials] == ["complete"] * 5
    assert len(calls) == 5
    assert len(list((tmp_path / "two" / "study" / "trials").glob("*/*"))) == 3


def test_every_method_with_a_space_has_the_same_budget(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    space = f"{{talking: {SPACE}, feature: {{losses.feature: {{low: 1, high: 2}}, communication.message.dim: [2, 3]}}}}"
    study = study_with(tmp_path, f"trials: 3, space: {space}", "method: [scratch, feature, talking]")
    outcomes = searched(tmp_path, study)
    assert [(outcome.name, len(outcome.trials)) for outcome in outcomes] == [("feature", 3), ("talking", 3)]


def test_axes_that_are_kept_apart_are_searched_apart_and_what_a_variant_fixes_is_not(
    tmp_path: Path, calls: list[tuple[str, ...]]
) -> None:
    variants = "{full: {}, fixed: {losses.interaction.weight: 2}, short: {communication.iterations: 0}}"
    space = "{talking: {losses.interaction: {low: 1, high: 9}, losses.state_consistency: {low: 1, high: 9}}}"
    study = study_with(
        tmp_path, f"trials: 1, per: [variants], space: {space}", f"method: [scratch, talking], variants: {variants}"
    )
    assert study.search is not None
    quests = plan_quests(study, study.search)
    assert {quest.name: len(quest.space) for quest in quests.values()} == {
        "talking, full": 2,
        "talking, fixed": 1,
        "talking, short": 2,
    }


def test_a_failed_trial_counts_and_is_told(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    space = "{talking: {losses.interaction: [77, 1]}}"
    (outcome,) = searched(tmp_path, study_with(tmp_path, f"trials: 6, sampler: random, space: {space}"))
    states = {trial.values["losses.interaction.weight"]: (trial.state, trial.error) for trial in outcome.trials}
    assert states == {77: ("failed", "training diverged"), 1: ("complete", "")}
    assert outcome.best_trial() is not None
    only = "{talking: {losses.interaction: [77]}}"
    with pytest.raises(RunError, match="no trial of talking is complete: training diverged"):
        searched(tmp_path, study_with(tmp_path, f"trials: 2, space: {only}"))


def test_trials_that_are_worse_than_the_median_end_early(
    tmp_path: Path, calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sampler(self: Trials, number: int) -> optuna.samplers.BaseSampler:
        weight = {"losses.interaction.weight": 1 if number < 6 else 99}
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.PartialFixedSampler(weight, optuna.samplers.RandomSampler())

    monkeypatch.setattr(Trials, "_sampler", sampler)
    # a training with a weight of 99 never ends by itself: only because it is ended early does this test end
    search = "trials: 7, pruner: median, space: {talking: {losses.interaction: [1, 99]}}"
    (outcome,) = searched(tmp_path, study_with(tmp_path, search), jobs=1)
    assert [trial.state for trial in outcome.trials] == ["complete"] * 6 + ["pruned"]


def test_the_runs_have_what_was_chosen(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    study = study_with(tmp_path, f"trials: 3, space: {{talking: {SPACE}}}")
    stream = io.StringIO()
    result = run_study(study, root=tmp_path / "runs", jobs=2, resume=False, stream=stream)
    assert result.failures == ()
    assert "3 trials each for talking: 0 of 3 have ended" in stream.getvalue()
    (outcome,) = read_results(result.folder).search
    best = outcome.best_trial()
    assert best is not None
    weight = best.values["losses.interaction.weight"]
    _, talking = result.table.rows
    assert talking.values["validation"] == (figure_of(weight, 0), figure_of(weight, 1))
    trials = [words for words in calls if "--trial" in words]
    assert not {"seed=0", "seed=1"} & {word for words in trials for word in words}
    records = [json.loads(path.read_text("utf-8")) for path in result.folder.glob("trials/*/*/*/run.json")]
    assert [list(record["metrics"]) for record in records] == [["validation"]] * 3
    assert in_one_sentence(outcome) in result.table.notes
    page = page_of(result.folder)
    assert "<h2>Search</h2>" in page
    assert "losses.interaction.weight: 0.01 to 100 (log)" in page
    count = len(calls)
    again = run_study(study, root=tmp_path / "runs", jobs=2, resume=True, stream=io.StringIO())
    assert len(calls) == count
    assert tabulate(again.results).rows == result.table.rows


KILLED = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from tdspec.study import children
from test_study_searching import STAND_IN, searched
from tdspec.study.study_file import load_study
children.PROGRAM = STAND_IN
searched(Path({folder!r}), load_study({study!r}), jobs=1)
"""


def test_a_search_that_was_killed_takes_up_its_trial(
    tmp_path: Path, calls: list[tuple[str, ...]], repository: Path
) -> None:
    study = study_with(tmp_path, "trials: 2, seeds: [5], space: {talking: {losses.interaction: [99]}}")
    paths = [str(repository), str(repository / "tests")]
    code = KILLED.format(paths=paths, folder=str(tmp_path), study=str(tmp_path / "small.yaml"))
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    runs = tmp_path / "study" / "trials"
    deadline = time.monotonic() + 60
    while not list(runs.glob("*/0000/seed-5/metrics.jsonl")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (record,) = [run_dir.RunFolder(path.parent) for path in runs.glob("*/0000/seed-5/run.json")]
    orphan = int((record.path / ".lock").read_text("utf-8"))
    # The training outlived its parent; here it ends, and its trial is complete as far as anyone can see.
    subprocess.run(["kill", "-9", str(orphan)], check=True)
    metrics = {"validation": {"accuracy": 0.5, "task": 1.0}}
    run_dir.update_record(record, status="complete", metrics=metrics)
    journal = next((tmp_path / "study").glob("search.journal"))
    with journal.open("ab") as file:
        file.write(b'{"half": ')
    assert study.search is not None
    limited = Search(**{**study.search.__dict__, "trials": 1})
    quests = tuple(plan_quests(study, study.search).values())
    (outcome,) = run_search(quests, limited, folder=tmp_path / "study", root=tmp_path, jobs=1, stream=io.StringIO())
    assert [(trial.number, trial.state, trial.value) for trial in outcome.trials] == [(0, "complete", 0.5)]
    assert calls == []
