"""What a study searches for, and where mistakes in its spaces are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_support import write_study
from test_study_matrix import study as study_by_fractions

from tdspec.errors import SpecError
from tdspec.spec.load import load
from tdspec.study.keys import full_key
from tdspec.study.matrix import plan_runs
from tdspec.study.quests import Quest, plan_quests, search_leaks
from tdspec.study.space import Choices, Range, default_space, start_of
from tdspec.study.study_file import Study

AXES = "axes: {method: [scratch, talking], seed: [0, 1]}\n"


def quests(study: Study) -> list[Quest]:
    assert study.search is not None
    return list(plan_quests(study, study.search).values())


def found(study: Study) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        quests(study)
    items = caught.value.diagnostics
    return [(str(item.place).rpartition("small.yaml:")[2], item.message) for item in items]


def test_mistakes_in_a_space_are_shown_where_they_are_written(tmp_path: Path) -> None:
    lines = ("train.epoch: {low: 1, high: 2}", "losses.interaction: {low: -1, high: 4}", "student.cut: [a]")
    space = "".join(f"\n      {line}" for line in lines)
    study = write_study(tmp_path, f"{AXES}search:\n  space:\n    talking:{space}\n")
    assert [(place, message.partition(",")[0]) for place, message in found(study)] == [
        ("8:7", "found an unknown key"),
        ("9:7", "found -1"),
        ("10:7", "found the text 'a'"),
    ]


def test_what_a_method_does_not_read_is_not_searched(tmp_path: Path) -> None:
    study = write_study(tmp_path, f"{AXES}search: {{space: {{talking: {{losses.feature: [1, 2]}}}}}}\n")
    message = "found a key that the method 'talking' does not read, expected it to have an effect"
    assert found(study) == [("5:28", message)]
    with pytest.raises(SpecError, match="found seed, which a search does not choose"):
        write_study(tmp_path, f"{AXES}search: {{space: {{talking: {{seed: [1, 2]}}}}}}\n")


def test_a_space_of_a_method_that_no_run_has_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path, f"{AXES}search:\n  space:\n    logit: {{losses.logit: {{low: 1, high: 2}}}}\n")
    assert found(study) == [("7:5", "found 'logit', expected a method of this study: 'scratch' or 'talking'")]


def test_the_seed_of_the_spec_is_a_seed_of_the_runs_where_no_axis_says_more(tmp_path: Path) -> None:
    space = "space: {talking: {losses.interaction: [1, 2]}}"
    study = write_study(tmp_path, f"axes: {{method: [talking]}}\nsearch: {{seeds: [0], {space}}}\n")
    assert found(study) == [("5:18", "found 0, which is the seed of the runs, expected another seed")]


def test_the_same_content_is_the_same_quest(tmp_path: Path) -> None:
    ids = []
    for text in ("trials: 3", "trials: 9", "seeds: [7]", "sampler_seed: 4"):
        search = f"search: {{{text}, space: {{talking: {{losses.interaction: [1, 2]}}}}}}\n"
        (quest,) = quests(write_study(tmp_path, AXES + search))
        ids.append(quest.id)
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_splits_drawn_by_the_seed_are_warned_about(tmp_path: Path) -> None:
    search = "search: {space: {talking: {losses.interaction: [1, 2]}}}\n"
    assert search_leaks(plan_runs(write_study(tmp_path, AXES + search))[0].document) == ()
    (warning,) = search_leaks(plan_runs(study_by_fractions(tmp_path, AXES + search))[0].document)
    assert warning.startswith("data.splits: found fractions drawn by the seed")


def test_a_range_stands_for_its_ends_and_its_middle() -> None:
    assert Range(1, 100, log=True, integer=False).examples() == (1, 100, 10)
    assert Range(1, 2, log=False, integer=True).examples() == (1, 2)
    assert Choices(("l2", "cosine")).in_words() == "'l2', 'cosine'"
    assert full_key("losses.fitnet") == "losses.fitnet.weight"
    assert full_key("losses.fitnet.distance") == "losses.fitnet.distance"


def test_the_default_space_is_around_the_weights_of_the_method(tmp_path: Path) -> None:
    study = write_study(tmp_path, AXES)
    values = load(study.spec).values
    space = default_space(values)
    assert list(space) == [
        f"losses.{term}.weight" for term in ("interaction", "message_consistency", "state_consistency")
    ]
    assert start_of(space, values) == {key: values["losses"][key.split(".")[1]]["weight"] for key in space}
    alone = default_space(load(study.spec, ["method=scratch"]).values)
    assert list(alone) == ["train.optimizer.learning_rate"]


def test_what_a_variant_sets_is_not_searched_for_it(tmp_path: Path) -> None:
    variants = "variants: {full: {}, quiet: {losses.interaction: 0}}"
    space = "space: {talking: {losses.interaction: [1, 2], losses.message_consistency: [1, 2]}}"
    study = write_study(tmp_path, f"axes: {{method: [talking], {variants}}}\nsearch: {{per: [variants], {space}}}\n")
    both = ["losses.interaction.weight", "losses.message_consistency.weight"]
    assert [list(quest.space) for quest in quests(study)] == [both, both[1:]]
