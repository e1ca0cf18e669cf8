"""What must hold of a compiled graph, on random weights; and that what does not hold is refused."""

from __future__ import annotations

from dataclasses import replace

import keras
import pytest
import tensorflow as tf
from run_support import ROOT

from tdspec.errors import SpecError
from tdspec.graph import invariants
from tdspec.graph.compiler import build
from tdspec.run.prepare import compile_without_weights, describe
from tdspec.spec.load import Document, load

DIGITS, TWO = ROOT / "specs" / "digits.yaml", ROOT / "examples" / "8_two_teachers" / "spec.yaml"


def _digits(*overrides: str) -> Document:
    return load(DIGITS, list(overrides))


@pytest.mark.parametrize("method", ["scratch", "dist", "fitnet", "vkd", "talking_hybrid", "one_way_control_hybrid"])
def test_the_ladder_holds(method: str) -> None:
    invariants.check_invariants(_digits(f"method={method}"), describe)


def test_two_teachers_hold() -> None:
    invariants.check_invariants(load(TWO), describe)


def test_a_codec_that_no_term_trains() -> None:
    only = ("losses.message_consistency=0", "losses.state_consistency=0", "communication.detach=[answer]")
    with pytest.raises(
        SpecError, match=r"digits.yaml:\d+:\d+: error: losses: no term trains '.*' of .*_codec_"
    ) as caught:
        invariants.check_invariants(_digits(*only), describe)
    assert caught.value.diagnostics[0].hint == "give another term a weight"


def test_parts_of_another_model() -> None:
    compiled = build(_digits(), describe)
    features = {"image": tf.ones((2, 8, 8, 1), "uint8")}
    cut = compiled.student
    invariants._check_parts(compiled.document, "student", cut, features)
    assert cut.segments is not None
    other = keras.models.clone_model(cut.segments.upper)
    wrong = replace(cut, segments=replace(cut.segments, upper=other))
    with pytest.raises(SpecError, match="the parts of MLP do not give what it gives"):
        invariants._check_parts(compiled.document, "student", wrong, features)


def test_a_term_that_is_not_finite() -> None:
    compiled = build(load(ROOT / "specs" / "movielens_drama.yaml"), describe)
    features = {name: invariants._examples(name, tensor) for name, tensor in compiled.distiller.input.items()}
    kernel = compiled.distiller.trained_variables[0]
    kernel.assign(keras.ops.full(kernel.shape, float("nan")))
    with pytest.raises(SpecError, match="the term is nan on random weights"):
        invariants._check_terms(compiled, features)


def test_a_teacher_that_would_be_trained() -> None:
    compiled = build(_digits(), describe)
    assert compiled.teacher is not None
    compiled.distiller.trained_variables.append(compiled.teacher.whole.model.variables[0])
    with pytest.raises(SpecError, match=r"its weight '.*' would be trained"):
        invariants._check_teachers(compiled, {}, tf.GradientTape())


def test_large_models_are_not_tried() -> None:
    compiled = compile_without_weights(load(ROOT / "specs" / "vit_cifar10.yaml"))
    assert invariants.reason_not_to_try(compiled).endswith(" parameters")
    for name in ("digits", "movielens_drama"):
        document = load(ROOT / "specs" / f"{name}.yaml")
        assert invariants.reason_not_to_try(compile_without_weights(document)) == ""
