"""What the tests of texts share: a tiny preset made here, a corpus whose label depends on words, small specs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import yaml

GOOD = ("good", "fine", "great", "lovely")
BAD = ("bad", "poor", "awful", "dull")
NEUTRAL = ("the", "film", "was", "a", "story", "of", "two", "friends", "and", "it", "##s")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *NEUTRAL)
LENGTH = 16

BERT: Mapping[str, Any] = {
    "vocabulary_size": len(VOCABULARY),
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "max_sequence_length": 32,
    "dropout": 0.0,
}
TEXT: Mapping[str, Any] = {"column": "text", "length": LENGTH}


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Sentences of 3 to 12 words of which one decides the label; the lists of texts and labels."""
    generator = np.random.default_rng(seed)
    texts, labels = [], []
    for number in range(count):
        words = list(generator.choice(NEUTRAL[:-1], generator.integers(2, 12)))
        words.insert(int(generator.integers(len(words))), str(generator.choice(GOOD if number % 2 else BAD)))
        texts.append(" ".join(words))
        labels.append("positive" if number % 2 else "negative")
    return texts, labels


def write_corpus(folder: Path, count: int = 96) -> Path:
    """`reviews.csv` with the columns text, stars and sentiment."""
    path = folder / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "stars", "sentiment"])
        for number, (text, label) in enumerate(zip(*sentences(count), strict=True)):
            writer.writerow([text, number % 5, label])
    return path


def tokenizer(vocabulary: tuple[str, ...] = VOCABULARY) -> Any:
    return keras_hub.models.BertTokenizer(vocabulary=list(vocabulary), lowercase=True)


def write_preset(folder: Path, name: str = "bert_tiny", vocabulary: tuple[str, ...] = VOCABULARY) -> Path:
    """A preset folder with config, weights and tokenizer."""
    path = folder / name
    keras.utils.set_random_seed(3)
    keras_hub.models.BertBackbone(**{**BERT, "vocabulary_size": len(vocabulary)}).save_to_preset(str(path))
    tokenizer(vocabulary).save_to_preset(str(path))
    return path


def text_spec(**changes: Any) -> dict[str, Any]:
    """A student that talks with the preset of `write_preset`; changes replace whole sections."""
    return {
        "version": 1,
        "name": "text",
        "method": "talking",
        "data": {"source": "csv", "path": "reviews.csv", "batch_size": 16},
        "task": {"label": "sentiment", "num_classes": 2},
        "teacher": {"backbone": {"preset": "./bert_tiny"}, "input": dict(TEXT), "cut": {"low": 1, "high": 2}},
        "student": student(),
        "communication": {"message": {"dim": 6}, "encoder": {"type": "linear"}, "iterations": 1},
        "train": {"epochs": 2, "optimizer": {"learning_rate": 0.003}},
        **changes,
    }


def student(**changes: Any) -> dict[str, Any]:
    """The section `student`: a BERT of width 4."""
    return {
        "backbone": {"class": "BertBackbone", "config": {**BERT, "hidden_dim": 4, "intermediate_dim": 8}},
        "input": {**TEXT, "tokenizer": "./bert_tiny"},
        "cut": {"low": 1, "high": 2},
        **changes,
    }


def write_spec(folder: Path, values: Mapping[str, Any], name: str = "text.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(dict(values), sort_keys=False), "utf-8")
    return path
