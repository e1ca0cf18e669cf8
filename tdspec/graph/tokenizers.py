"""Tokenizers of keras-hub presets, and what makes two of them the same.

In: a preset's folder. Out: a `Tokenizer`: its ids, the ids around and behind a text, and a hash of what it does.
Leaves out: running it over examples (`data/text.py`), which backbone reads the ids (`text.py`).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import keras_hub

from tdspec.errors import GraphError
from tdspec.graph.presets import preset_folder

TOKENIZER_FILE = "tokenizer.json"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)
# Where and how a tokenizer was made says nothing of the ids it gives.
ACCIDENTAL = ("name", "trainable", "dtype", "config_file", "sequence_length")


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """How a text becomes numbers.

    Attributes:
        layer: texts (batch,) -> ids int32 (batch, tokens), ragged.
        start, end: ids before and behind each text, () for none.
        pad: the id behind its end.
        vocabulary_size: how many ids there are.
        identity: hash of the kind, its settings and its vocabulary; equal ones give equal ids.
    """

    layer: Any
    start: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    vocabulary_size: int
    identity: str


def tokenizer_folder(preset: str) -> Path:
    """The folder of a preset that is on this machine and holds a tokenizer.

    Args:
        preset: a folder, or a name that keras-hub knows.

    Raises:
        GraphError: it is not on this machine, or holds none.
    """
    folder = preset_folder(preset)
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        raise GraphError(f"preset '{preset}' holds no tokenizer", f"one with {TOKENIZER_FILE} and assets/ is wanted")
    return folder


@lru_cache(maxsize=8)
def read_tokenizer(folder: str) -> Tokenizer:
    """Read the tokenizer of a preset.

    Args:
        folder: what `tokenizer_folder` gives.

    Raises:
        GraphError: it cannot be read.
    """
    try:
        layer = _layer(Path(folder))
        identity = _identity(layer)
        size = int(layer.vocabulary_size())
    except UNREADABLE as error:
        text = str(error).strip() or type(error).__name__
        reason = text.splitlines()[0].partition(". ")[0].rstrip(".")
        raise GraphError(f"the tokenizer of preset '{folder}' cannot be read: {reason}") from error
    start, end = (_special(layer, word) for word in ("start_token_id", "end_token_id"))
    return Tokenizer(layer, start, end, (*_special(layer, "pad_token_id"), 0)[0], size, identity)


def _layer(folder: Path) -> Any:
    options = {"dtype": "int32", "sequence_length": None}
    if (folder / "config.json").is_file():
        return keras_hub.models.Tokenizer.from_preset(str(folder), **options)
    # keras-hub wants a backbone's config beside a tokenizer, which one that was saved alone does not have.
    config = json.loads((folder / TOKENIZER_FILE).read_text("utf-8"))
    if not str(config["module"]).startswith("keras_hub."):
        raise ValueError(f"{TOKENIZER_FILE} names a class of {config['module']}, expected one of keras_hub")
    config["config"] = {**config["config"], **options}
    layer = keras.saving.deserialize_keras_object(config, safe_mode=True)
    layer.load_preset_assets(str(folder))
    return layer


def _special(layer: Any, name: str) -> tuple[int, ...]:
    """The id of a special token, or () where the tokenizer has none."""
    number = getattr(layer, name, None)
    return () if number is None else (int(number),)


def _identity(layer: Any) -> str:
    """Hash of what decides about ids; WordPiece is the same for BERT, DistilBERT and ELECTRA."""
    word_piece = isinstance(layer, keras_hub.tokenizers.WordPieceTokenizer)
    kind = "WordPieceTokenizer" if word_piece else type(layer).__name__
    settings = {name: value for name, value in layer.get_config().items() if name not in ACCIDENTAL}
    digest = hashlib.sha256(json.dumps([kind, settings], sort_keys=True, default=str).encode())
    with tempfile.TemporaryDirectory() as assets:
        layer.save_assets(assets)
        for file in sorted(Path(assets).rglob("*")):
            if file.is_file():
                digest.update(file.name.encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()
