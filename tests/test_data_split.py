from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from data_support import COLOUR_IMAGE, DIGITS_IMAGE, batches, everything, opened, prepared, same, tiny, write_image

from tdspec.data.identity import inputs_sha256
from tdspec.data.images import read_error
from tdspec.data.pipeline import InputColumn
from tdspec.errors import DataError
from tdspec.run import loop
from tdspec.spec.model import Splits

SLICES = Splits(None, None, "train[:48]", "train[48:]", "test")
NUMBERED = {"source": "tfds", "name": "tdspec_tiny", "splits": SLICES, "num_classes": 3}
FIXED = InputColumn("fixed", "image", shape=(8, 8, 1))
VARIED = InputColumn("image", "image", shape=(None, None, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny(tmp_path_factory.mktemp("tfds"))


def pictures(folder: Path) -> str:
    """60 images of 70 x 66 pixels, each of one value, in two classes."""
    for number in range(60):
        write_image(folder / ("even" if number % 2 == 0 else "odd") / f"{number:02d}.png", number * 4, (70, 66))
    return str(folder)


def numbers(parts: list[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]], name: str) -> list[int]:
    return [int(image[0, 0, 0]) for features, _, _ in parts for image in features[name]]


def test_training_batches_are_a_function_of_seed_and_epoch() -> None:
    first, again, other = opened(), opened(), opened(seed=1)
    assert same(batches(first.train, 32, 3), batches(again.train, 32, 3))
    assert same(batches(first.train, 32, 3), batches(first.train, 32, 3))
    assert not same(batches(first.train, 32, 3), batches(first.train, 32, 4))
    assert not same(batches(first.train, 32, 3), batches(other.train, 32, 3))


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees() -> None:
    whole = opened(augment=("flip", "crop"))
    uninterrupted = [batches(whole.train, 64, epoch) for epoch in range(3)]
    assert same(batches(opened(augment=("flip", "crop")).train, 64, 2), uninterrupted[2])


@pytest.mark.parametrize("epoch", [None, 2])
def test_too_large_an_epoch_is_gathered_batch_by_batch(epoch: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    train = opened().train
    at_once = batches(train, 64, epoch)
    assert train.examples.num_bytes(10) == 10 * 64
    monkeypatch.setattr("tdspec.data.split.EPOCH_BYTES", 10 * 64)
    assert same(batches(train, 64, epoch), at_once)


def test_an_epoch_holds_every_example_once_less_the_remainder() -> None:
    train = opened().train
    features, labels = everything(train)
    parts = batches(train, 100, 0)
    assert len(parts) == train.num_examples // 100
    seen = {
        image.tobytes() + bytes([label])
        for found, names, _ in parts
        for image, label in zip(found["image"], names, strict=True)
    }
    known = {image.tobytes() + bytes([label]) for image, label in zip(features["image"], labels, strict=True)}
    assert seen < known and len(seen) == 1400
    assert all((weight == 1).all() for _, _, weight in parts)


def test_evaluation_is_in_order_and_fills_up_with_weight_0() -> None:
    validation = opened().validation
    parts = batches(validation, 64, None)
    assert [int(weight.sum()) for _, _, weight in parts] == [64, 64, 52]
    assert [features["image"].shape for features, _, _ in parts] == [(64, 8, 8, 1)] * 3
    assert same(parts, batches(validation, 64, None))
    repeated = parts[-1][0]["image"][52:]
    assert (repeated == parts[0][0]["image"][0]).all()
    larger = batches(validation, 1000, None)
    assert len(larger) == 1 and larger[0][2].sum() == 180


def test_shapes_are_static() -> None:
    split = opened().train
    for epoch in (None, 0):
        features, label, weight = split.batches(32, epoch=epoch).element_spec
        assert features == {"image": tf.TensorSpec((32, 8, 8, 1), tf.uint8)}
        assert (label, weight) == (tf.TensorSpec((32,), tf.int32), tf.TensorSpec((32,), tf.float32))


def test_a_split_smaller_than_a_batch() -> None:
    with pytest.raises(DataError) as caught:
        opened().train.batches(2000, epoch=0)
    assert caught.value.message == "the train split has 1437 examples, fewer than a batch of 2000"
    assert caught.value.hint == "lower data.batch_size to 1437 or less"


def test_augmentation_is_a_function_of_seed_epoch_and_example() -> None:
    plain, flipped = opened(), opened(augment=("flip",))
    moved = opened(augment=("flip", "crop"))
    for left, right in zip(batches(plain.train, 32, 1), batches(flipped.train, 32, 1), strict=True):
        is_same = (left[0]["image"] == right[0]["image"]).all(axis=(1, 2, 3))
        is_mirrored = (left[0]["image"][:, :, ::-1] == right[0]["image"]).all(axis=(1, 2, 3))
        assert (is_same | is_mirrored).all()
        np.testing.assert_array_equal(left[1], right[1])
    assert not same(batches(moved.train, 32, 1), batches(flipped.train, 32, 1))
    by_32, by_64 = (np.concatenate([part[0]["image"] for part in batches(moved.train, size, 1)]) for size in (32, 64))
    np.testing.assert_array_equal(by_32[:1400], by_64[:1400])
    assert same(batches(moved.train, 32, None), batches(plain.train, 32, None))


def test_grey_becomes_colour() -> None:
    grey = everything(opened().test)[0]["image"]
    colour = everything(opened(columns=[InputColumn("image", "image", shape=(8, 8, 3))]).test)[0]["image"]
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, axis=3))


def test_an_image_is_resized_where_the_graph_says_so() -> None:
    columns = [InputColumn("image", "image", shape=(16, 16, 1))]
    assert batches(opened(columns=columns).test, 8, None)[0][0]["image"].shape == (8, 16, 16, 1)


@pytest.mark.parametrize("column", [FIXED, VARIED])
@pytest.mark.parametrize("others", [[], [InputColumn("number", "number")]])
def test_streams_hold_the_same_as_memory(folder: str, column: InputColumn, others: list[InputColumn]) -> None:
    options = {**NUMBERED, "path": folder, "columns": [column, *others], "resize_to": (5, 5)}
    memory, stream = opened(**options), opened(**options, memory_limit=100)
    assert memory.class_names == stream.class_names == ("cat", "dog", "emu")
    for name in ("train", "validation", "test"):
        left, right = getattr(memory, name), getattr(stream, name)
        assert column.name in left.examples.features and column.name not in right.examples.features
        assert same(batches(left, 7, None), batches(right, 7, None))
        assert left.batches(7, epoch=None).element_spec == right.batches(7, epoch=None).element_spec


def test_streams_are_shuffled_by_seed_and_epoch(folder: str) -> None:
    options = {**NUMBERED, "path": folder, "columns": [FIXED], "augment": ("flip",), "memory_limit": 100}
    first, again = opened(**options), opened(**options)
    assert first.train.labels is None
    parts = batches(first.train, 16, 2)
    assert same(parts, batches(again.train, 16, 2))
    assert not same(parts, batches(first.train, 16, 3))
    found = numbers(parts, "fixed")
    assert sorted(found) == sorted(numbers(batches(first.train, 16, None), "fixed"))
    assert found != numbers(batches(first.train, 16, None), "fixed")
    labels = np.concatenate([label for _, label, _ in parts])
    np.testing.assert_array_equal(labels, np.array(found) % 3)


def test_streams_are_filtered_and_keep_labels_from_leaking(folder: str) -> None:
    changes = {"where": {"tags": ["old"]}, "labels_per_class": 4, "unlabeled": "keep"}
    options = {**NUMBERED, "path": folder, "columns": [FIXED], "memory_limit": 100, **changes}
    parts = batches(opened(**options).train, 1, 0)
    found = np.array(numbers(parts, "fixed"))
    labels, weights = (np.concatenate([part[index] for part in parts]) for index in (1, 2))
    assert set(found % 3) == {1, 2}
    assert weights.sum() == 8
    np.testing.assert_array_equal(labels, np.where(weights == 1, found % 3, 0))


@pytest.mark.parametrize("augment", [(), ("flip", "crop")])
def test_files_that_do_not_fit_are_decoded_again(tmp_path: Path, augment: tuple[str, ...]) -> None:
    column = InputColumn("image", "image", shape=(None, None, 3))
    options = {"source": "image_folder", "path": pictures(tmp_path), "columns": [column], "num_classes": 2}
    memory, stream = opened(**options, augment=augment), opened(**options, augment=augment, memory_limit=100)
    assert "image" not in stream.train.examples.features
    for epoch in (None, 0, 1):
        assert same(batches(memory.train, 8, epoch), batches(stream.train, 8, epoch))
    assert stream.train.batches(8, epoch=0).element_spec[0]["image"].shape == (8, 70, 66, 3)


def test_a_streamed_file_that_breaks_is_named(tmp_path: Path) -> None:
    column = InputColumn("image", "image", shape=(None, None, 3))
    options = {"source": "image_folder", "path": pictures(tmp_path), "columns": [column], "num_classes": 2}
    split = opened(**options, memory_limit=100).train
    for file in tmp_path.glob("*/*.png"):
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(tf.errors.OpError) as caught:
        batches(split, 1, 0)
    error = read_error(caught.value)
    assert error is not None
    assert error.message.startswith(f"cannot read the image {tmp_path}") and error.message.endswith("truncated")
    assert error.hint == "mend or remove the file"
    assert read_error(tf.errors.UnknownError(None, None, "another")) is None


@pytest.mark.parametrize("epoch", [0, None])
def test_nothing_tunes_a_pipeline_beside_the_step(epoch: int | None) -> None:
    train = opened(augment=("flip",)).train
    assert train.batches(32, epoch=epoch).options().autotune.enabled is False
    assert train.indexed(32, epoch=epoch, view=0).options().autotune.enabled is False
    # nor where a run distributes it
    distributed = loop._distribute(train.batches(32, epoch=epoch), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    assert all(part.options().autotune.enabled is False for part in distributed._cloned_datasets)


def test_two_replicas_get_halves(folder: str) -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for limit in (100, 2**30):
        options = {**NUMBERED, "path": folder, "columns": [FIXED], "memory_limit": limit}
        split = opened(**options).train
        shared = strategy.experimental_distribute_dataset(split.batches(16, epoch=1))
        halves = [strategy.experimental_local_results(features["fixed"]) for features, _, _ in shared]
        joined = [int(image[0, 0, 0]) for pair in halves for half in pair for image in half.numpy()]
        assert [half.shape for half in halves[0]] == [(8, 8, 8, 1)] * 2
        assert joined == numbers(batches(split, 16, 1), "fixed")


def test_cifar10_from_memory_and_as_a_stream(shared_folder: Path) -> None:
    options = {
        "source": "tfds",
        "name": "cifar10",
        "path": prepared(shared_folder, "cifar10"),
        "splits": Splits(None, None, "train[:90%]", "train[90%:]", "test[:50]"),
        "columns": [COLOUR_IMAGE],
    }
    memory, stream = opened(**options), opened(**options, memory_limit=1000)
    assert (memory.train.num_examples, memory.validation.num_examples, memory.test.num_examples) == (9000, 1000, 50)
    assert same(batches(memory.test, 32, None), batches(stream.test, 32, None))
    images = np.load(shared_folder / "data" / "cifar10_subset_10k_2k.npz")["x_test"]
    known = {image.tobytes() for image in images}
    assert all(image.tobytes() in known for image in everything(memory.test)[0]["image"])


def test_digits_column_of_the_defaults() -> None:
    assert DIGITS_IMAGE.shape == batches(opened().test, 4, None)[0][0]["image"].shape[1:]


def test_examples_in_order_from_one_on(folder: str, tmp_path: Path) -> None:
    """As the whole, less what stands before: in memory, in files and in records."""
    files = {"source": "image_folder", "path": pictures(tmp_path), "columns": [VARIED], "resize_to": (70, 66)}
    for options, name in (
        ({}, "image"),
        ({**NUMBERED, "path": folder, "columns": [FIXED], "memory_limit": 0}, "fixed"),
        ({**files, "num_classes": 2, "memory_limit": 0}, "image"),
    ):
        split = opened(**options).train
        images = everything(split)[0][name]
        start = split.num_examples // 3
        found = list(split.indexed(8, epoch=None, view=None, start=start).as_numpy_iterator())
        weight = np.concatenate([part[3] for part in found])
        index = np.concatenate([part[0] for part in found])[weight > 0]
        assert len(weight) % 8 == 0
        assert index.tolist() == list(range(start, split.num_examples))
        assert np.array_equal(np.concatenate([part[1][name] for part in found])[weight > 0], images[start:])


def test_what_examples_are_is_a_hash_of_inputs_alone(folder: str, tmp_path: Path) -> None:
    files = {"source": "image_folder", "path": pictures(tmp_path), "columns": [VARIED], "num_classes": 2}
    kinds = (
        ({}, "image"),
        ({**NUMBERED, "path": folder, "columns": [FIXED], "memory_limit": 0}, "fixed"),
        ({**files, "resize_to": (70, 66), "memory_limit": 0}, "image"),
    )
    hashes = [inputs_sha256(opened(**options).train, [name]) for options, name in kinds]
    assert hashes == [inputs_sha256(opened(**options).train, [name]) for options, name in kinds]
    assert len(set(hashes)) == 3
    assert inputs_sha256(opened(labels_per_class=3, unlabeled="keep").train, ["image"]) == hashes[0]
    assert inputs_sha256(opened(seed=1).train, ["image"]) != hashes[0]
    write_image(tmp_path / "even" / "00.png", 7, (70, 66))
    assert inputs_sha256(opened(**kinds[2][0]).train, ["image"]) != hashes[2]
