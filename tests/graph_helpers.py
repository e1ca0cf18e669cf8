"""Small specs for the tests of the graph stage, and the method's equations written again in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from tdspec.data.info import SourceInfo, describe
from tdspec.graph.compiler import Compiled, build
from tdspec.spec.checks import TERMS
from tdspec.spec.load import Document, load

Array = np.ndarray[Any, Any]

SMALL_IMAGE = {"size": [8, 8], "channels": 1}
TINY_VIT = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12, "patch_size": 4}


def facts(document: Document) -> SourceInfo:
    """What the source of a spec declares."""
    data = document.spec.data
    column = document.spec.student.input.column
    return describe(source=data.source, name=data.name, path=data.path, label=document.spec.task.label, column=column)


def write(folder: Path, name: str, values: Mapping[str, Any]) -> Path:
    """Write a spec; the data are the embedded digits unless it says otherwise."""
    path = folder / f"{name}.yaml"
    content = {"version": 1, "name": name, "data": {"source": "digits", "batch_size": 8}, **values}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def mlp(*units: int, dropout: float = 0.0) -> dict[str, Any]:
    return {"mlp": {"units": list(units), "dropout": dropout}}


def vit(**changes: Any) -> dict[str, Any]:
    return {"class": "ViTBackbone", "config": {**TINY_VIT, **changes}, "weights": "random"}


def compiled(
    folder: Path,
    method: str = "talking",
    *,
    teacher: Any = None,
    student: Any = None,
    teacher_cut: tuple[Any, Any] = (1, 3),
    student_cut: tuple[Any, Any] = (1, 2),
    **sections: Any,
) -> Compiled:
    """Build a distillation of digits; without a backbone, a small MLP learns from the student of another small spec.

    Args:
        folder: where the specs are written.
        method: of the student's spec.
        teacher, student: the backbones' values.
        teacher_cut, student_cut: (low, high).
        sections: further sections of the spec; `student_head` and `task` also hold for the teacher's spec.
    """
    shared: dict[str, Any] = {key: sections[key] for key in ("task", "train") if key in sections}
    head = {"head": sections.pop("student_head")} if "student_head" in sections else {}
    if teacher is None:
        own = {"backbone": mlp(7, 6, 5), "input": SMALL_IMAGE}
        write(folder, "teacher", {"method": "scratch", "student": own, **shared})
        teacher = {"spec": "teacher.yaml"}
    image = {} if "spec" in teacher else {"input": SMALL_IMAGE}
    low, high = teacher_cut
    values = {
        "method": method,
        "teacher": {"backbone": teacher, "cut": {"low": low, "high": high}, **image},
        "student": {
            "backbone": student or mlp(5, 4),
            "input": SMALL_IMAGE,
            "cut": {"low": student_cut[0], "high": student_cut[1]},
            **head,
        },
        **sections,
    }
    return build(load(write(folder, "spec", values)), facts)


def pixels(count: int = 8, seed: int = 1) -> Array:
    """Images of the digits' shape, (count, 8, 8, 1) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1)).astype("uint8")


def only(method: str, name: str, **more: Any) -> dict[str, Any]:
    """Losses in which one term of a method is left, with `more` said about it."""
    return {term: {"weight": 1.0, **more} if term == name else 0.0 for term in TERMS[method]}


# The equations, in float64.


def l2(target: Array, prediction: Array) -> float:
    return float(np.mean((target - prediction) ** 2))


def relative_l2(target: Array, prediction: Array) -> float:
    return float(np.sum((target - prediction) ** 2) / np.sum((target - target.mean(axis=0)) ** 2))


DISTANCES: dict[str, Callable[[Array, Array], float]] = {"l2": l2, "relative_l2": relative_l2}


def dense(layer: keras.layers.Layer, x: Array) -> Array:
    kernel, bias = (np.asarray(weight, "float64") for weight in layer.get_weights())
    return x @ kernel + bias


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def inner(model: keras.Model, x: Array, mask: Array | None = None) -> Array:
    """What stands before the last Dense: nothing, Dense-ReLU, or transformer blocks (batch, ..., d)."""
    names = [layer.name for layer in model.layers]
    if "hidden" not in names:
        return x
    x = dense(model.get_layer("hidden"), x)
    if "position_embedding" not in names:
        return relu(x)
    shape = x.shape
    x = x.reshape(len(x), -1, shape[-1])
    x = x + np.asarray(model.get_layer("position_embedding").embedding, "float64")
    for number in range(1, sum(name.endswith("_attention") for name in names) + 1):
        part = {word: model.get_layer(f"block_{number}_{word}") for word in BLOCK}
        x = x + attention(part["attention"], norm(part["attention_norm"], x), mask)
        wide = dense(part["mlp_inner"], norm(part["mlp_norm"], x))
        x = x + dense(part["mlp_outer"], wide * (1 + ERF(wide / 2**0.5)) / 2)
    return norm(model.get_layer("norm"), x).reshape(shape)


BLOCK = ("attention_norm", "attention", "mlp_norm", "mlp_inner", "mlp_outer")
ERF = np.vectorize(math.erf)


def norm(layer: keras.layers.Layer, x: Array) -> Array:
    gamma, beta = (np.asarray(weight, "float64") for weight in layer.get_weights())
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.epsilon) * gamma + beta


def attention(layer: keras.layers.Layer, x: Array, mask: Array | None) -> Array:
    """softmax(q k^T / sqrt(d)) v over the positions that a mask (batch, positions) leaves, head by head."""
    query, query_bias, key, key_bias, value, value_bias, out, out_bias = (
        np.asarray(weight, "float64") for weight in layer.get_weights()
    )
    q, k, v = (
        np.einsum("bpd,dhk->bhpk", x, kernel) + bias[:, None]
        for kernel, bias in ((query, query_bias), (key, key_bias), (value, value_bias))
    )
    scores = np.exp(np.einsum("bhpk,bhqk->bhpq", q, k) / np.sqrt(q.shape[-1]))
    scores = scores if mask is None else scores * mask[:, None, None]
    share = scores / scores.sum(-1, keepdims=True)
    return np.einsum("bhpq,bhqk,hkd->bpd", share, v, out) + out_bias


def encode(model: keras.Model, low: Array, high: Array, mask: Array | None = None) -> Array:
    """E: Dense, or Dense-ReLU-Dense, or Dense-blocks-Dense, of the two states side by side."""
    x = inner(model, np.concatenate([low, high], axis=-1), mask)
    return dense(model.get_layer("message"), x) if any(layer.get_weights() for layer in model.layers) else x


def decode(model: keras.Model, message: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """D: the mirror of E, one Dense for each state; the second is empty where nobody asks for it."""
    names = [layer.name for layer in model.layers]
    x = inner(model, message, mask)
    high = dense(model.get_layer("high"), x) if "high" in names else np.zeros(0)
    return dense(model.get_layer("low"), x), high


@dataclass(frozen=True)
class Talker:
    """One model: its states and prediction on the data, its middle part, and E and D."""

    low: Array
    high: Array
    prediction: Array
    middle: Callable[[Array], Array]
    encode: Callable[[Array, Array], Array]
    decode: Callable[[Array], tuple[Array, Array]]


def codec_of(found: Compiled, side: str) -> dict[str, Any]:
    codec: Any = getattr(found.distiller, f"{side}_codec")
    return {
        "encode": lambda low, high: encode(codec.encode, low, high),
        "decode": lambda message: decode(codec.decode, message),
    }


def mlp_talker(found: Compiled, side: str, images: Array, low: int, high: int) -> Talker:
    """A model of Dense layers, forward in numpy from its kernels."""
    graph = getattr(found, side).whole.graph

    def run(x: Array, first: int, last: int) -> Array:
        for number in range(first, last + 1):
            x = relu(dense(graph.get_layer(f"dense_{number}"), x))
        return x

    state = run(images.reshape(len(images), -1) / 255.0, 1, low)
    end = run(state, low + 1, high)
    return Talker(
        state,
        end,
        dense(graph.get_layer("prediction"), end),
        lambda x: run(x, low + 1, high),
        **codec_of(found, side),
    )


def expected_terms(
    student: Talker, teacher: Talker, distance: Callable[[Array, Array], float], iterations: int, *, control: bool
) -> dict[str, float]:
    """Interaction, interpretation, message and state consistency, fitnet: step by step as the equations read."""

    def both(low: Array, high: Array, heard: tuple[Array, Array]) -> float:
        return distance(low, heard[0]) + distance(high, heard[1])

    student_message = student.encode(student.low, student.high)
    teacher_message = teacher.encode(teacher.low, teacher.high)
    question = teacher_message if control else student_message
    interaction = interpretation = 0.0
    for _ in range(iterations):
        teacher_low, _ = teacher.decode(question)
        teacher_high = teacher.middle(teacher_low)
        answer = teacher.encode(teacher_low, teacher_high)
        interpretation += distance(teacher.high, teacher_high)
        heard = student.decode(answer)
        interaction += both(student.low, student.high, heard)
        question = answer if control else student.encode(heard[0], student.middle(heard[0]))
    told = both(student.low, student.high, student.decode(teacher_message))
    terms = {
        "interaction": interaction,
        "interpretation": interpretation,
        "message_consistency": distance(teacher_message, student_message),
    }
    if control or teacher.decode(student_message)[1].size:
        terms["state_consistency"] = told + both(teacher.low, teacher.high, teacher.decode(student_message))
    return terms | {"feature": terms["message_consistency"], "fitnet": told}


def slow_but(quick: Collection[str], values: Iterable[str]) -> list[Any]:
    """The parameters of a test of which only those named in `quick` do not count as slow."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
