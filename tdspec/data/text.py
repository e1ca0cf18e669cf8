"""Texts of a column as the tokens that models are fed, read once.

In: texts of a source, a tokenizer, a length. Out: int32 arrays (rows, length) by the name of a model's input.
Leaves out: which tokenizer it is and whether the models share it (`graph/sides_text.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tdspec.data.table import Array, Table
from tdspec.data.values import is_number
from tdspec.errors import DataError
from tdspec.graph.text import IDS, MASK, SEGMENTS, TextInput
from tdspec.graph.tokenizers import Tokenizer, read_tokenizer

TOKENIZED_TOGETHER = 512
# What other programs write where a text is missing.
MISSING = ("none", "nan", "null", "<na>")


def encode_column(texts: Array, text: TextInput, table: Table, rows: Array) -> dict[str, Array]:
    """Tokenize the texts of some rows.

    Args:
        texts: (all rows,) of the column.
        text: the column, the length and the tokenizer's folder.
        table: names a row, for messages.
        rows: int64 (rows,), those that are used.

    Returns:
        int32 (rows, length) each: "token_ids", start and end included; "padding_mask", 0 for padding; "segment_ids",
        all 0.

    Raises:
        DataError: a value is no text or missing; names the example.
    """
    ids, mask = encode(_checked(texts, text.column, table, rows), read_tokenizer(text.folder), text.length)
    return {IDS: ids, MASK: mask, SEGMENTS: np.zeros_like(ids)}


def encode(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> tuple[Array, Array]:
    """Ids and mask of texts, cut off or padded at their end: int32 (texts, length), twice."""
    room = length - len(tokenizer.start) - len(tokenizer.end)
    stored = [text.encode("utf-8", "replace") for text in texts]
    with tf.device("CPU:0"):
        batches = tf.data.Dataset.from_tensor_slices(stored).batch(TOKENIZED_TOGETHER)
        # Inside tf.data the tokenizers run TensorFlow's kernels, several times faster than their Python.
        ragged = batches.map(lambda batch: tokenizer.layer(batch)[:, :room], num_parallel_calls=tf.data.AUTOTUNE)
        parts = [(part.flat_values.numpy(), part.row_lengths().numpy()) for part in ragged]
    flat = np.concatenate([values for values, _ in parts])
    counts = np.concatenate([lengths for _, lengths in parts])
    place = np.arange(length)
    first = len(tokenizer.start)
    ids = np.full((len(stored), length), tokenizer.pad, np.int32)
    ids[:, :first] = tokenizer.start
    ids[(place >= first) & (place < first + counts[:, None])] = flat
    for offset, end in enumerate(tokenizer.end):
        ids[np.arange(len(stored)), first + counts + offset] = end
    return ids, (place < (first + counts + len(tokenizer.end))[:, None]).astype(np.int32)


def _checked(texts: Array, column: str, table: Table, rows: Array) -> list[str]:
    if texts.ndim != 1:
        raise DataError(f"column '{column}' holds {texts.dtype} {texts.shape}, expected one text in each example")
    found = [texts[row] for row in rows]
    for row, text in zip(rows, found, strict=True):
        missing = isinstance(text, str) and (not text.strip() or text.strip().lower() in MISSING)
        if missing or not isinstance(text, str):
            what = ("nothing" if not str(text).strip() else f"'{text}'") if missing else f"{text}"
            hint = "fill it in, or leave such examples out" if missing else "input.column names the column of texts"
            message = f"column '{column}' has {what} in {table.row_name(int(row))}, expected a text"
            raise DataError(message, hint)
    if all(map(is_number, found)):
        message = f"column '{column}' has {found[0]} in {table.row_name(int(rows[0]))} and holds numbers only"
        raise DataError(f"{message}, expected texts", "input.column names the column of texts")
    return [str(text) for text in found]
