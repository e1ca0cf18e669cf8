"""A plan looked at model by model, and teacher by teacher.

In: a plan (the content of `plan.json`). Out: its models by name; for each of several teachers a plan as if it were the
only one, for readers that know one.
Leaves out: making a plan (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Plan = Mapping[str, Any]


def models_of(plan: Plan) -> dict[str, Mapping[str, Any]]:
    """Each model by name, the teachers first."""
    if "teachers" in plan:
        teachers = {model["name"]: model for model in plan["teachers"]}
    else:
        teachers = {} if plan["teacher"] is None else {"teacher": plan["teacher"]}
    return {**teachers, "student": plan["student"]}


def with_one_teacher(plan: Plan) -> dict[str, Any]:
    """A plan whose key `teacher` is one of its teachers, or None, and whose totals count all of them under it."""
    if "teachers" not in plan:
        return dict(plan)
    parameters = plan["totals"]["parameters"]
    totals = {"teachers" if key == "teacher" else key: count for key, count in parameters.items()}
    return {
        **plan,
        "teacher": next(iter(plan["teachers"]), None),
        "totals": {"parameters": {**totals, "teacher": parameters["teachers"]}},
    }


def loss_key(name: str, teacher: str) -> str:
    """A term's key in the spec's `losses`, which the terms of several teachers share; `teacher` "": there is one."""
    return name.removesuffix(f"_{teacher}") if teacher else name


def key_of(term: Mapping[str, Any]) -> str:
    """The `loss_key` of a plan's term."""
    return loss_key(term["name"], term["teacher"]) if "teacher" in term else str(term["name"])


def plans_apart(plan: Plan) -> list[dict[str, Any]]:
    """For each teacher the plan of the conversation with it alone, with the names that an only teacher has."""
    whole = with_one_teacher(plan)
    if "teachers" not in plan:
        return [whole]
    return [_apart(whole, teacher) for teacher in plan["teachers"]] or [whole]


def _apart(plan: Plan, teacher: Mapping[str, Any]) -> dict[str, Any]:
    name = teacher["name"]

    def plain(tensor: str) -> str:
        return tensor.removeprefix(f"{name}.")

    def own(tensor: str) -> str:
        return f"teacher_{tensor.removeprefix(f'{name}_')}" if tensor.startswith(f"{name}_") else tensor

    terms = [
        {
            **{key: value for key, value in term.items() if key != "teacher"},
            "name": key_of(term),
            "target": list(map(plain, term["target"])),
            "prediction": list(map(plain, term["prediction"])),
        }
        for term in plan["terms"]
        if term.get("teacher", name) == name
    ]
    codecs = {
        f"{name}_codec": "teacher_codec",
        f"student_codec_for_{name}": "student_codec",
        "student_codec": "student_codec",
    }
    heard = [(codec, *codec["name"].split(".")) for codec in plan["codecs"]]
    return {
        **plan,
        "teacher": {
            **teacher,
            "segments": [{**segment, "output": own(segment["output"])} for segment in teacher["segments"]],
        },
        "terms": terms,
        "codecs": [
            {
                **codec,
                "name": f"{codecs[stem]}.{part}",
                **{key: {own(tensor): shape for tensor, shape in codec[key].items()} for key in ("inputs", "outputs")},
            }
            for codec, stem, part in heard
            if stem in codecs
        ],
    }
