"""What the examples of a split are, as a hash: for what is computed from them once and kept.

In: a `Split` and the columns that are read. Out: a sha256, which neither labels nor weights nor their order change.
All of what is in memory is hashed; of images in files the names, sizes and some contents; of records the files, the
rows and one record. Leaves out: what is computed (`run/teacher_cache.py`), a run's fingerprint (`pipeline.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tdspec.data.split import Split

CHUNK_ROWS = 4096
SAMPLED_FILES = 64


def inputs_sha256(split: Split, columns: Sequence[str]) -> str:
    """Hash what some columns hold, example by example.

    Args:
        split: the examples, unchanged by augmentation.
        columns: of its features.
    """
    digest = hashlib.sha256(f"{split.num_examples}".encode())
    for column in sorted(columns):
        digest.update(f"\n{column}:".encode())
        if column in split.examples.images:
            digest.update(repr(split.examples.images[column]).encode())
        if column in split.examples.features:
            _hash_memory(split, split.examples.features[column], digest)
        elif column in split.examples.files:
            _hash_files(split, split.examples.files[column].paths, digest)
        else:
            _hash_records(split, split.examples.records[column].shards, digest)
    return digest.hexdigest()


def _hash_memory(split: Split, values: tf.Tensor, digest: Any) -> None:
    digest.update(f"{values.dtype.name}{values.shape[1:]}".encode())
    for start in range(0, split.num_examples, CHUNK_ROWS):
        rows = tf.gather(values, split.places[start : start + CHUNK_ROWS])
        digest.update(np.ascontiguousarray(rows.numpy()).data)


def _hash_files(split: Split, paths: Sequence[Path], digest: Any) -> None:
    step = max(1, split.num_examples // SAMPLED_FILES)
    for number, row in enumerate(split.rows):
        path = paths[row]
        digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        if number % step == 0:
            digest.update(path.read_bytes())


def _hash_records(split: Split, shards: Sequence[Any], digest: Any) -> None:
    for shard in shards:
        path = Path(shard.path)
        digest.update(f"{path.name} {path.stat().st_size} {shard.start} {shard.length}\n".encode())
    digest.update(split.rows.astype("<i8").tobytes())
    digest.update(split.sample(split.num_examples)["record"].tobytes())
