"""The parts of steps of other kinds: several teachers, a text with padding, one-way methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import compiled, vit
from several_teachers import COARSE, DEEP, compiled_with
from text_support import text_spec, write_corpus, write_preset, write_spec

from tdspec.graph.compiler import Compiled, build
from tdspec.run.bench_feed import random_batch
from tdspec.run.bench_parts import Part, parts_of
from tdspec.run.prepare import compile_optimizer, describe
from tdspec.spec.load import load


def parts(found: Compiled) -> dict[str, Part]:
    """By name the parts, each of which runs."""
    compile_optimizer(found, schedule="constant", total_steps=1000)
    made = {part.name: part for part in parts_of(found, random_batch(found))}
    for part in made.values():
        _, results = part.run(tf.zeros(()), part.arguments)
        assert all(np.isfinite(result).all() for result in results)
    return made


def shapes(part: Part) -> list[list[tuple[int, ...]]]:
    """Of what each call reads."""
    return [[tuple(tensor.shape) for tensor in given] for given in part.arguments]


def test_each_of_several_teachers_interprets(tmp_path: Path) -> None:
    found = parts(compiled_with(tmp_path, "talking", [DEEP, COARSE]))
    assert sorted(shapes(found["interaction"])) == [[(8, 5, 8)], [(8, 7)]]


@pytest.mark.parametrize(("method", "missing"), [("logit", {"interaction", "codecs"}), ("feature", {"interaction"})])
def test_one_way(tmp_path: Path, method: str, missing: set[str]) -> None:
    found = parts(compiled(tmp_path, method))
    assert {"interaction", "codecs"} - set(found) == missing
    assert "teacher" in found


def test_grids_and_sequences(tmp_path: Path) -> None:
    more: dict[str, Any] = {"student_head": {"pooling": "token", "dropout": 0.2}}
    found = parts(compiled(tmp_path, teacher=vit(num_layers=3), student=vit(hidden_dim=6), **more))
    assert shapes(found["interaction"]) == [[(8, 5, 8)]]


def test_a_text_is_fed_with_its_padding(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    write_preset(tmp_path)
    found = parts(build(load(write_spec(tmp_path, text_spec())), describe))
    ((state, *masks),) = shapes(found["interaction"])
    assert state == (16, 16, 8) and masks
