"""Which rows each of the three parts has.

In: the spec's `Splits`, the sizes of the source's own splits, a seed. Out: row numbers for train, validation and test,
ascending. Slices follow the grammar of TensorFlow Datasets, read by that library. Leaves out: filters (`filters.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tdspec.data.seeds import generator
from tdspec.data.table import unknown
from tdspec.errors import DataError
from tdspec.spec.model import Splits

Array = np.ndarray[Any, Any]
Slice = tuple[str, int, int]
NAME = re.compile(r"(?:(?<=^)|(?<=[+ ]))[\w-]+")
PARTS = ("train", "validation", "test")
SLICE_HINT = "write a split such as train, train[:90%], train[-500:] or train+test"


def parse_slices(part: str, text: str, own: Mapping[str, int]) -> list[Slice]:
    """Read the slices of one part.

    Args:
        part: for messages.
        text: such as "train[:90%]+test".
        own: the source's own splits and their sizes; "all" means an only one, and "train" means an only "all".

    Returns:
        (own split, start, stop) for each piece, in order.
    """
    known = {*own, "all"} | ({"train"} if list(own) == ["all"] else set())
    for name in NAME.findall(text):
        if name not in known:
            raise unknown("split", name, own, f"the source (splits.{part})")
    name_of = {name: name for name in own}
    if len(own) == 1:
        # The library refuses a slice of "all", so it is given the only split under another name.
        name_of = {"train": next(iter(own))}
    # The library would take a shard here for the whole split.
    if re.search(r"\dshard", text):
        raise DataError(f"splits.{part}: '{text}' counts shards, expected examples or percent", SLICE_HINT)
    infos = {
        name: tfds.core.SplitInfo(name=name, shard_lengths=[own[source]], num_bytes=0)
        for name, source in name_of.items()
    }
    try:
        readable = NAME.sub("train", text) if len(own) == 1 else text
        pieces = tfds.core.ReadInstruction.from_spec(readable).to_absolute(infos)
    except (ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[-1].rstrip(".")
        raise DataError(f"splits.{part}: cannot read '{text}': {reason[:1].lower()}{reason[1:]}", SLICE_HINT) from error
    found = [(name_of[piece.splitname], piece.from_ or 0, piece.to) for piece in pieces]
    return [(name, start, own[name] if stop is None else stop) for name, start, stop in found]


def used_splits(splits: Splits, own: Mapping[str, int]) -> tuple[str, ...]:
    """The source's own splits that the parts need, in the source's order; all of them where parts are fractions."""
    names: set[str] = set()
    for part in PARTS:
        text = getattr(splits, part)
        if not isinstance(text, str):
            return tuple(own)
        names |= {name for name, _, _ in parse_slices(part, text, own)}
    return tuple(name for name in own if name in names)


def slice_rows(splits: Splits, own: Mapping[str, int], used: Sequence[str]) -> dict[str, Array]:
    """Rows of parts that are slices; rows are numbered through the used splits."""
    starts: dict[str, int] = {}
    total = 0
    for name in used:
        starts[name] = total
        total += own[name]
    rows = {}
    for part in PARTS:
        text = getattr(splits, part)
        pieces = [
            np.arange(starts[name] + start, starts[name] + max(start, stop))
            for name, start, stop in parse_slices(part, text, own)
        ]
        rows[part] = np.unique(np.concatenate(pieces))
        if not len(rows[part]):
            raise DataError(f"the {part} split is empty: '{text}' holds no example of {sizes(own)}", SLICE_HINT)
    return rows


def sizes(own: Mapping[str, int]) -> str:
    """Own splits and their sizes, for messages."""
    return ", ".join(f"{name} ({size:,})" for name, size in own.items())


def fraction_rows(splits: Splits, num_rows: int, seed: int, order: Array | None) -> dict[str, Array]:
    """Rows of parts that are fractions.

    Args:
        splits: with three numbers.
        num_rows: of all the source's own splits.
        seed: draws the parts where there is no order.
        order: (num_rows,) values to sort by, the smallest go to train; equal values keep the order of the rows.
    """
    fractions = _fractions(splits)
    drawn = generator("split", seed).permutation(num_rows)
    sequence = drawn if order is None else np.argsort(order, kind="stable")
    stops = np.cumsum(share(fractions, num_rows))
    rows = {part: np.sort(piece) for part, piece in zip(PARTS, np.split(sequence, stops)[:3], strict=True)}
    for part, fraction in zip(PARTS, fractions, strict=True):
        if not len(rows[part]):
            message = f"the {part} split is empty: {fraction:g} of {num_rows:,} examples is less than one"
            raise DataError(message, f"raise data.splits.{part}")
    return rows


def rows_within(splits: Splits, order: Array, groups: Array) -> dict[str, Array]:
    """Rows of parts that are fractions of each group by itself.

    A group with too few rows for all three parts goes to train with all of them.

    Args:
        splits: with three numbers.
        order: (num_rows,) values to sort by in a group, as for `fraction_rows`.
        groups: (num_rows,) values that are the same for the rows of a group.
    """
    fractions = _fractions(splits)
    numbers = np.unique(groups, return_inverse=True)[1]
    sequence = np.lexsort((order, numbers))
    counts = np.bincount(numbers)
    # By size of a group: where its train, validation and test end.
    stops = {int(count): np.cumsum(_share_or_train(fractions, int(count))) for count in np.unique(counts)}
    ends = np.stack([stops[int(count)] for count in counts])
    group = numbers[sequence]
    place = np.arange(len(sequence)) - (np.cumsum(counts) - counts)[group]
    part_of = (place[:, None] >= ends[group]).sum(axis=1)
    rows = {part: np.sort(sequence[part_of == index]) for index, part in enumerate(PARTS)}
    if not len(rows["test"]):
        message = f"the validation and test splits are empty: no {splits.within} has enough examples for three parts"
        raise DataError(f"{message} (the most is {counts.max():,})", "raise their fractions, or delete within")
    return rows


def _share_or_train(fractions: Sequence[float], total: int) -> list[int]:
    counts = share(fractions, total)
    return counts if all(counts) else [total, 0, 0]


def _fractions(splits: Splits) -> list[float]:
    return [float(getattr(splits, part)) for part in PARTS]


def share(fractions: Sequence[float], total: int) -> list[int]:
    """Whole numbers nearest to the fractions of a total, by largest remainders: nothing is lost when they sum to 1."""
    exact = [fraction * total for fraction in fractions]
    counts = [int(np.floor(value + 1e-9)) for value in exact]
    missing = round(sum(exact)) - sum(counts)
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[:missing]:
        counts[index] += 1
    return counts
