"""Values in the text of a spec: comments and layout stay, and the text means what it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tdspec.spec.edit import edited
from tdspec.spec.load import load

TEXT = """\
# about
version: 1
losses:          # a number is a weight
  task: 1.0      # stays
  interaction: {weight: 0.5, distance: l2}   # said more

  feature: 2
train: {epochs: 3, optimizer: {}}
cut: {low: 1, high: 'two'}
"""


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("losses.task.weight", 0.25, "task: 1.0      # stays", "task: 0.25      # stays"),
        ("losses.interaction.weight", 1e-05, "{weight: 0.5,", "{weight: 1.0e-05,"),
        ("losses.interaction.detach", "target", "distance: l2}   #", "distance: l2, detach: target}   #"),
        ("losses.logit.weight", 3.0, "losses:          # a number is a weight\n", None),
        ("train.optimizer.learning_rate", 0.003, "optimizer: {}", "optimizer: {learning_rate: 0.003}"),
        ("cut.high", "yes", "high: 'two'", "high: 'yes'"),
        ("cut.low", 2, "low: 1", "low: 2"),
        ("communication.message.dim", 8, "high: 'two'}\n", "high: 'two'}\ncommunication: {message: {dim: 8}}\n"),
    ],
)
def test_one_value_changes_and_all_else_stays(key: str, value: Any, old: str, new: str | None) -> None:
    expected = TEXT.replace(old, new or f"{old}  logit: 3.0\n")
    assert edited(TEXT, {key: value}) == expected
    assert yaml.safe_load(expected)


def test_several_values_change_together() -> None:
    text = edited(TEXT, {"losses.feature.weight": 5, "losses.vkd.weight": 6, "train.epochs": 7, "seed": 8})
    assert text is not None
    values = yaml.safe_load(text)
    losses = values["losses"]
    assert (losses["feature"], losses["vkd"], values["train"]["epochs"], values["seed"]) == (5, 6, 7, 8)
    assert "# said more" in text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a: [1, 2]\n", "a.b"),
        ("a: 1\n", "a.b"),
        ("a: &x {b: 1}\nc: *x\n", "c.b"),
        ("a:\n  - 1\n", "a"),
    ],
)
def test_what_is_not_simple_is_left_alone(text: str, key: str) -> None:
    assert edited(text, {key: 3}) is None


def test_the_specs_that_ship_mean_what_overrides_mean(repository: Path) -> None:
    for path in sorted((repository / "specs").glob("*.yaml")):
        values = {"losses.task.weight": 0.5, "train.optimizer.learning_rate": 2e-5, "train.epochs": 2, "seed": 3}
        text = edited(path.read_text("utf-8"), values)
        assert text is not None, path
        wanted = load(path, [f"{key}={value}" for key, value in values.items()])
        changed = path.with_name(f".{path.name}")
        try:
            changed.write_text(text, "utf-8")
            assert load(changed).sha256 == wanted.sha256
        finally:
            changed.unlink(missing_ok=True)
