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

from tdspec.data.table import unknown
from tdspec.errors import DataError
from tdspec.spec.model import Splits

Array = np.ndarray[Any, Any]
Slice = tuple[str, int, int]
PARTS = ("train", "validation", "test")
SLICE_HINT = "write a split such as train, train[:90%], train[-500:] or train+test"


def parse_slices(part: str, text: str, own: Mapping[str, int]) -> list[Slice]:
    """Read the slices of one part.

    Args:
        part: for messages.
        text: such as "train[:90%]+test".
        own: the source's own splits and their sizes; where there is only one, "all" and "train" mean it.

    Returns:
        (own split, start, stop) for each piece, in order.
    """
    if len(own) == 1:
        (only,) = own
        text = (
            re.sub(r"\b(all|train)(?=\s*(\[|\+|$))", only, text)
            if "train" not in own
            else re.sub(r"\ball(?=\s*(\[|\+|$))", "train", text)
        )
    infos = {name: _info(name, size) for name, size in own.items()}
    for name in re.findall(r"([\w-]+)\s*(?:\[[^\]]*\])?\s*(?:\+|$)", text):
        if name not in own and name != "all":
            raise unknown("split", name, own, f"the source (splits.{part})")
    try:
        pieces = tfds.core.ReadInstruction.from_spec(text).to_absolute(infos)
    except (ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[-1].rstrip(".")
        raise DataError(f"splits.{part}: cannot read '{text}': {reason[:1].lower()}{reason[1:]}", SLICE_HINT) from error
    return [(piece.splitname, piece.from_ or 0, _stop(piece.to, own[piece.splitname])) for piece in pieces]


def _info(name: str, size: int) -> Any:
    # One shard: slices by shard are refused where the library cannot see real ones.
    return tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0)


def _stop(stop: int | None, size: int) -> int:
    return size if stop is None else stop


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
    fractions = [float(getattr(splits, part)) for part in PARTS]
    if sum(fractions) > 1 + 1e-9:
        raise DataError(f"the fractions of data.splits sum to {sum(fractions):g}, expected at most 1")
    if order is None:
        sequence = np.random.default_rng([seed, 1]).permutation(num_rows)
    else:
        sequence = np.argsort(order, kind="stable")
    stops = np.cumsum(share(fractions, num_rows))
    rows = {part: np.sort(piece) for part, piece in zip(PARTS, np.split(sequence, stops)[:3], strict=True)}
    for part, fraction in zip(PARTS, fractions, strict=True):
        if not len(rows[part]):
            message = f"the {part} split is empty: {fraction:g} of {num_rows:,} examples is less than one"
            raise DataError(message, f"raise data.splits.{part}")
    return rows


def share(fractions: Sequence[float], total: int) -> list[int]:
    """Whole numbers nearest to the fractions of a total, by largest remainders: nothing is lost when they sum to 1."""
    exact = [fraction * total for fraction in fractions]
    counts = [int(np.floor(value + 1e-9)) for value in exact]
    missing = round(sum(exact)) - sum(counts)
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[:missing]:
        counts[index] += 1
    return counts
