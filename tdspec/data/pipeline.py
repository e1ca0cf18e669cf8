"""From the words of `data` and `task` to three splits that can be trained on.

In: a source's name and how it is split, the columns that the graph wants. Out: `LoadedSplits`; every value that is
in memory has been checked. Leaves out: scaling of pixels and numbers, which the models do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np

from tdspec.data.examples import Examples
from tdspec.data.features import ImagePlanner, read_examples
from tdspec.data.features import InputColumn as InputColumn
from tdspec.data.filters import describe_filters, matching
from tdspec.data.images import Size
from tdspec.data.labels import ClassNames, Labelled, Task, keep_labels, read_labels, unread_labels
from tdspec.data.sources import open_source
from tdspec.data.split import Split
from tdspec.data.splits import fraction_rows, rows_within, slice_rows, used_splits
from tdspec.data.table import Array, Source, Table
from tdspec.data.text import encode_column
from tdspec.data.tfds_source import TfdsSource
from tdspec.data.values import sortable
from tdspec.errors import DataError
from tdspec.spec.model import Splits

MEMORY_LIMIT = 2**30
FINGERPRINT_ROWS = 64


@dataclass(frozen=True)
class LoadedSplits:
    """The three splits, a hash of what they hold, and the names of the classes where the source has them."""

    train: Split
    validation: Split
    test: Split
    fingerprint: str
    class_names: ClassNames


def open_splits(
    *,
    source: str,
    name: str | None,
    path: str | None,
    splits: Splits,
    where: Mapping[str, Any],
    labels_per_class: int | Literal["all"],
    unlabeled: str,
    augment: Sequence[str],
    label: str,
    task_type: str,
    num_classes: int | None,
    columns: Sequence[InputColumn],
    resize_to: Size | None,
    seed: int,
    download: bool = False,
    memory_limit: int = MEMORY_LIMIT,
) -> LoadedSplits:
    """Open a source, split it, filter it and check what is used of it.

    Args:
        source, name, path, splits, where, labels_per_class, unlabeled, augment: as in the spec's `data`.
        label, task_type, num_classes: as in the spec's `task`; num_classes None: not bounded.
        columns: what the graph is fed.
        resize_to: (height, width) for images that vary in size or do not fit in memory.
        seed: draws splits, labels, order and augmentation.
        download: whether missing data may be downloaded.
        memory_limit: bytes of images that are kept decoded in memory; more are read again each epoch.

    Returns:
        The splits. Batches hold, by kind: image uint8 (batch, height, width, channels); id int32 (batch,); ids int32
        (batch, longest list) padded with -1; number float32 (batch,); text int32 (batch, length).
        Labels are int32 (batch,) for classification, float32 (batch,) for regression and binary, float32 (batch,
        num_classes) for multilabel.

    Raises:
        DataError: data are missing, a column does not exist, a value does not fit, or a split is empty.
    """
    task = Task(label, task_type, num_classes)
    along = _split_columns(splits)
    inputs = [column.source for column in columns]
    wanted = {"task.label": [label], "data.where": list(where), **along, "model input": inputs}
    opened = open_source(source, name, path, wanted, download=download)
    used = used_splits(splits, opened.own_splits)
    images = {column.name: opened.images(used, column.name) for column in columns if column.kind == "image"}
    plan = ImagePlanner(columns, images, resize_to, memory_limit)
    others = [*where, *chain(*along.values()), *_plain(columns)]
    late = not others and labels_per_class == "all" and _labels_can_wait(opened, task)
    late = late and not plan.fits(sum(opened.own_splits[key] for key in used))
    table = opened.read(used, [] if late else list(dict.fromkeys([label, *others])))
    rows = _filtered(_rows(opened, used, table, splits, seed), table, where)
    parts, class_names = (unread_labels(rows), _declared(opened, label)) if late else read_labels(table, task, rows)
    parts["train"] = keep_labels(parts["train"], labels_per_class, unlabeled, seed)
    shown = np.unique(np.concatenate([part.rows for part in parts.values()]))
    tokens = _tokens(opened, used, table, columns, shown)
    record_label = label if late else None
    examples = read_examples(table, plan, shown, record_label, tokens=tokens, augment=tuple(augment), seed=seed)
    made = {part: _split_of(part, found, shown, examples) for part, found in parts.items()}
    return LoadedSplits(**made, fingerprint=_fingerprint(made), class_names=class_names)


def _split_columns(splits: Splits) -> dict[str, list[str]]:
    """The columns that the splits are made along, by the key that asks for them."""
    named = {"data.splits.by": splits.by, "data.splits.within": splits.within}
    return {key: [column] for key, column in named.items() if column is not None}


def _plain(columns: Sequence[InputColumn]) -> list[str]:
    """The columns that are read as they are, which images and texts are not."""
    return [column.name for column in columns if column.kind not in ("image", "text")]


def _rows(opened: Source, used: Sequence[str], table: Table, splits: Splits, seed: int) -> dict[str, Array]:
    if isinstance(splits.train, str):
        return slice_rows(splits, opened.own_splits, used)
    order = None if splits.by is None else sortable(table, splits.by)
    if order is not None and splits.within is not None:
        return rows_within(splits, order, sortable(table, splits.within))
    return fraction_rows(splits, table.num_rows, seed, order)


def _filtered(rows: Mapping[str, Array], table: Table, where: Mapping[str, Any]) -> dict[str, Array]:
    if not where:
        return dict(rows)
    stays = matching(table, where, np.concatenate(list(rows.values())))
    kept = {part: found[stays[found]] for part, found in rows.items()}
    for part, found in kept.items():
        if not len(found):
            message = f"the {part} split is empty: none of its {len(rows[part]):,} examples fits data.where"
            raise DataError(f"{message} ({describe_filters(where)})", f"widen the filter or data.splits.{part}")
    return kept


def _tokens(
    opened: Source, used: Sequence[str], table: Table, columns: Sequence[InputColumn], rows: Array
) -> dict[str, Array]:
    """What the features of every text hold, by name; each text is tokenized once."""
    found: dict[str, Array] = {}
    for text in dict.fromkeys(column.text for column in columns if column.text is not None):
        found |= encode_column(opened.texts(used, text.column), text, table, rows)
    return found


def _labels_can_wait(opened: Source, task: Task) -> bool:
    """Whether labels that are read with their images need no check: the source itself bounds them."""
    if not isinstance(opened, TfdsSource) or task.type != "classification":
        return False
    declared = opened.num_classes(task.label)
    return declared is not None and (task.num_classes is None or declared <= task.num_classes)


def _declared(opened: Source, label: str) -> ClassNames:
    return opened.class_names(label) if isinstance(opened, TfdsSource) else None


def _split_of(part: str, found: Labelled, shown: Array, examples: Examples) -> Split:
    return Split(
        name=part,
        num_examples=len(found.rows),
        rows=found.rows,
        places=np.searchsorted(shown, found.rows),
        labels=found.labels,
        weights=found.weights,
        examples=examples,
    )


def _fingerprint(parts: Mapping[str, Split]) -> str:
    """Hash sizes, rows, labels and evenly spaced examples of every part."""
    digest = hashlib.sha256()
    for name, split in parts.items():
        digest.update(f"{name}:{split.num_examples}".encode())
        digest.update(split.rows.astype("<i8").tobytes())
        digest.update(split.weights.tobytes())
        if split.labels is not None:
            digest.update(split.labels.tobytes())
        step = max(1, split.num_examples // FINGERPRINT_ROWS)
        for column, sample in split.sample(step).items():
            digest.update(f"{column}:{sample.dtype}:{sample.shape}".encode())
            digest.update(sample.tobytes())
    return digest.hexdigest()
