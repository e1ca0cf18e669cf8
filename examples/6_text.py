"""Texts: a BERT from a local preset teaches a smaller one, with one tokenizer for both.

python examples/6_text.py
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import keras_hub
import numpy as np

GOOD, BAD = ("good", "great", "lovely", "clever"), ("bad", "poor", "awful", "dull")
OTHER = ("the", "film", "was", "a", "story", "of", "two", "friends", "and", "it")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *OTHER]
BERT = {"vocabulary_size": len(VOCABULARY), "num_heads": 2, "max_sequence_length": 16}

COMMON = """
data: {source: csv, path: reviews.csv, batch_size: 64}
task: {label: sentiment, num_classes: 2}
"""
TEACHER = f"""version: 1
name: text_teacher
method: scratch
{COMMON}student:
  backbone: {{preset: ./bert_tiny}}
  input: {{column: text, length: 16}}
train: {{epochs: 5, optimizer: {{learning_rate: 0.003}}}}
"""
STUDENT = f"""version: 1
name: text
method: talking
{COMMON}teacher:
  backbone: {{spec: teacher.yaml}}
  cut: {{low: 1, high: 2}}
student:
  backbone:
    class: BertBackbone
    config: {{vocabulary_size: {len(VOCABULARY)}, num_layers: 2, num_heads: 2, hidden_dim: 8,
             intermediate_dim: 16, max_sequence_length: 16, dropout: 0.0}}
  input: {{column: text, length: 16, tokenizer: ./bert_tiny}}
  cut: {{low: 1, high: 2}}
# token by token; padding is neither attended to nor compared
communication: {{message: {{dim: 16}}, encoder: {{type: mlp, hidden_dim: 16}}, iterations: 1}}
train: {{epochs: 5, optimizer: {{learning_rate: 0.003}}}}
"""


def write_preset(folder: Path) -> None:
    """A tiny BERT with its tokenizer, as a preset folder; in earnest it would be a download, trained on much text."""
    keras.utils.set_random_seed(0)
    bert = keras_hub.models.BertBackbone(**BERT, num_layers=2, hidden_dim=32, intermediate_dim=64, dropout=0.0)
    bert.save_to_preset(str(folder / "bert_tiny"))
    keras_hub.models.BertTokenizer(vocabulary=VOCABULARY, lowercase=True).save_to_preset(str(folder / "bert_tiny"))


def write_reviews(folder: Path, count: int = 2000) -> None:
    """Reviews of 4 to 12 words, of which one is praise or blame."""
    random = np.random.default_rng(0)
    with open(folder / "reviews.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "sentiment"])
        for _ in range(count):
            is_good = random.integers(2)
            words = list(map(str, random.choice(OTHER, random.integers(3, 12))))
            words.insert(int(random.integers(len(words) + 1)), str(random.choice(GOOD if is_good else BAD)))
            writer.writerow([" ".join(words), "positive" if is_good else "negative"])


def main() -> None:
    """Make preset and reviews, write two specs, and call tdspec; the teacher is trained first."""
    folder = Path(tempfile.mkdtemp())
    write_preset(folder)
    write_reviews(folder)
    (folder / "teacher.yaml").write_text(TEACHER)
    (folder / "text.yaml").write_text(STUDENT)
    subprocess.run([sys.executable, "-m", "tdspec", "train", "text.yaml"], cwd=folder, check=True)


if __name__ == "__main__":
    main()
