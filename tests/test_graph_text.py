"""Models of texts: padding never counts, one tokenization for both sides, and what does not fit is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from graph_helpers import facts
from text_support import BERT, LENGTH, TEXT, VOCABULARY, sentences, student, text_spec, write_preset, write_spec

from tdspec.data.text import encode
from tdspec.errors import GraphError, SpecError
from tdspec.graph.compiler import Compiled, build
from tdspec.graph.text import masked_max, masked_mean, pooling_steps
from tdspec.graph.tokenizers import read_tokenizer
from tdspec.spec.load import load

DISTIL = {
    "class": "DistilBertBackbone",
    "config": dict(BERT),
}
GPT2 = {
    "class": "GPT2Backbone",
    "config": dict(BERT),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("texts")
    write_preset(made)
    return made


def compiled(folder: Path, **changes: Any) -> Compiled:
    return build(load(write_spec(folder, text_spec(**changes))), facts)


def refusal(folder: Path, **changes: Any) -> tuple[str, str, str]:
    with pytest.raises(SpecError) as caught:
        compiled(folder, **changes)
    (found,) = caught.value.diagnostics
    return found.key, found.message, found.hint


def features(folder: Path, length: int) -> dict[str, Any]:
    ids, mask = encode(sentences(6)[0], read_tokenizer(str(folder / "bert_tiny")), length)
    return {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}


def alone(folder: Path, length: int, pooling: str, backbone: dict[str, Any] | None = None) -> keras.Model:
    part = student(input={**TEXT, "length": length, "tokenizer": "./bert_tiny"}, head={"pooling": pooling})
    if backbone is not None:
        part["backbone"] = backbone
    part.pop("cut")
    spec = text_spec(method="scratch", student=part)
    del spec["teacher"], spec["communication"]
    return build(load(write_spec(folder, spec)), facts).distiller.student


@pytest.mark.parametrize("backbone", [None, DISTIL, GPT2], ids=["bert", "distil", "gpt2"])
@pytest.mark.parametrize("pooling", ["auto", "token", "mean", "max"])
def test_predictions_do_not_depend_on_how_much_padding_follows(
    folder: Path, pooling: str, backbone: dict[str, Any] | None
) -> None:
    if backbone is GPT2 and pooling == "token":
        pytest.skip("its first token sees nothing")
    short, long = (alone(folder, length, pooling, backbone) for length in (16, 32))
    for old, new in zip(short.weights, long.weights, strict=True):
        new.assign(old)
    answers = []
    for model, length in ((short, 16), (long, 32)):
        fed = {name: value for name, value in features(folder, length).items() if name in model.input}
        answers.append(np.asarray(model(fed)))
    assert np.ptp(answers[0]) > 1e-3
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


def test_masked_pooling() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], "int32")
    expected = np.stack([x[0, :2].mean(0), x[1].mean(0)])
    np.testing.assert_allclose(masked_mean(x, mask), expected, rtol=1e-6)
    np.testing.assert_allclose(masked_max(x, mask), np.stack([x[0, :2].max(0), x[1].max(0)]))


@pytest.mark.parametrize(("pooling", "causal"), [("flatten", False), ("token", True)])
def test_pooling_that_padding_would_spoil(pooling: str, causal: bool) -> None:
    with pytest.raises(GraphError):
        pooling_steps(pooling, 4, keras.Input((4,)), causal=causal)


def test_both_models_read_one_tokenization(folder: Path) -> None:
    found = compiled(folder)
    assert set(found.distiller.input) == {"token_ids", "padding_mask", "segment_ids"}
    assert found.student.whole.mask == found.teacher.whole.mask == "padding_mask"  # type: ignore[union-attr]
    assert found.student.whole.text.length == LENGTH  # type: ignore[union-attr]
    tensors = found.distiller(features(folder, LENGTH))
    assert tensors["student_prediction"].shape == (6, 2)


def test_segments_are_the_model(folder: Path) -> None:
    found = compiled(folder)
    segments = found.student.segments
    fed = {name: keras.ops.convert_to_tensor(value) for name, value in features(folder, LENGTH).items()}
    assert segments is not None
    mask = fed["padding_mask"]
    state = segments.lower(fed)
    for part in (segments.middle, segments.upper):
        state = part([state, mask] if len(part.inputs) > 1 else state)
    np.testing.assert_array_equal(state, found.distiller.student(fed))


def test_the_pooler_is_left_out(folder: Path) -> None:
    assert not [variable for variable in compiled(folder).distiller.student.weights if "pooled" in variable.path]


def test_an_equal_tokenizer_in_another_folder_or_of_another_bert(folder: Path) -> None:
    shutil.copytree(folder / "bert_tiny", folder / "elsewhere", dirs_exist_ok=True)
    layer = keras_hub.models.DistilBertTokenizer(vocabulary=list(VOCABULARY), lowercase=True)
    layer.save_to_preset(str(folder / "distil"))
    for name in ("elsewhere", "distil"):
        assert compiled(folder, student=student(input={**TEXT, "tokenizer": f"./{name}"})).teacher is not None


def test_a_distilbert_student_has_fewer_inputs(folder: Path) -> None:
    found = compiled(folder, student=student(backbone=DISTIL))
    assert set(found.distiller.student.input) == {"token_ids", "padding_mask"}
    assert set(found.distiller.input) == {"token_ids", "padding_mask", "segment_ids"}


def test_another_tokenizer(folder: Path) -> None:
    write_preset(folder, "other", VOCABULARY[:-1][::-1])
    key, message, hint = refusal(folder, student=student(input={**TEXT, "tokenizer": "./other"}))
    assert key == "student.input.tokenizer"
    assert "the teacher's is another" in message and "do not correspond" in hint


def _changed(**words: Any) -> dict[str, Any]:
    return student(input={**TEXT, "tokenizer": "./bert_tiny", **words})


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        (_changed(column="title"), "column", "found 'title', the teacher reads 'text'"),
        (_changed(length=64), "length", "found 64, the max_sequence_length of BertBackbone is 32"),
        (_changed(length="auto"), "length", "found 32 tokens, the teacher reads 16"),
        (_changed(column="image"), "column", "found nothing, BertBackbone reads a text"),
        (_changed(tokenizer="./nowhere"), "tokenizer", "no preset folder or name"),
        (
            student(
                backbone={"class": "BertBackbone", "config": {**BERT, "vocabulary_size": 9}},
                input={**TEXT, "tokenizer": "./bert_tiny"},
            ),
            "tokenizer",
            f"the tokenizer has {len(VOCABULARY)} ids, the vocabulary_size of BertBackbone is 9",
        ),
        (
            student(input={"column": "text"}),
            "tokenizer",
            "found nothing, BertBackbone reads a text and comes without a tokenizer",
        ),
    ],
    ids=["column", "too_long", "auto", "image", "nowhere", "vocabulary", "no_tokenizer"],
)
def test_words_that_do_not_fit(folder: Path, section: dict[str, Any], key: str, message: str) -> None:
    if key == "length" and section["input"]["length"] == 64:
        teacher = text_spec()["teacher"]
        found = refusal(folder, student=section, teacher={**teacher, "input": {**TEXT, "length": 64}})
    else:
        found = refusal(folder, student=section)
    assert found[0] == f"student.input.{key}"
    assert found[1].startswith(message), found
    assert found[2]


def test_words_of_images_beside_a_text_that_says_nothing_else(folder: Path) -> None:
    section = student(input={"column": "text", "scale": [-1, 1]})
    assert refusal(folder, student=section)[:2] == (
        "student.input.scale",
        "found a word about an image, BertBackbone reads a text",
    )


def test_words_of_texts_beside_an_image(folder: Path) -> None:
    config = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16, "patch_size": 4}
    section = student(
        backbone={"class": "ViTBackbone", "config": config}, input={"length": 16, "tokenizer": "./bert_tiny"}
    )
    found = refusal(folder, student=section)
    assert found[0] == "student.backbone.class" or found[1] == "found a word about a text, ViTBackbone reads no text"


def test_augment(folder: Path) -> None:
    spec = text_spec()
    teacher, part = ({**spec[side], "input": {"column": "text"}} for side in ("teacher", "student"))
    part["backbone"] = {"preset": "./bert_tiny"}
    data = {**spec["data"], "augment": ["flip"]}
    assert refusal(folder, data=data, teacher=teacher, student=part)[0] == "data.augment"


def test_a_backbone_without_a_mask(folder: Path) -> None:
    config = {name: BERT[name] for name in ("vocabulary_size", "num_layers", "hidden_dim", "intermediate_dim")}
    key, message, _ = refusal(folder, student=student(backbone={"class": "FNetBackbone", "config": config}))
    assert (key, "takes no padding mask" in message) == ("student.backbone", True)


def test_a_folder_that_holds_no_tokenizer(folder: Path) -> None:
    keras_hub.models.BertBackbone(**BERT).save_to_preset(str(folder / "bare"))
    key, message, _ = refusal(folder, student=_changed(tokenizer="./bare"))
    assert key == "student.input.tokenizer" and "holds no tokenizer" in message


def test_a_tokenizer_that_cannot_be_read(folder: Path) -> None:
    shutil.copytree(folder / "bert_tiny", folder / "broken", dirs_exist_ok=True)
    (folder / "broken" / "tokenizer.json").write_text('{"module": "keras_hub', "utf-8")
    key, message, _ = refusal(folder, student=_changed(tokenizer="./broken"))
    assert key == "student.input.tokenizer" and "cannot be read" in message
