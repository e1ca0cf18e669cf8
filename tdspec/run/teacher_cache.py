"""The teacher's states on the training examples: computed once, kept, checked, fed to the training step.

In: a `Compiled` with weights whose distiller takes kept tensors as inputs, and the opened splits. Out: the splits, the
training batches of which have those tensors. What is missing is computed first; two processes do it once.
Leaves out: the files (`data/state_store.py`), what a term needs of the teacher (`graph/cached.py`).
Computed on one device, whatever the strategy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import tensorflow as tf

from tdspec.data.cached_states import CachedStates
from tdspec.data.identity import inputs_sha256
from tdspec.data.images import read_error
from tdspec.data.pipeline import LoadedSplits
from tdspec.data.split import Split
from tdspec.data.state_store import StateFiles, StoreSpec, Writer, open_files, writing
from tdspec.errors import RunError
from tdspec.graph.compiler import Compiled
from tdspec.graph.plan import versions
from tdspec.graph.weights import weights_sha256
from tdspec.run.counter import Counter
from tdspec.run.signals import postponed_signals, stop_on_signals
from tdspec.run.teacher_keys import teacher_words
from tdspec.spec.model import TeacherCache
from tdspec.spec.quantities import quantity

FORMAT = 2
FOLDER_VARIABLE = "TDSPEC_CACHE_DIR"
SECONDS_BETWEEN_SAVES = 5.0
NUM_CHECKED = 8
# How far a stored value may be from one computed anew, as a share of the largest: rounding, and batches of other sizes.
TOLERANCES = {"float32": 1e-3, "float16": 4e-3, "bfloat16": 2e-2}
MIXED_TOLERANCE = 5e-2


def with_states(compiled: Compiled, splits: LoadedSplits, stream: TextIO) -> LoadedSplits:
    """The splits with the teacher's states in every training batch, where the spec has a cache and a term needs them.

    Args:
        compiled: with weights.
        splits: what `open_data` gives for it.
        stream: for progress.

    Raises:
        DataError: the states cannot be written, or the files are damaged.
        RunError: they are not finite, or those in the files are not this teacher's.
        KeyboardInterrupt: computing was stopped; the next call goes on.
    """
    cache = compiled.document.spec.data.teacher_cache
    if cache is None or not compiled.cached:
        return splits
    root, spec = folder_of(cache), store_spec(compiled, splits.train, cache)
    files = open_files(root, spec)
    if files is not None:
        print(f"teacher states: read from {files.folder}", file=stream, flush=True)
    else:
        _compute(compiled, splits.train, root, spec, stream)
        files = open_files(root, spec)
    if files is None:
        raise RunError(f"the teacher's states in {spec.folder(root)} were taken away", "the same call computes them")
    unread = frozenset(compiled.teacher_states().input) - set(compiled.distiller.input)
    states = CachedStates(files, splits.train.num_examples, cache.views, unread)
    for epoch in sorted({0, max(1, cache.views) - 1}):
        _check(compiled, splits.train, states, epoch)
    return replace(splits, train=replace(splits.train, more=states))


def files_of(splits: LoadedSplits) -> StateFiles | None:
    """The files that the training batches read; None where they read none."""
    more = splits.train.more
    return more.files if isinstance(more, CachedStates) else None


def folder_of(cache: TeacherCache) -> Path:
    """Where all stored states lie."""
    if cache.folder is not None:
        return Path(cache.folder)
    own = os.environ.get(FOLDER_VARIABLE)
    return (Path(own) if own else Path.home() / ".cache" / "tdspec") / "teacher_states"


def store_spec(compiled: Compiled, split: Split, cache: TeacherCache) -> StoreSpec:
    """What is stored, and all that it depends on.

    Args:
        compiled: with weights.
        split: the examples.
        cache: the words of the spec.
    """
    states, spec = compiled.teacher_states(), compiled.document.spec
    shapes = {name: tuple(int(axis) for axis in tensor.shape[1:]) for name, tensor in states.output.items()}
    key = {
        "format": FORMAT,
        "versions": versions(),
        "teacher": _teacher_key(compiled),
        "tensors": {name: list(shape) for name, shape in shapes.items()},
        "dtype": cache.dtype,
        "precision": compiled.distiller.dtype_policy.name,
        "examples": split.num_examples,
        "inputs_sha256": inputs_sha256(split, list(states.input)),
        "views": {"count": cache.views, "augment": list(spec.data.augment), "seed": spec.seed} if cache.views else None,
    }
    return StoreSpec(key, shapes, cache.dtype, split.num_examples * max(1, cache.views))


def _teacher_key(compiled: Compiled) -> dict[str, Any]:
    """The weights, what the spec says about the backbone and its input, and where it is cut."""
    teacher: Any = compiled.teacher
    cut = None if teacher.segments is None else [teacher.low.name, teacher.high.name]
    return {"weights_sha256": weights_sha256(teacher.whole.model), "cut": cut, **teacher_words(compiled)}


def _compute(compiled: Compiled, split: Split, root: Path, spec: StoreSpec, stream: TextIO) -> None:
    """Fill the store from where it stands."""

    def on_wait() -> None:
        print("another process computes the same states of the teacher: waiting for it", file=stream, flush=True)

    with stop_on_signals(), writing(root, spec, on_wait) as writer:
        if writer.done == spec.num_rows:
            return
        counter = Counter("teacher states", spec.num_rows, stream)
        try:
            with postponed_signals() as deliver_signals:
                step = _step(compiled, spec.dtype)
                saved = time.perf_counter()
                for states in _batches_of_states(compiled, split, writer, step):
                    writer.append(states)
                    counter.show(writer.done)
                    if time.perf_counter() - saved > SECONDS_BETWEEN_SAVES:
                        writer.save()
                        saved = time.perf_counter()
                    deliver_signals()
        except KeyboardInterrupt:
            counter.close(f"stopped at {writer.done:,} of {spec.num_rows:,}, from where the same call goes on")
            raise
        except tf.errors.OpError as error:
            raise (read_error(error) or error) from error
        counter.close(f"{spec.num_rows:,} examples, {quantity(spec.num_bytes, 'B')}, in {spec.folder(root)}")


def _batches_of_states(
    compiled: Compiled, split: Split, writer: Writer, step: Callable[[Any], Mapping[str, tf.Tensor]]
) -> Iterator[dict[str, Any]]:
    """What is to be stored, in the order of views and examples, after what the writer has."""
    data, start = compiled.document.spec.data, writer.done
    cache: Any = data.teacher_cache
    for view in range(start // split.num_examples, max(1, cache.views)):
        start %= split.num_examples
        augmented = view if cache.views else None
        for index, features, _, _ in split.indexed(data.batch_size, epoch=None, view=augmented, start=start):
            count = min(len(index), split.num_examples - start)
            if not np.array_equal(index[:count], np.arange(start, start + count)):
                raise RunError(f"the training examples after {start:,} came out of order", "please report this")
            states = step(features)
            if not bool(states["finite"]):
                raise _not_finite(cache.dtype, start, start + count)
            yield {name: states[name].numpy()[:count] for name in compiled.cached}
            start += count


def _not_finite(dtype: str, start: int, stop: int) -> RunError:
    message = f"the teacher's states of training examples {start:,} to {stop - 1:,} are not finite in {dtype}"
    hint = "float16 ends at 65,504: write dtype: bfloat16" if dtype == "float16" else "are its weights sound?"
    return RunError(message, hint)


def _step(compiled: Compiled, dtype: str) -> Callable[[Any], Mapping[str, tf.Tensor]]:
    """A batch's features -> what is stored of it, as it lies in files, and whether it is "finite"."""
    model = compiled.teacher_states()
    names = list(model.input)

    @tf.function
    def step(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = model({name: features[name] for name in names}, training=False)
        cast = {name: tf.cast(values, dtype) for name, values in found.items()}
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(values)) for values in cast.values()])
        if dtype == "bfloat16":
            cast = {name: tf.bitcast(values, tf.uint16) for name, values in cast.items()}
        return {**cast, "finite": finite}

    return step


def _check(compiled: Compiled, split: Split, states: CachedStates, epoch: int) -> None:
    """Compare what an epoch's first examples are fed with what the teacher says now."""
    spec, view = compiled.document.spec, states.view(epoch)
    batches = split.indexed(spec.data.batch_size, epoch=epoch, view=view if states.views else None)
    index, features, _, _ = next(iter(batches.take(1)))
    model = compiled.teacher_states()
    computed = model({name: features[name][:NUM_CHECKED] for name in model.input}, training=False)
    stored = states.lookup(index[:NUM_CHECKED], view)
    tolerance = TOLERANCES[states.files.spec.dtype]
    if compiled.distiller.dtype_policy.name != "float32":
        tolerance = max(tolerance, MIXED_TOLERANCE)
    for name, values in computed.items():
        found, wanted = (tf.cast(tensor, "float32").numpy() for tensor in (stored[name], values))
        worst, largest = np.abs(found - wanted).max(), np.abs(wanted).max()
        # Written so that NaN is refused too.
        if not worst <= tolerance * largest:
            message = f"the stored {name} in {states.files.folder} is not the teacher's"
            difference = f"it differs by {worst:.3g}, where the largest value is {largest:.3g}"
            raise RunError(f"{message}: {difference}", f"delete {states.files.folder}: it is computed anew")
