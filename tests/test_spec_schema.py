"""The schema: whole, described, and joined with the dataclasses that mirror it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tdspec.spec import model
from tdspec.spec.schema import Schema, branches, default_at, fill, follow, key_homes, nodes_at, schema, schema_at
from tdspec.spec.source import parse_dotted
from tdspec.spec.violations import EXPLANATIONS
from tdspec.spec.words import PATTERN_WORDS, TYPE_WORDS, expected

WITHOUT_DEFAULT = {
    "version": "a spec says which language it is written in",
    "name": "it names folders",
    "data.source": "a spec is about its data",
    "data.name": "only tfds has names",
    "data.path": "the source decides whether it has one",
    "data.teacher_cache.folder": "the machine decides where cached files lie",
    "data.splits.by": "only splits along a column have one",
    "data.splits.within": "only splits along a column of each user, or the like, have one",
    "data.splits.train": "the three splits are told together",
    "data.splits.validation": "the three splits are told together",
    "data.splits.test": "the three splits are told together",
    **{
        f"{side}.cut.{end}": "the cut is the user's choice"
        for side in ("teacher", "student")
        for end in ("low", "high")
    },
    **{
        f"{side}.backbone.{key}": "a backbone is given in exactly one way, and has what that way needs"
        for side in ("teacher", "student")
        for key in ("class", "config", "preset", "application", "file", "spec", "mlp.units", "batch_norm_epsilon")
    },
    **{
        f"{side}.backbone.weights{key}": "the default depends on the side and on the kind of backbone"
        for side in ("teacher", "student")
        for key in ("", ".preset", ".file")
    },
    **{
        f"losses.{term}.weight": "the default of the term written as a number"
        for term in model.Losses.__dataclass_fields__
        if term != "balance"
    },
    "teachers": "a spec has one teacher, several, or none",
    "teacher.class_map": "without it the classes are the same",
    "teacher.expect": "only the user knows how good the teacher is",
}
CLASSES = {
    "": model.Spec,
    "data": model.Data,
    "data.splits": model.Splits,
    "data.teacher_cache": model.TeacherCache,
    "task": model.Task,
    "teacher": model.Teacher,
    "student": model.Student,
    "student.input": model.Input,
    "student.cut": model.Cut,
    "student.head": model.Head,
    "communication": model.Communication,
    "communication.message": model.Message,
    "communication.encoder": model.Encoder,
    "losses": model.Losses,
    "losses.task": model.TaskLoss,
    "losses.logit": model.LogitLoss,
    "losses.dist": model.DistLoss,
    "losses.nkd": model.NkdLoss,
    "losses.feature": model.StateLoss,
    "losses.vkd": model.PlainLoss,
    "losses.relational": model.RelationalLoss,
    "losses.manifold": model.ManifoldLoss,
    "losses.interaction": model.InteractionLoss,
    "train": model.Train,
    "train.optimizer": model.Optimizer,
    "export": model.Export,
}
BACKBONES = {
    "class": model.ClassBackbone,
    "preset": model.PresetBackbone,
    "application": model.ApplicationBackbone,
    "file": model.FileBackbone,
    "spec": model.SpecBackbone,
}


def _properties(node: Schema, prefix: str = "") -> Iterator[tuple[str, Schema, Schema]]:
    """Each key of the language: its path, its node, the node of the mapping that has it."""
    for branch in branches(node):
        for key, entry in branch.get("properties", {}).items():
            yield f"{prefix}{key}", follow(entry), branch
            yield from _properties(entry, f"{prefix}{key}.")


def _names(kind: type[Any]) -> list[str]:
    return ["class" if field.name == "class_name" else field.name for field in dataclasses.fields(kind)]


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


def test_every_key_is_described() -> None:
    missing = [path for path, node, _ in _properties(schema()) if not node.get("description")]
    assert not missing


def test_every_optional_key_has_a_default_or_a_reason() -> None:
    optional = [path for path, node, _ in _properties(schema()) if "default" not in node]
    scalars = [path for path in optional if "properties" not in branches(schema_at(path.split(".")) or {})[0]]
    assert set(scalars) == set(WITHOUT_DEFAULT)


def test_every_default_is_valid() -> None:
    for path, node, _ in _properties(schema()):
        if "default" in node:
            Draft202012Validator({"$defs": schema()["$defs"], **node}).validate(node["default"])
            assert default_at(path.split(".")) is not None


@pytest.mark.parametrize("path", CLASSES)
def test_dataclasses_have_the_keys_of_the_schema(path: str) -> None:
    node = schema_at(path.split(".")) if path else schema()
    assert node is not None
    (mapping,) = [branch for branch in branches(node) if "properties" in branch]
    assert _names(CLASSES[path]) == list(mapping["properties"])


def test_dataclasses_of_backbones() -> None:
    known = list(schema()["$defs"]["backbone"]["properties"])
    for kind, fields in BACKBONES.items():
        assert _names(fields)[0] == kind
        assert set(_names(fields)) <= set(known)
    assert _names(model.MlpBackbone) == [*schema()["$defs"]["mlp"]["properties"], "weights"]
    assert _names(model.Feature) == list(schema()["$defs"]["feature"]["properties"])


def test_no_dataclass_has_a_default() -> None:
    kinds = [kind for kind in vars(model).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    assert len(kinds) > 20
    for kind in kinds:
        for field in dataclasses.fields(kind):
            assert field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING, field


def _keywords(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "default":
                continue
            yield key, value
            names = key in {"properties", "$defs", "dependentRequired"}
            yield from (pair for inner in (value.values() if names else [value]) for pair in _keywords(inner))
    elif isinstance(node, list):
        yield from (pair for item in node for pair in _keywords(item))


def test_every_keyword_of_the_schema_has_its_own_words() -> None:
    silent = {"$schema", "$id", "$ref", "$defs", "title", "description", "default", "properties", "items"}
    used = {key for key, _ in _keywords(schema())}
    assert used - silent - {"if", "then", "else"} <= set(EXPLANATIONS)
    assert {value for key, value in _keywords(schema()) if key == "pattern"} == set(PATTERN_WORDS)
    types = [value for key, value in _keywords(schema()) if key == "type" and isinstance(value, (str, list))]
    assert {name for value in types for name in ([value] if isinstance(value, str) else value)} <= set(TYPE_WORDS)


def test_every_key_has_an_expectation_in_words() -> None:
    for path, node, _ in _properties(schema()):
        assert expected(node), path


def test_fill_writes_defaults_in_the_order_and_types_of_the_schema() -> None:
    filled = fill(schema(), {"losses": {"feature": {"distance": "l2"}, "task": 2}, "seed": 3.0})
    assert list(filled) == ["seed", "method", "task", "communication", "losses", "train", "export"]
    assert filled["communication"]["message"] == {"dim": 64, "positions": "auto"}
    change = {"schedule": "constant", "warmup": 0.1}
    assert filled["losses"]["feature"] == {"weight": 0.5, **change, "distance": "l2", "detach": "none"}
    assert filled["losses"]["task"] == {"weight": 2.0}
    assert filled["losses"]["logit"] == {"weight": 1.0, **change, "distance": "auto", "temperature": 4.0}
    assert filled["seed"] == 3 and isinstance(filled["seed"], int)
    assert isinstance(filled["losses"]["task"]["weight"], float)
    assert str(fill({"type": "number"}, -0.0)) == "0.0"
    assert fill({"enum": [1, 3]}, 3.0) == 3 and isinstance(fill({"enum": [1, 3]}, 3.0), int)


def test_a_switch_that_is_on_has_the_defaults_of_its_mapping() -> None:
    filled = [
        fill(schema(), {"data": {"source": "digits", **on}})["data"]["teacher_cache"]
        for on in ({}, {"teacher_cache": True}, {"teacher_cache": {}}, {"teacher_cache": {"dtype": "float32"}})
    ]
    assert filled[0] is False
    assert filled[1] == filled[2] == {"dtype": "bfloat16", "views": 0}
    assert filled[3] == {"dtype": "float32", "views": 0}


def test_fill_shares_nothing_with_the_schema() -> None:
    filled = fill(schema(), {"data": {"source": "digits"}})
    filled["data"]["splits"]["train"] = 9
    filled["export"]["formats"].append("x")
    assert fill(schema(), {"data": {"source": "digits"}})["data"]["splits"]["train"] == 0.8
    assert schema()["$defs"]["export"]["properties"]["formats"]["default"] == ["saved_model"]


def test_homes_of_keys() -> None:
    assert key_homes()["temperature"] == (
        "losses.logit.temperature",
        "losses.dist.temperature",
        "losses.nkd.temperature",
    )
    assert key_homes()["learning_rate"] == ("train.optimizer.learning_rate",)


@pytest.mark.parametrize(
    ("key", "is_known"),
    [
        *((home, True) for homes in key_homes().values() for home in homes),
        ("teachers[0].cut.low", True),
        ("student.backbone.mlp.units[1]", True),
        ("student.backbone.config.layers.units", True),
        ("data.where.label", True),
        ("losses.tusk", False),
        ("teachers[0].bogus", False),
        ("student.backbone.mlp.units.first", False),
        ("train.epochs.more", False),
        ("data[0]", False),
    ],
)
def test_whether_there_is_a_key(key: str, is_known: bool) -> None:
    assert bool(nodes_at(parse_dotted(key))) is is_known
