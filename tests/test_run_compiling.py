"""Whether a run is worth compiling: the rule at its limits, and what the specs that ship come to."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import pytest
from run_support import IMAGE, TEACHER, call, write_spec

from tdspec.graph.plan import plan_of
from tdspec.run import compiling
from tdspec.run.compiling import WORTH_FLOPS, WORTH_STEPS, Jit, jit_of
from tdspec.run.prepare import compile_without_weights
from tdspec.spec.load import load
from tdspec.spec.quantities import quantity

SPECS = Path(__file__).parents[1] / "specs"


def test_auto_counts_the_work_of_a_run() -> None:
    compiled = compile_without_weights(load(SPECS / "digits.yaml"))
    flops = plan_of(compiled)["cost"]["total"] * 64
    steps = 950  # 50 epochs of 1,257 digits
    assert steps < WORTH_STEPS and steps * flops < WORTH_FLOPS
    found = jit_of(compiled, steps)
    assert found.word == "off"
    said = io.StringIO()
    found.say(said)
    assert said.getvalue() == (
        f"the step runs without XLA: 950 steps of {quantity(flops, 'FLOP')} are over before compiling pays, from 4,000 "
        "steps or 1 TFLOP on (jit: on)\n"
    )
    assert jit_of(compiled, WORTH_STEPS - 1).word == "off"
    assert jit_of(compiled, WORTH_STEPS) == jit_of(compiled, None) == Jit("auto")


def test_few_steps_of_a_large_model_are_compiled() -> None:
    compiled = compile_without_weights(load(SPECS / "vit_imagenet.yaml"))
    flops = plan_of(compiled)["cost"]["total"] * compiled.document.spec.data.batch_size
    assert jit_of(compiled, 1 + WORTH_FLOPS // flops).word == "auto"


@pytest.mark.parametrize("word", ["on", "off"])
def test_what_the_spec_says_is_not_weighed(word: str) -> None:
    compiled = compile_without_weights(load(SPECS / "digits.yaml", [f"train.jit={word}"]))
    for steps in (1, WORTH_STEPS):
        found, said = jit_of(compiled, steps), io.StringIO()
        found.say(said)
        assert (found, said.getvalue()) == (Jit(word), "")


@pytest.mark.parametrize("words", [("train",), ("bench", "--steps=1")])
def test_what_xla_does_not_compile_is_said_by_the_command(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    image = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(image))
    keras.Model(image, keras.layers.Dense(5)(x)).save(tmp_path / "depthwise.keras")
    backbone = {"file": "depthwise.keras", "weights": "random"}
    student = {"backbone": backbone, "input": IMAGE, "head": {}}
    spec = write_spec(tmp_path / "depthwise.yaml", {**TEACHER, "student": student, "train": {"epochs": 1}})
    # as if one epoch were a run that is worth compiling
    monkeypatch.setattr(compiling, "WORTH_STEPS", 1)
    monkeypatch.chdir(tmp_path)
    ended = call(capfd, *words, str(spec))
    assert ended.code == 0
    expected = "the step runs without XLA: on a CPU XLA is many times slower with DepthwiseConv2dNative"
    assert sum(line.startswith(expected) for line in ended.err.splitlines()) == 1
