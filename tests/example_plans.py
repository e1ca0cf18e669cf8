"""Plans as plain data for the tests of what reads plans: one for each method, of the size of a ViT."""

from __future__ import annotations

from typing import Any

Plan = dict[str, Any]
STATES = ["student_low", "student_high"]
TOLD = ["student_low_told", "student_high_told"]
ALL_CODECS = ("student_codec.encode", "student_codec.decode", "teacher_codec.encode", "teacher_codec.decode")
DIMS = {"student": 384, "teacher": 768}
MESSAGE = [None, 50, 256]
R2 = "sum (target - prediction)^2 / sum (target - mean target over the batch)^2 = 1 - R^2"


def segment(name: str, output: str, layers: list[str], shape: list[int | None], parameters: int) -> Plan:
    listed = [
        {"name": layer, "class": "TransformerBlock", "output_shape": shape, "parameters": 0, "flops": 0}
        for layer in layers
    ]
    return {
        "name": name,
        "layers": listed,
        "output": output,
        "output_shape": shape,
        "parameters": parameters,
        "flops": 100 * parameters,
    }


def model(side: str, num_blocks: int, low: int, *, cut: bool, parameters: int) -> Plan:
    blocks = [f"transformer_block_{number}" for number in range(1, num_blocks + 1)]
    state, prediction = [None, 50, DIMS[side]], [None, 10]
    head = ["layer_norm", "predictions_dense_head"]
    segments = [segment("whole", f"{side}_prediction", [*blocks, *head], prediction, parameters)]
    if cut:
        segments = [
            segment("lower", f"{side}_low", ["rescaling", *blocks[:low]], state, parameters // 3),
            segment("middle", f"{side}_high", blocks[low:], state, parameters // 3),
            segment("upper", f"{side}_prediction", head, prediction, parameters // 3),
        ]
    return {
        "backbone": "ViTBackbone",
        "cut": {"low": blocks[low - 1], "high": blocks[-1]} if cut else None,
        "parameters": parameters,
        "flops": 100 * parameters,
        "segments": segments,
    }


def term(name: str, iterations: int = 1) -> Plan:
    target, prediction = {
        "task": (["label"], ["student_prediction"]),
        "logit": (["teacher_prediction"], ["student_prediction"]),
        "feature": (["teacher_message"], ["student_message"]),
        "message_consistency": (["teacher_message"], ["student_message"]),
        "fitnet": (STATES, TOLD),
        "state_consistency": (
            [*STATES, "teacher_low", "teacher_high"],
            [*TOLD, "teacher_low_told", "teacher_high_told"],
        ),
        "interaction": (
            STATES * iterations,
            [f"{state}_{number}" for number in range(1, iterations + 1) for state in STATES],
        ),
        "interpretation": (["teacher_high"] * iterations, [f"teacher_high_{k}" for k in range(1, iterations + 1)]),
    }[name]
    described = {"name": name, "weight": 0.5, "distance": "relative_l2", "formula": R2, "options": {}}
    return described | {"target": target, "prediction": prediction}


def codec(name: str, kind: str) -> Plan:
    side, verb = name.split("_")[0], name.split(".")[1]
    states: Plan = {f"{side}_{cut}": [None, 50, DIMS[side]] for cut in ("low", "high")}
    message: Plan = {f"{side}_message": MESSAGE}
    inputs, outputs = (states, message) if verb == "encode" else (message, states)
    parameters = 0 if kind == "identity" else 1312512
    described = {"name": name, "type": kind, "inputs": inputs, "outputs": outputs}
    return described | {"parameters": parameters, "flops": 100 * parameters}


def plan(
    method: str,
    terms: tuple[str, ...],
    codecs: tuple[str, ...] = (),
    *,
    iterations: int = 0,
    cut: bool = True,
    teacher: bool = True,
) -> Plan:
    sides = {
        "student": model("student", 4, 1, cut=cut, parameters=30455232),
        "teacher": model("teacher", 12, 4, cut=cut, parameters=87455232) if teacher else None,
    }
    listed = [
        codec(name, "identity" if method == "fitnet" and name == "teacher_codec.encode" else "mlp") for name in codecs
    ]
    parameters = {
        "teacher": 87455232 if teacher else 0,
        "student": 30455232,
        "codecs": sum(item["parameters"] for item in listed),
    }
    cost = {
        "student": 9 * 10**9,
        "teacher": 8 * 10**9 * teacher,
        "interaction": 10**10 * iterations,
        "codecs": 10**8 * bool(codecs),
    }
    return {
        "format": 1,
        "name": "vit_cifar10",
        "method": method,
        "spec_sha256": "0" * 64,
        "versions": {"tdspec": "0.1.0", "keras": "3.15.1"},
        "task": {"type": "classification", "num_classes": 10},
        "inputs": [{"name": "image", "shape": [None, None, None, 3], "dtype": "uint8"}],
        **sides,
        "message": {"dim": 256, "positions": [50]} if codecs else None,
        "iterations": iterations,
        "codecs": listed,
        "terms": [term(name, iterations) for name in terms],
        "totals": {"parameters": parameters | {"trained": parameters["student"] + parameters["codecs"]}},
        "cost": {"unit": "FLOPs per example and step", **cost, "total": sum(cost.values())},
    }


TALK = ("task", "interaction", "message_consistency", "state_consistency")
ENCODERS = ("student_codec.encode", "teacher_codec.encode")


def example_plans() -> dict[str, Plan]:
    """A fresh plan for each method, and for talking without and with one iteration, or without answers."""
    return {
        "scratch": plan("scratch", ("task",), cut=False, teacher=False),
        "logit": plan("logit", ("task", "logit"), cut=False),
        "feature": plan("feature", ("task", "feature"), ENCODERS),
        "fitnet": plan("fitnet", ("task", "fitnet"), ("student_codec.decode", "teacher_codec.encode")),
        "hybrid": plan("hybrid", ("task", "logit", "feature"), ENCODERS),
        "talking": plan("talking", TALK, ALL_CODECS, iterations=2),
        "talking_once": plan("talking", ("task", "interaction"), ALL_CODECS, iterations=1),
        "understood": plan(
            "talking",
            ("task", "interpretation"),
            ("student_codec.encode", "teacher_codec.decode"),
            iterations=1,
        ),
        "silent": plan("talking", ("task", "message_consistency", "state_consistency"), ALL_CODECS),
        "one_way_control": plan("one_way_control", TALK, ALL_CODECS, iterations=2),
        "one_way_control_hybrid": plan("one_way_control_hybrid", (*TALK, "logit"), ALL_CODECS, iterations=2),
    }
