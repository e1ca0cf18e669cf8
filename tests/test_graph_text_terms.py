"""Terms that compare the states of texts: padding never counts, in any method and by any distance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import Array, Talker, decode, encode, expected_terms
from text_support import LENGTH, TEXT, VOCABULARY, student, text_spec, write_corpus, write_preset, write_spec

from tdspec.errors import SpecError
from tdspec.graph.compiler import build
from tdspec.run.prepare import describe
from tdspec.spec.checks import TERMS
from tdspec.spec.load import load

METHODS = ["feature", "fitnet", "vkd", "relational", "attention", "manifold", "talking", "one_way_control"]
COUNTS = np.array([4, 7, 16, 5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("masks")
    write_corpus(made)
    write_preset(made)
    return made


def _batch(seed: int) -> dict[str, Array]:
    """Texts of 4 to 16 tokens; what stands behind them depends on the seed."""
    mask = (np.arange(LENGTH) < COUNTS[:, None]).astype("int32")
    ids = np.random.default_rng(0).integers(5, len(VOCABULARY), (4, LENGTH))
    behind = np.random.default_rng(seed).integers(0, len(VOCABULARY), (4, LENGTH))
    token_ids = np.where(mask == 1, ids, behind).astype("int32")
    return {"token_ids": token_ids, "padding_mask": mask, "segment_ids": np.zeros_like(mask)}


def _built(folder: Path, method: str, **changes: Any) -> Any:
    return build(load(write_spec(folder, text_spec(method=method, **changes), f"{method}.yaml")), describe)


def _compiled(folder: Path, method: str, **changes: Any) -> Any:
    return _built(folder, method, **changes).distiller


def _values(distiller: Any, batch: dict[str, Array]) -> dict[str, Array]:
    tensors = distiller(batch, training=False)
    values = distiller.term_values(tensors, np.array([0, 1, 0, 1]), np.ones(4, "float32"))
    return {name: np.asarray(value) for name, value in values.items()}


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_behind_a_text_does_not_count(folder: Path, method: str) -> None:
    distiller = _compiled(folder, method)
    one, two = (_values(distiller, _batch(seed)) for seed in (1, 2))
    assert len(one) > 1 and all(np.any(value) for value in one.values())
    for name, value in one.items():
        assert np.allclose(value, two[name], rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("distance", ["l2", "cosine", "kl", "manifold"])
def test_nor_by_another_distance(folder: Path, distance: str) -> None:
    terms = ("interaction", "interpretation", "state_consistency")
    losses = {term: {"weight": 0.5, "distance": distance} for term in terms}
    distiller = _compiled(folder, "talking", losses=losses)
    one, two = (_values(distiller, _batch(seed)) for seed in (1, 2))
    for name, value in one.items():
        assert np.allclose(value, two[name], rtol=1e-4, atol=1e-5), name


# A message of one vector, states that are vectors, and attention between tokens.
ATTENTION = {"type": "transformer", "hidden_dim": 8, "num_heads": 2}
TALKS: dict[str, dict[str, Any]] = {
    "message": {"communication": {"message": {"dim": 6, "positions": "vector"}, "iterations": 2}},
    "high": {"student": student(cut={"low": 1, "high": "head_pooling"})},
    "one_token": {"student": student(cut={"low": 1, "high": "first_token"})},
    "student": {
        "student": student(cut={"low": "head_pooling", "high": "head_pooling"}),
        "communication": {"message": {"dim": 6}, "iterations": 0},
    },
    "transformer": {"communication": {"message": {"dim": 6}, "encoder": ATTENTION, "iterations": 2}},
}
STATE_TERMS = ("interaction", "message_consistency", "state_consistency", "fitnet")


def _gradients(distiller: Any, batch: dict[str, Array]) -> dict[str, Array]:
    """Of the sum of all terms, at everything that is trained."""
    with tf.GradientTape() as tape:
        tensors = distiller(batch, training=False)
        values = distiller.term_values(tensors, np.array([0, 1, 0, 1]), np.ones(4, "float32"))
        loss = sum(tf.reduce_mean(value) for value in values.values())
    variables = distiller.trained_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables], unconnected_gradients="zero")
    return {
        f"{number} {variable.path}": tf.convert_to_tensor(gradient).numpy()
        for number, (variable, gradient) in enumerate(zip(variables, gradients, strict=True))
    }


@pytest.mark.parametrize("method", ["talking", "fitnet"])
@pytest.mark.parametrize("talk", list(TALKS))
def test_nor_through_vectors_or_attention(folder: Path, talk: str, method: str) -> None:
    distiller = _compiled(folder, method, **TALKS[talk])
    one, two = (_values(distiller, _batch(seed)) for seed in (1, 2))
    for name, value in one.items():
        assert np.any(value), name
        assert np.allclose(value, two[name], rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("talk", list(TALKS))
def test_nor_in_any_gradient(folder: Path, talk: str) -> None:
    losses = {name: {"distance": "l2"} for name in TERMS["talking"] if name in STATE_TERMS}
    distiller = _compiled(folder, "talking", losses=losses, **TALKS[talk])
    one, two = (_gradients(distiller, _batch(seed)) for seed in (1, 2))
    largest = max(np.abs(gradient).max() for gradient in one.values())
    for name, gradient in one.items():
        # BERT's normalisation has an epsilon of 1e-12, which makes of noise in a flat state a large gradient
        assert np.allclose(gradient, two[name], rtol=1e-2, atol=1e-4 * largest), name


def _talker(found: Any, side: str, batch: dict[str, Array], message_is_vector: bool) -> Talker:
    """A side in numpy but for its frozen segments; states and messages are tokens (4, 16, d) or vectors (4, d)."""
    mask = batch["padding_mask"]
    share = mask / mask.sum(1, keepdims=True)
    segments, codec = getattr(found, side).segments, getattr(found.distiller, f"{side}_codec")
    fed = {name: tf.constant(value) for name, value in batch.items()}

    def part(model: Any, state: Array) -> Array:
        return np.asarray(model([tf.constant(state, "float32"), fed["padding_mask"]][: len(model.inputs)]), "float64")

    low = np.asarray(segments.lower({name: fed[name] for name in segments.lower.input}), "float64")
    high = part(segments.middle, low)

    def moved(state: Array, to_vector: bool) -> Array:
        if to_vector:
            return np.einsum("bp,bpd->bd", share, state) if state.ndim == 3 else state
        return state if state.ndim == 3 else np.repeat(state[:, None], LENGTH, axis=1)

    def tell(low: Array, high: Array) -> Array:
        return encode(codec.encode, *(moved(state, message_is_vector) for state in (low, high)), mask)

    def hear(message: Array) -> tuple[Array, Array]:
        told = decode(codec.decode, message, mask)
        first, second = (
            moved(state, own.ndim == 2) if state.size else state for state, own in zip(told, (low, high), strict=True)
        )
        return first, second

    prediction = part(segments.upper, high)
    return Talker(low, high, prediction, lambda state: part(segments.middle, state), tell, hear)


def _distance(kind: str, mask: Array) -> Callable[[Array, Array], float]:
    """The mean over examples of the mean over tokens that count, or one less the explained variance over these."""

    def distance(target: Array, prediction: Array) -> float:
        weights = np.ones((len(mask), 1)) if target.ndim == 2 else mask
        target, prediction = (x.reshape(*weights.shape, -1) for x in (target, prediction))
        squares = ((target - prediction) ** 2).mean(-1)
        if kind == "l2":
            return float(((squares * weights).sum(1) / weights.sum(1)).mean())
        mean = (target * weights[..., None]).sum(0) / np.maximum(weights.sum(0), 1)[:, None]
        return float((squares * weights).sum() / (((target - mean) ** 2).mean(-1) * weights).sum())

    return distance


@pytest.mark.parametrize("distance", ["l2", "relative_l2"])
@pytest.mark.parametrize("talk", ["message", "high", "student", "transformer"])
def test_every_term_is_that_of_the_equations(folder: Path, talk: str, distance: str) -> None:
    losses = {name: {"distance": distance} for name in TERMS["talking"] if name in STATE_TERMS}
    changes = {"communication": {"message": {"dim": 6}, "iterations": 1}, **TALKS[talk]}
    found = _built(folder, "talking", losses=losses, **changes)
    batch = _batch(1)
    student_side, teacher = (_talker(found, side, batch, talk != "transformer") for side in ("student", "teacher"))
    iterations = changes["communication"]["iterations"]
    expected = expected_terms(
        student_side, teacher, _distance(distance, batch["padding_mask"]), iterations, control=False
    )
    values = {name: value for name, value in _values(found.distiller, batch).items() if name != "task"}
    assert len(values) == (3 if iterations else 2)
    for name, value in values.items():
        assert np.mean(value) == pytest.approx(expected[name], rel=1e-3), name


def test_relations_of_a_vector_and_of_tokens(folder: Path) -> None:
    """The mask is that of the tokens; a vector is what it is."""
    distiller = _compiled(folder, "relational", **TALKS["high"])
    (term,) = [term for term in distiller.terms if term.name == "relational"]
    assert term.given == {"mask": ("padding_mask",)}
    one, two = (_values(distiller, _batch(seed))["relational"] for seed in (1, 2))
    assert np.allclose(one, two, rtol=1e-4, atol=1e-5) and np.any(one)


def test_masks_are_told_pair_by_pair(folder: Path) -> None:
    terms = {term.name: term for term in _compiled(folder, "talking", **TALKS["high"]).terms}
    tokens, nothing = "padding_mask", ""
    assert terms["interaction"].given == {"mask": (tokens, nothing)}
    assert terms["message_consistency"].given == {}
    assert terms["state_consistency"].given == {"mask": (tokens, nothing, tokens, tokens)}


@pytest.mark.parametrize("positions", [[2, 8], [4, 4]])
def test_a_message_on_a_grid_is_refused(folder: Path, positions: list[int]) -> None:
    with pytest.raises(SpecError) as caught:
        _compiled(folder, "talking", communication={"message": {"dim": 6, "positions": positions}})
    (found,) = caught.value.diagnostics
    assert found.key == "communication.message.positions" and found.hint == "write positions: auto or vector"
    assert found.message.endswith("which are not the 16 tokens of the text: padding would count")


def test_a_state_of_other_positions_is_refused(folder: Path) -> None:
    """A model of the user's own that shortens the text."""
    path = _shortening(folder)
    section = {"backbone": {"file": path.name}, "input": {**TEXT, "tokenizer": "./bert_tiny"}}
    with pytest.raises(SpecError) as caught:
        _compiled(folder, "talking", student={**section, "cut": {"low": "tokens", "high": "halves"}})
    (found,) = caught.value.diagnostics
    assert found.key == "student.cut.high" and found.message.startswith("found 8 positions")
    assert found.hint == "cut where the state is the text's tokens, or one vector"


def _shortening(folder: Path) -> Path:
    ids, mask = (keras.Input((LENGTH,), dtype="int32", name=name) for name in ("token_ids", "padding_mask"))
    x = keras.layers.Embedding(len(VOCABULARY), 4)(ids)
    x = keras.layers.Multiply()([x, keras.layers.Reshape((LENGTH, 1))(mask)])
    x = keras.layers.Dense(4, name="tokens")(x)
    model = keras.Model({"token_ids": ids, "padding_mask": mask}, keras.layers.AveragePooling1D(2, name="halves")(x))
    model.save(folder / "shortening.keras")
    return folder / "shortening.keras"


def test_a_student_that_reads_no_text(folder: Path) -> None:
    """Its vectors are compared with the teacher's tokens through a message of one vector."""
    columns = {"mlp": {"units": [4, 4], "features": {"stars": {"type": "number"}}}}
    distiller = _compiled(folder, "talking", student={"backbone": columns, "cut": {"low": 1, "high": 2}})
    stars = np.arange(4, dtype="float32")
    one, two = (_values(distiller, {**_batch(seed), "stars": stars}) for seed in (1, 2))
    for name, value in one.items():
        assert np.allclose(value, two[name], rtol=1e-4, atol=1e-5), name
