"""Training from stored states of the teacher: the same weights, whatever happens; and what is refused."""

from __future__ import annotations

import io
import json
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import text_support
from run_support import IMAGE, STUDENT, call, merged, write_spec

from tdspec.data.state_store import StateFiles, Writer
from tdspec.errors import DataError, RunError
from tdspec.run import teacher_cache
from tdspec.run.checkpoints import Checkpoints
from tdspec.run.outcome import Interrupted
from tdspec.run.prepare import compile_with_weights, open_data
from tdspec.run.run_dir import RunFolder, read_metrics, read_record
from tdspec.run.teacher_cache import files_of, store_spec, with_states
from tdspec.run.train import Options, Run, train
from tdspec.spec.load import Document, load

# A teacher that needs no training, and an optimizer that does not magnify the last digit of a gradient.
SPEC = merged(
    {**STUDENT, "teacher": {}},
    {
        "teacher": {
            "backbone": {"mlp": {"units": [24, 16, 12]}, "weights": "random"},
            "input": IMAGE,
            "cut": {"low": 1, "high": 3},
        },
        "train": {"optimizer": {"type": "sgd", "learning_rate": 0.002}},
    },
)
EXACT = {"teacher_cache": {"dtype": "float32"}}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv(teacher_cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "teacher_states"


def keep(run: Run) -> Mapping[str, Any]:
    run.compiled.distiller.student.save(run.folder.student)
    return {}


def spec(folder: Path, **changes: Any) -> Document:
    return load(write_spec(folder / "small.yaml", SPEC, **changes))


def trained(document: Document, at: Path, **options: Any) -> RunFolder:
    return train(document, Options(at / "runs", keep, io.StringIO()), **options)


def weights(run: RunFolder) -> list[Any]:
    return list(keras.models.load_model(run.student).get_weights())


def assert_close(run: RunFolder, other: RunFolder, tolerance: float) -> None:
    for found, wanted in zip(weights(run), weights(other), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    for row, expected in zip(read_metrics(run), read_metrics(other), strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**expected, "seconds": 0}, rel=10 * tolerance)


def stored(document: Document, stream: io.StringIO | None = None) -> StateFiles:
    compiled = compile_with_weights(document, {})
    files = files_of(with_states(compiled, open_data(compiled, download=False), stream or io.StringIO()))
    assert files is not None
    return files


def folder_name(document: Document) -> str:
    compiled = compile_with_weights(document, {})
    cache = document.spec.data.teacher_cache
    assert cache is not None
    return store_spec(compiled, open_data(compiled, download=False).train, cache).folder(Path()).name


def test_the_same_weights_as_without(tmp_path: Path, root: Path) -> None:
    plain = trained(spec(tmp_path), tmp_path)
    run = trained(spec(tmp_path, data=EXACT), tmp_path)
    assert_close(run, plain, 1e-6)
    (folder,) = root.iterdir()
    assert read_record(run)["teacher_cache"] == {"path": str(folder), "num_bytes": 899 * 4 * (24 + 12)}
    assert "teacher_cache" not in read_record(plain)
    # Again from the same files, to the last bit.
    again = trained(spec(tmp_path, data=EXACT), tmp_path)
    assert all(np.array_equal(one, other) for one, other in zip(weights(again), weights(run), strict=True))
    assert [path.name for path in root.iterdir()] == [folder.name]


def test_a_single_tensor_is_kept_too(tmp_path: Path, root: Path) -> None:
    predicting = {"method": "logit", "teacher": {"head": "probe"}}
    plain = trained(spec(tmp_path, **predicting), tmp_path)
    run = trained(spec(tmp_path, **predicting, data=EXACT), tmp_path)
    assert_close(run, plain, 1e-6)
    assert read_record(run)["teacher_cache"]["num_bytes"] == 899 * 4 * 10


@pytest.mark.slow
def test_half_the_digits_are_nearly_the_same(tmp_path: Path) -> None:
    plain = trained(spec(tmp_path), tmp_path)
    for dtype in ("bfloat16", "float16"):
        run = trained(spec(tmp_path, data={"teacher_cache": {"dtype": dtype}}), tmp_path)
        for found, wanted in zip(weights(run), weights(plain), strict=True):
            np.testing.assert_allclose(found, wanted, atol=0.02)


@pytest.mark.slow
def test_views_are_the_augmented_images_of_their_epochs(tmp_path: Path) -> None:
    changes = {"augment": ["flip", "crop"]}
    plain = trained(spec(tmp_path, data=changes), tmp_path)
    run = trained(spec(tmp_path, data={**changes, "teacher_cache": {"dtype": "float32", "views": 2}}), tmp_path)
    assert_close(run, plain, 1e-6)
    document = spec(tmp_path, data={**changes, "teacher_cache": {"dtype": "float32", "views": 2}})
    compiled = compile_with_weights(document, {})
    train_split = with_states(compiled, open_data(compiled, download=False), io.StringIO()).train
    # Epoch 3 has the images and the states of view 1, in an order of its own.
    seen = [
        {
            features["image"][row].tobytes(): features["teacher_low"][row].tobytes()
            for features, _, _ in train_split.batches(64, epoch=epoch).as_numpy_iterator()
            for row in range(64)
        }
        for epoch in (0, 1, 3)
    ]
    shared = [image for image in seen[1] if image in seen[2]]
    assert len(shared) > 700 and all(seen[1][image] == seen[2][image] for image in shared)
    assert len([image for image in seen[0] if image in seen[1]]) < 200


@pytest.mark.slow
def test_two_replicas_are_one_device(tmp_path: Path) -> None:
    runs = [
        trained(spec(tmp_path, data=EXACT, train={"strategy": strategy}), tmp_path) for strategy in ("none", "mirrored")
    ]
    assert_close(runs[1], runs[0], 1e-5)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = spec(tmp_path, data=EXACT)
    whole = trained(document, tmp_path)
    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, epoch: int, *, is_best: bool) -> None:
        save(self, epoch, is_best=is_best)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        patch.setattr(Checkpoints, "save", save_and_stop)
        trained(document, tmp_path)
    run = trained(document, tmp_path, folder=stopped.value.run.path, resume=True)
    assert len(read_metrics(run)) == 2
    assert all(np.array_equal(one, other) for one, other in zip(weights(run), weights(whole), strict=True))


@pytest.mark.slow
def test_texts_keep_their_mask_as_an_input(tmp_path: Path) -> None:
    text_support.write_corpus(tmp_path)
    text_support.write_preset(tmp_path)
    sgd = {"epochs": 2, "optimizer": {"type": "sgd", "learning_rate": 0.002}}
    values = text_support.text_spec(train=sgd)
    plain = trained(load(text_support.write_spec(tmp_path, values)), tmp_path)
    values["data"] = {**values["data"], **EXACT}
    document = load(text_support.write_spec(tmp_path, values))
    inputs = compile_with_weights(document, {}).distiller.input
    assert set(inputs) == {"token_ids", "segment_ids", "padding_mask", "teacher_low", "teacher_high"}
    assert_close(trained(document, tmp_path), plain, 1e-6)


def test_stopped_and_gone_on_with(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = spec(tmp_path, data={**EXACT, "batch_size": 100})
    whole = stored(document)
    expected = {name: np.array(values) for name, values in whole.arrays.items()}
    shutil.rmtree(root)
    append = Writer.append

    def append_and_stop(self: Writer, rows: Mapping[str, Any]) -> None:
        append(self, rows)
        if self.done == 300:
            raise KeyboardInterrupt

    stream = io.StringIO()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Writer, "append", append_and_stop)
        stored(document, stream)
    assert "stopped at 300 of 899, from where the same call goes on" in stream.getvalue()
    assert json.loads((whole.folder / "cache.json").read_text())["done"] == 300
    files = stored(document, stream)
    for name, values in expected.items():
        assert np.array_equal(files.arrays[name], values)
    assert f"teacher states: 899 examples, 129 kB, in {whole.folder}" in stream.getvalue()
    stored(document, stream)
    assert stream.getvalue().endswith(f"teacher states: read from {whole.folder}\n")


def test_files_that_are_not_the_teachers_are_refused(tmp_path: Path) -> None:
    document = spec(tmp_path, data={"teacher_cache": True})
    files = stored(document)
    path = files.folder / "teacher_high.bin"
    values = np.roll(np.fromfile(path, np.uint16).reshape(899, 12), 1, axis=0)
    values.tofile(path)
    with pytest.raises(DataError, match=r"teacher_high\.bin is not what was written"):
        stored(document)
    # whole, but other examples' states
    record = json.loads((files.folder / "cache.json").read_text())
    record["crc32"]["teacher_high"] = zlib.crc32(values.tobytes())
    (files.folder / "cache.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"the stored teacher_high in .* is not the teacher's: it differs by") as caught:
        stored(document)
    assert str(files.folder) in caught.value.hint


def test_what_files_depend_on(tmp_path: Path) -> None:
    first = folder_name(spec(tmp_path, data={"teacher_cache": True}))
    same: list[dict[str, Any]] = [
        {"data": {"batch_size": 32, "teacher_cache": True}},
        {"student": {"backbone": {"mlp": {"units": [9, 9]}}}, "data": {"teacher_cache": True}},
        {"losses": {"interaction": 0.1}, "data": {"teacher_cache": True}, "train": {"epochs": 7}},
    ]
    other: list[dict[str, Any]] = [
        {"data": {"teacher_cache": {"dtype": "float16"}}},
        {"data": {"teacher_cache": True, "splits": {"train": 0.4}}},
        {"data": {"teacher_cache": True}, "seed": 1},
        {"data": {"teacher_cache": True}, "teacher": {"cut": {"low": 2}}},
        {"data": {"teacher_cache": True}, "teacher": {"input": {"scale": [-1, 1]}}},
        {"data": {"teacher_cache": True}, "train": {"precision": "mixed_bfloat16"}},
        {"data": {"teacher_cache": {"views": 1}, "augment": ["flip"]}},
        {"data": {"teacher_cache": {"views": 2}, "augment": ["flip"]}},
    ]
    assert {folder_name(spec(tmp_path, **changes)) for changes in same} == {first}
    names = [first, *(folder_name(spec(tmp_path, **changes)) for changes in other)]
    assert len(set(names)) == len(names)


def test_labels_do_not_change_the_files(tmp_path: Path) -> None:
    data = {"teacher_cache": True, "labels_per_class": 5, "unlabeled": "keep"}
    assert folder_name(spec(tmp_path, data=data)) == folder_name(spec(tmp_path, data={"teacher_cache": True}))


def test_values_that_the_dtype_cannot_hold_are_refused(tmp_path: Path) -> None:
    document = spec(tmp_path, data={"teacher_cache": {"dtype": "float16"}}, teacher={"input": {"scale": [0, 1e9]}})
    with pytest.raises(RunError, match="of training examples 0 to 63 are not finite in float16") as caught:
        stored(document)
    assert "write dtype: bfloat16" in caught.value.hint


def test_the_folder_of_the_spec(tmp_path: Path) -> None:
    document = spec(tmp_path, data={"teacher_cache": {"folder": "states"}})
    assert stored(document).folder.parent == tmp_path / "states"


def test_the_command(tmp_path: Path, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(write_spec(tmp_path / "small.yaml", SPEC))
    off = call(capfd, "cache", path)
    assert off.code == 1 and "data.teacher_cache: found false, expected true" in off.err
    on = ("--set", "data.teacher_cache=true")
    ended = call(capfd, "cache", path, *on)
    assert ended.code == 0
    (folder,) = root.iterdir()
    assert ended.out == f"899 x teacher_low, teacher_high in bfloat16: 64,728 bytes\n{folder}\n"
    auto = call(capfd, "cache", path, *on, "--set", "train.precision=auto")
    assert auto.code == 1 and "train.precision: found 'auto', expected a precision" in auto.err
    nothing = call(capfd, "cache", path, *on, "--set", "method=scratch")
    assert nothing.code == 1 and "no term of method 'scratch' needs it" in nothing.err
