"""What the tests of `tdspec/data` share: opening splits with few words, small files, prepared TensorFlow Datasets."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tdspec.data.pipeline import InputColumn, LoadedSplits, open_splits
from tdspec.data.split import Split
from tdspec.data.table import Column, Table
from tdspec.spec.model import Splits

PREPARED = Path(tempfile.gettempdir()) / "tdspec-tests-tfds"
DIGITS_IMAGE = InputColumn("image", "image", shape=(8, 8, 1))
COLOUR_IMAGE = InputColumn("image", "image", shape=(32, 32, 3))
DEFAULTS: Mapping[str, Any] = {
    "source": "digits",
    "name": None,
    "path": None,
    "splits": Splits(None, None, 0.8, 0.1, 0.1),
    "where": {},
    "labels_per_class": "all",
    "unlabeled": "drop",
    "augment": (),
    "label": "label",
    "task_type": "classification",
    "num_classes": 10,
    "columns": [DIGITS_IMAGE],
    "resize_to": None,
    "seed": 0,
}


def opened(**changes: Any) -> LoadedSplits:
    """Open splits; what is not named is as in a spec of the digits."""
    return open_splits(**{**DEFAULTS, **changes})


def batches(split: Split, batch_size: int, epoch: int | None) -> list[tuple[dict[str, Any], Any, Any]]:
    """Every batch as numpy arrays."""
    return list(split.batches(batch_size, epoch=epoch).as_numpy_iterator())


def everything(split: Split, batch_size: int = 16) -> tuple[dict[str, Any], Any]:
    """All features and labels in order, without what fills up the last batch."""
    parts = batches(split, batch_size, None)
    kept = np.concatenate([weight for _, _, weight in parts]) > 0
    features = {name: np.concatenate([part[0][name] for part in parts])[kept] for name in parts[0][0]}
    return features, np.concatenate([label for _, label, _ in parts])[kept]


def same(first: Any, second: Any) -> bool:
    """Whether two lists of batches are bit-equal."""
    return len(first) == len(second) and all(
        all(np.array_equal(left[0][name], right[0][name]) for name in left[0])
        and np.array_equal(left[1], right[1])
        and np.array_equal(left[2], right[2])
        for left, right in zip(first, second, strict=True)
    )


def table_of(**columns: Any) -> Table:
    """A table of plain arrays or Columns, rows named by their number."""
    read = {name: value if isinstance(value, Column) else Column(np.array(value)) for name, value in columns.items()}
    first = next(iter(read.values()))
    rows = len(first.values) if first.offsets is None else len(first.offsets) - 1
    return Table(rows, read, lambda row: f"row {row}")


def write_image(path: Path, value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    """An image of one grey value; size is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), value, np.uint8) if mode == "RGB" else np.full(size, value, np.uint8)
    Image.fromarray(pixels).save(path)


def prepared(shared_folder: Path, name: str) -> str:
    """The folder where TensorFlow Datasets finds real data, prepared at the first use on a machine."""
    folder = {"cifar10": "cifar10", "movielens": "movielens/100k-ratings"}[name]
    if not any((PREPARED / folder).glob("*/dataset_info.json")):
        script = shared_folder / "scripts" / "prepare_tfds.py"
        command = [sys.executable, str(script), str(PREPARED), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot prepare {name}: {done.stderr.strip().splitlines()[-1][:200]}")
    return str(PREPARED)


class TdspecTiny(tfds.core.GeneratorBasedBuilder):
    """A small TensorFlow Datasets builder with what the real ones lack: images of many sizes, several shards."""

    VERSION = tfds.core.Version("1.0.0")
    NUM_EXAMPLES: ClassVar[Mapping[str, int]] = {"train": 60, "test": 12}

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "fixed": tfds.features.Image(shape=(8, 8, 1)),
                "label": tfds.features.ClassLabel(names=["cat", "dog", "emu"]),
                "name": tfds.features.Text(),
                "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["old", "new", "red"])),
                "vector": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                "matrix": tfds.features.Tensor(shape=(None, None), dtype=np.float32, encoding="zlib"),
                "number": np.int64,
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: Any) -> Any:
        return {name: self._generate_examples(count) for name, count in self.NUM_EXAMPLES.items()}

    def _generate_examples(self, count: int) -> Any:
        for number in range(count):
            yield (
                number,
                {
                    "image": np.full((4 + number % 5, 6, 3), number, np.uint8),
                    "fixed": np.full((8, 8, 1), number, np.uint8),
                    "label": number % 3,
                    "name": f"n{number % 4}",
                    "tags": list(range(number % 3)),
                    "vector": np.full(3, number, np.float32),
                    "matrix": np.zeros((1, 2), np.float32),
                    "number": number,
                },
            )


class TdspecRemote(TdspecTiny):
    """The same, but it needs a file that a test's server does not have."""

    url: ClassVar[str] = ""

    def _split_generators(self, dl_manager: Any) -> Any:
        dl_manager.download(self.url)
        return super()._split_generators(dl_manager)


def tiny(folder: Path) -> str:
    """Prepare TdspecTiny with its training split in four shards."""
    config = tfds.download.DownloadConfig(num_shards=4)
    tfds.builder("tdspec_tiny", data_dir=str(folder)).download_and_prepare(download_config=config)
    return str(folder)
