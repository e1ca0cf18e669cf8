"""Study files: what is read, and every problem with its place."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from tdspec.errors import SpecError, TdspecError
from tdspec.study.space import Choices, Range
from tdspec.study.study_file import load_study

GOOD = """\
version: 1
name: methods
spec: ../digits.yaml
axes:
  method: [scratch, talking]
  seed: [0, 1]
set: {train.epochs: 3}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, "utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    path = written(folder, text)
    with pytest.raises(SpecError) as caught:
        load_study(path)
    return str(caught.value).replace(f"{path}:", "").splitlines()


def test_a_study_is_read_with_its_axes_in_order(tmp_path: Path) -> None:
    study = load_study(written(tmp_path, GOOD))
    assert study.name == "methods"
    assert study.spec == str(tmp_path.parent / "digits.yaml")
    assert list(study.axes.items()) == [("method", ("scratch", "talking")), ("seed", (0, 1))]
    assert study.settings == {"train.epochs": 3}


def test_set_may_be_left_out(tmp_path: Path) -> None:
    assert load_study(written(tmp_path, GOOD.replace("set: {train.epochs: 3}\n", ""))).settings == {}


def test_an_override_counts_as_if_it_stood_under_set(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    study = load_study(path, ["train.epochs=5", "teacher.backbone={preset: ./vit}", "data.path=a.npz"])
    preset = str(Path.cwd() / "vit")
    assert study.settings == {
        "train.epochs": 5, "teacher.backbone": {"preset": preset}, "data.path": str(Path.cwd() / "a.npz"),
    }  # fmt: skip
    assert study.overrides[0] == "train.epochs=5"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=3", "found --set seed=3, but seed varies in the study"),
        ("losses.logit=1", "found --set losses.logit=1, but losses.logit varies in the study"),
        ("losses.logit.weight=1", "found --set losses.logit.weight=1, but losses.logit varies in the study"),
        ("name=other", "found --set name=other, but name changes no result"),
        ("losses.logit", "found the override 'losses.logit', expected KEY.PATH=VALUE"),
        ("train.epochs=[", "--set train.epochs=[:1:15: error: "),
    ],
)
def test_an_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    text = f"{GOOD}search: {{trials: 2, space: {{logit: {{losses.logit: {{low: 1, high: 2}}}}}}}}\n"
    with pytest.raises(TdspecError) as caught:
        load_study(written(tmp_path, text), [override])
    assert str(caught.value).startswith((message, f"error: {message}"))


def test_all_problems_come_together_with_their_places(tmp_path: Path) -> None:
    text = """\
version: 2
name: two words
axes:
  method: scratch
  seed: [0, 0]
  train.epochs: []
epochs: 3
set: {seed: 3}
"""
    assert problems(tmp_path, text) == [
        "1:1: error: spec: found nothing, expected text",
        "1:10: error: version: found 2, expected 1",
        "2:7: error: name: found the text 'two words', expected at most 100 letters, digits, '_', '.' and '-', "
        "the first a letter or digit, and not 'latest'",
        "4:11: error: axes.method: found the text 'scratch', expected a list of values",
        "  hint: write ['scratch']",
        "5:9: error: axes.seed: found 0 a second time, expected it once",
        "6:17: error: axes.train.epochs: found an empty list, expected at least one value",
        "7:1: error: epochs: found an unknown key, expected 'version', 'name', 'spec', 'axes', 'set', 'average' or "
        "'search'",
        "  hint: keys of the spec belong to axes, or to set",
        "8:7: error: set.seed: found seed in axes too, expected it once",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n", "1:1: error: found a list of 1, expected a study: a mapping"),
        ("student: {}\n", "1:1: error: found a spec, expected a study"),
        ("", "1:1: error: found nothing, expected a spec"),
        (GOOD.replace("  seed: [0, 1]", "  method: [logit]"), "6:3: error: axes.method: found a second time"),
        (GOOD.replace("[scratch, talking]", "{a: 1}"), "5:11: error: axes.method: found a mapping, expected a list"),
        (GOOD.replace("set: {train.epochs: 3}", "sett: {}"), "7:1: error: sett: found an unknown key"),
    ],
)
def test_a_problem_has_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text)[0].startswith(expected)


SEARCH = """\
search:
  trials: 8
  space:
    talking: {losses.interaction: {low: 0.1, high: 10, log: true}, student.cut.low: [1, 2]}
"""


def test_a_search_is_read_with_its_defaults(tmp_path: Path) -> None:
    search = load_study(written(tmp_path, GOOD + SEARCH)).search
    assert search is not None
    assert (search.trials, search.seeds, search.sampler, search.storage, search.per) == (
        8,
        (1000,),
        "tpe",
        "journal",
        (),
    )
    space = {"losses.interaction.weight": Range(0.1, 10, True, False), "student.cut.low": Choices((1, 2))}
    assert search.space == {"talking": space}


def test_the_problems_of_a_search_have_their_places(tmp_path: Path) -> None:
    text = """\
search:
  trials: 0
  seeds: [1]
  per: [train.epochs]
  sample: tpe
  space:
    talking:
      losses.interaction: {low: 10, high: 1}
      losses.task: {low: 0, high: 1, log: true}
      student.cut.low: 3
      train.epochs: {low: 1.5, high: 3, integer: true}
      losses.task.weight: {low: 1}
"""
    assert [line for line in problems(tmp_path, GOOD + text) if "hint" not in line] == [
        "9:11: error: search.trials: found 0, expected a whole number from 1 to 100000",
        "10:11: error: search.seeds[0]: found 1, which is in axes.seed too, expected another seed",
        "11:9: error: search.per[0]: found 'train.epochs', expected one of the axes but seed",
        "12:3: error: search.sample: found an unknown key, expected 'trials', 'seeds', 'per', 'sampler', "
        "'sampler_seed', 'pruner', 'storage' or 'space'",
        "15:43: error: search.space.talking.losses.interaction.high: found 1, expected more than low, which is 10",
        "16:7: error: search.space.talking.losses.task: found losses.task.weight too, expected it once",
        "16:26: error: search.space.talking.losses.task.low: found 0, expected a number above 0, for log",
        "17:24: error: search.space.talking.student.cut.low: found 3, expected a range or a list of values",
        "18:27: error: search.space.talking.train.epochs.low: found 1.5, expected a whole number",
        "19:7: error: search.space.talking.losses.task.weight.high: found nothing, expected a number",
    ]


def test_variants_are_read_by_name(tmp_path: Path) -> None:
    text = GOOD.replace("  seed:", "  variants: {full: {}, quiet: {losses.interaction: 0}}\n  seed:")
    study = load_study(written(tmp_path, text))
    assert study.axes["variants"] == ("full", "quiet")
    assert study.variants["quiet"] == {"losses.interaction": 0}
    twice = text.replace("losses.interaction: 0", "method: logit")
    assert problems(tmp_path, twice)[0].endswith("found method in axes too, expected it once")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="found no such file"):
        load_study(tmp_path / "none.yaml")


def test_the_schema_is_one(repository: Path) -> None:
    import json

    schema = json.loads((repository / "schemas/study.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all("description" in node for node in schema["properties"].values())
