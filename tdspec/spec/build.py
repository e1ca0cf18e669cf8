"""A resolved spec's data as the dataclasses of `model.py`.

In: values that passed every check, and the folder relative paths start from. Out: `Spec`.
Leaves out: checks and defaults; whatever is absent here has no default and is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast, get_type_hints

from tdspec.spec import model
from tdspec.spec.paths import absolute_paths

Values = Mapping[str, Any]
T = TypeVar("T")


def build_spec(values: Values, folder: str) -> model.Spec:
    """The Spec of resolved values.

    Args:
        values: the spec with every default.
        folder: the spec's folder; paths in the Spec are absolute.
    """
    values = absolute_paths(values, folder)
    teacher = values.get("teacher")
    communication, train = values["communication"], values["train"]
    return _take(
        model.Spec,
        values,
        data=_data(values["data"]),
        task=_take(model.Task, values["task"]),
        teacher=None if teacher is None else model.Teacher(**_teacher(teacher)),
        teachers=tuple(
            model.ListedTeacher(**_teacher(item), name=item["name"], weight=item["weight"])
            for item in values.get("teachers", ())
        ),
        student=model.Student(**_side(values["student"]), head=_head(values["student"]["head"])),
        communication=_take(
            model.Communication,
            communication,
            message=_take(model.Message, communication["message"]),
            encoder=_take(model.Encoder, communication["encoder"]),
        ),
        losses=_losses(values["losses"]),
        train=_take(model.Train, train, optimizer=_take(model.Optimizer, train["optimizer"])),
        export=_take(model.Export, values["export"]),
    )


def _take(kind: type[T], values: Values, **built: Any) -> T:
    """A dataclass from the keys of a mapping; lists become tuples."""
    names = [field.name for field in fields(cast(Any, kind))]
    plain = {name: values.get(name) for name in names if name not in built}
    return kind(**built, **{name: tuple(item) if isinstance(item, list) else item for name, item in plain.items()})


def _data(values: Values) -> model.Data:
    cache = values["teacher_cache"]
    return _take(
        model.Data,
        values,
        splits=_take(model.Splits, values["splits"]),
        where=dict(values["where"]),
        teacher_cache=_take(model.TeacherCache, cache) if cache else None,
    )


def _side(values: Values) -> dict[str, Any]:
    """What both sides have."""
    cut = _take(model.Cut, values["cut"]) if "cut" in values else None
    return {"backbone": _backbone(values["backbone"]), "input": _take(model.Input, values["input"]), "cut": cut}


def _teacher(values: Values) -> dict[str, Any]:
    groups = values.get("class_map")
    class_map = None if groups is None else tuple(tuple(item) if isinstance(item, list) else item for item in groups)
    return {**_side(values), "head": values["head"], "class_map": class_map, "expect": values.get("expect")}


def _head(value: Any) -> Any:
    return value if value == "own" else _take(model.Head, value)


def _backbone(values: Values) -> model.Backbone:
    weights = _weights(values["weights"])
    kind = next(name for name in BACKBONES if name in values)
    if kind == "class":
        return _take(model.ClassBackbone, values, class_name=values["class"], weights=weights)
    if kind == "mlp":
        features = {name: _take(model.Feature, feature) for name, feature in values["mlp"]["features"].items()}
        return _take(model.MlpBackbone, values["mlp"], features=features, weights=weights)
    return _take(BACKBONES[kind], values, weights=weights)


BACKBONES: dict[str, type[model.Backbone]] = {
    "class": model.ClassBackbone,
    "preset": model.PresetBackbone,
    "application": model.ApplicationBackbone,
    "file": model.FileBackbone,
    "mlp": model.MlpBackbone,
    "spec": model.SpecBackbone,
}


def _weights(value: Any) -> model.Weights:
    if isinstance(value, dict):
        return model.PresetWeights(**value) if "preset" in value else model.FileWeights(**value)
    return value


def _losses(values: Values) -> model.Losses:
    kinds = get_type_hints(model.Losses)
    terms = {name: _take(kinds[name], loss) for name, loss in values.items() if name != "balance"}
    return model.Losses(balance=values["balance"], **terms)
