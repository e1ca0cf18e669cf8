"""Texts become the tokens that keras-hub's own preprocessors give; what is no text is refused by its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pytest
from data_support import table_of, tiny
from text_support import LENGTH, sentences, tokenizer, write_corpus, write_preset

from tdspec.data.arrays_source import CsvSource, DigitsSource, NpzSource
from tdspec.data.features import InputColumn
from tdspec.data.pipeline import LoadedSplits, open_splits
from tdspec.data.text import encode, encode_column
from tdspec.data.tfds_source import open_tfds
from tdspec.errors import DataError
from tdspec.graph.text import TextInput
from tdspec.graph.tokenizers import read_tokenizer
from tdspec.spec.model import Splits

TEXTS = ["the good film", "a bad story of two friends and it was bad bad bad", "Films! xx", "film"]


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_preset(tmp_path_factory.mktemp("preset")))


def text_of(preset: str, length: int = LENGTH) -> TextInput:
    return TextInput("text", length, preset, read_tokenizer(preset).identity)


@pytest.mark.parametrize("length", [3, 8, 16])
def test_tokens_are_those_of_the_library_for_bert(preset: str, length: int) -> None:
    library = keras_hub.models.BertTextClassifierPreprocessor(tokenizer(), sequence_length=length)
    expected = {name: np.asarray(value) for name, value in library(TEXTS).items()}
    found = encode_column(np.array(TEXTS, object), text_of(preset, length), table_of(text=TEXTS), np.arange(4))
    assert set(found) == set(expected)
    for name, value in found.items():
        assert value.dtype == np.int32 and value.shape == (4, length)
        np.testing.assert_array_equal(value, expected[name].astype(int))


def test_tokens_are_those_of_the_library_for_gpt2(tmp_path: Path) -> None:
    merges = ["Ġ a", "a i", "ai r", "p l", "pl a", "Ġa t", "po rt", "p o", "r t", "Ġa ir", "i r"]
    parts = {letter for merge in merges for piece in (*merge.split(), merge.replace(" ", "")) for letter in (piece,)}
    words = ["!", *sorted(parts | set("airplneotĠ")), "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    end = len(words) - 1
    layer = keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=merges)
    layer.save_to_preset(str(tmp_path))
    texts = ["airplane at airport", "airport"]
    library = keras_hub.layers.StartEndPacker(8, start_value=end, end_value=end, pad_value=0, return_padding_mask=True)
    ids, mask = library(layer(texts))
    found_ids, found_mask = encode(texts, read_tokenizer(str(tmp_path)), 8)
    np.testing.assert_array_equal(found_ids, np.asarray(ids))
    np.testing.assert_array_equal(found_mask, np.asarray(mask).astype(int))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a film", "", "x"], "column 'text' has nothing in row 1, expected a text"),
        (["a film", "  ", "x"], "column 'text' has nothing in row 1, expected a text"),
        (["a film", "None", "x"], "column 'text' has 'None' in row 1, expected a text"),
        ([1.5, 2.0, 3.0], "column 'text' has 1.5 in row 0, expected a text"),
        (["12", "3", "7"], "column 'text' has 12 in row 0 and holds numbers only, expected texts"),
    ],
)
def test_what_is_no_text(preset: str, values: list[Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        encode_column(np.array(values, object), text_of(preset), table_of(text=values), np.arange(3))
    assert caught.value.message == message
    assert caught.value.hint


def test_a_row_that_is_not_used_may_be_empty(preset: str) -> None:
    found = encode_column(np.array(["", "film"], object), text_of(preset), table_of(text=["", "film"]), np.array([1]))
    assert found["padding_mask"].sum() == 3


def test_sources_of_texts(tmp_path: Path) -> None:
    texts, _ = sentences(96)
    assert CsvSource(str(write_corpus(tmp_path))).texts(["all"], "text").tolist() == texts
    np.savez(tmp_path / "texts.npz", text=np.array(texts), number=np.arange(96))
    source = NpzSource(str(tmp_path / "texts.npz"))
    assert source.texts(["all"], "text").tolist() == texts
    with pytest.raises(DataError, match="digits has none"):
        DigitsSource().texts(["all"], "image")


def test_texts_of_tensorflow_datasets(tmp_path: Path) -> None:
    source = open_tfds("tdspec_tiny", tiny(tmp_path))
    numbers = source.read(["test"], ["number"]).columns["number"].values
    assert source.texts(["test"], "name").tolist() == [f"n{number % 4}" for number in numbers]
    with pytest.raises(DataError, match="expected a text"):
        source.texts(["test"], "number")


def opened(folder: Path, preset: str, **changes: Any) -> LoadedSplits:
    columns = [InputColumn(name, "text", text=text_of(preset)) for name in ("token_ids", "padding_mask")]
    plain: dict[str, Any] = {
        "source": "csv",
        "name": None,
        "path": str(write_corpus(folder)),
        "splits": Splits(None, None, 0.5, 0.25, 0.25),
        "where": {},
        "labels_per_class": "all",
        "unlabeled": "drop",
        "augment": (),
        "label": "sentiment",
        "task_type": "classification",
        "num_classes": 2,
        "columns": columns,
        "resize_to": None,
        "seed": 0,
    }
    return open_splits(**{**plain, **changes})


def test_splits_filters_labels_and_the_fingerprint(tmp_path: Path, preset: str) -> None:
    whole = opened(tmp_path, preset)
    features, label, _ = next(iter(whole.test.batches(8, epoch=None)))
    texts, labels = sentences(96)
    ids, _ = encode([texts[row] for row in whole.test.rows[:8]], read_tokenizer(preset), LENGTH)
    np.testing.assert_array_equal(features["token_ids"], ids)
    assert label.numpy().tolist() == [int(labels[row] == "positive") for row in whole.test.rows[:8]]
    assert whole.class_names == ("negative", "positive")
    assert opened(tmp_path, preset).fingerprint == whole.fingerprint
    shorter = [InputColumn("token_ids", "text", text=text_of(preset, 8))]
    assert opened(tmp_path, preset, columns=shorter).fingerprint != whole.fingerprint
    assert opened(tmp_path, preset, labels_per_class=3).train.num_examples == 6
    filtered = opened(tmp_path, preset, where={"stars": 2})
    assert all(row % 5 == 2 for row in filtered.train.rows)


def test_a_column_that_does_not_exist(tmp_path: Path, preset: str) -> None:
    wrong = [InputColumn("token_ids", "text", text=TextInput("txt", LENGTH, preset, ""))]
    with pytest.raises(DataError, match="no column 'txt'") as caught:
        opened(tmp_path, preset, columns=wrong)
    assert caught.value.hint == "did you mean 'text'?"
