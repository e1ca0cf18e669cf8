"""How alike the states of a run's teacher and student are, class by class (the paper's Figure 3).

In: a complete run, its control where it has one. Out: `Similarity`: linear CKA between the low and high states and the
messages of both sides, with distillation and without.
Leaves out: the number itself (`cka.py`), keeping and showing it (`similarity_file.py`, `similarity_section.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tdspec.errors import RunError
from tdspec.graph.compiler import Compiled
from tdspec.graph.sides import CutModel
from tdspec.graph.weights import from_file, weights_sha256
from tdspec.report.cka import chance, linear_cka
from tdspec.report.similarity_file import HIGH, LOW, MESSAGE, Similarity, Student
from tdspec.run.checkpoints import BEST, Checkpoints
from tdspec.run.precision import recorded
from tdspec.run.prepare import compile_optimizer, compile_with_weights, open_data, state_of
from tdspec.run.probe import FILE, set_probe, stored
from tdspec.run.run_dir import RunFolder, read_record
from tdspec.run.teacher_check import has_probe
from tdspec.run.teachers import named_specs, trained_run
from tdspec.spec.checks import CUT_METHODS, MESSAGE_METHODS
from tdspec.spec.load import Document, load

EXAMPLES_PER_CLASS = 20
LEAST_EXAMPLES = 5
EXAMPLES_WITHOUT_CLASSES = 200
MAX_CLASSES = 100
# Methods that train an encoder on both sides; in the others a message means nothing.
TALKERS = MESSAGE_METHODS - {"fitnet"}
ALL = "all examples"


@dataclass(frozen=True)
class _Examples:
    """Validation examples by group; `totals` counts all there are."""

    groups: tuple[str, ...]
    features: tuple[Mapping[str, np.ndarray], ...]
    totals: tuple[int, ...]
    classes: tuple[int, ...]
    left_out: str


def measure(run: RunFolder, root: Path) -> Similarity:
    """Measure a run.

    Args:
        run: a complete run with a teacher.
        root: the folder of all runs, where the teacher's is.

    Raises:
        TdspecError: the run has no cuts, its teacher is missing or another, or its data are.
    """
    document, is_own = _cut_document(run)
    compiled = compile_with_weights(document, _files(document, run, root), recorded(run))
    _load_head(compiled, run)
    _require_teacher(compiled, run)
    splits = open_data(compiled, download=False)
    batches = list(splits.validation.batches(document.spec.data.batch_size, epoch=None))
    examples = _examples(document, batches, splits.class_names, compiled.num_classes)
    with_messages = is_own and document.spec.method in TALKERS and (run.checkpoints / BEST).is_dir()
    if with_messages:
        # its variables are in the checkpoint too; how many steps they were for does not matter here
        compile_optimizer(compiled, schedule=document.spec.train.schedule, total_steps=1)
        Checkpoints(run.checkpoints, state_of(compiled)).restore_best()
    else:
        from_file(compiled.student.whole.model, str(run.student))
    record = read_record(run)
    students = [_student(compiled, record["method"], examples, batches, with_messages)]
    control = run.path / record["control"]["path"] / run.student.name if "control" in record else None
    if control is not None and control.is_file():
        from_file(compiled.student.whole.model, str(control))
        students.append(_student(compiled, "scratch", examples, batches, False))
    counts = tuple(len(next(iter(features.values()))) for features in examples.features)
    return Similarity(examples.groups, counts, examples.totals, tuple(students), examples.left_out)


def _cut_document(run: RunFolder) -> tuple[Document, bool]:
    """The run's spec, by a method that cuts the models; whether that is its own."""
    document = load(run.spec)
    if document.spec.method in CUT_METHODS:
        return document, True
    teacher = document.spec.teacher
    if teacher is None or teacher.cut is None or document.spec.student.cut is None:
        raise RunError("the spec names no cuts, so that there are no states to compare", "write cut: in both models")
    return load(run.spec, ["method=feature", "losses.feature.weight=1"]), False


def _files(document: Document, run: RunFolder, root: Path) -> dict[str, Path]:
    """The weights of each side that is the student of another spec."""
    files = {}
    for side, other in named_specs(document).items():
        found = run if side == "student" else trained_run(other, root)
        if found is None:
            raise RunError(f"the {side} '{other.spec.name}' has no run of this spec in {root}", "name it by --runs")
        files[side] = found.student
    return files


def _load_head(compiled: Compiled, run: RunFolder) -> None:
    """Give a teacher whose head is a probe the one that was fitted in the run; a run without a teacher has none."""
    file = run.path / FILE.format(name=compiled.document.name_of("teacher"))
    if compiled.teacher is not None and has_probe(compiled) and file.is_file():
        set_probe(compiled.teacher.whole, stored(file))


def _require_teacher(compiled: Compiled, run: RunFolder) -> None:
    if compiled.teacher is None or compiled.student.segments is None:
        raise RunError("the run has no teacher, so that there is nothing to compare")
    expected = read_record(run)["teacher_sha256"]
    # A student that has no teacher is compared with the one that its spec names.
    if expected is not None and weights_sha256(compiled.teacher.whole.model) != expected:
        raise RunError("the teacher's weights are others than those the run has learned from")


def _examples(document: Document, batches: list[Any], names: Any, num_classes: int | None) -> _Examples:
    features = {name: np.concatenate([np.asarray(batch[0][name]) for batch in batches]) for name in batches[0][0]}
    labels = np.concatenate([np.asarray(batch[1]) for batch in batches])
    is_real = np.concatenate([np.asarray(batch[2]) for batch in batches]) > 0
    if document.spec.task.type != "classification" or num_classes is None:
        rows = np.flatnonzero(is_real)
        chosen = {name: values[rows[:EXAMPLES_WITHOUT_CLASSES]] for name, values in features.items()}
        return _Examples((ALL,), (chosen,), (len(rows),), (), "")
    groups = {label: np.flatnonzero(is_real & (labels == label)) for label in range(num_classes)}
    kept = [label for label, rows in groups.items() if len(rows) >= LEAST_EXAMPLES][:MAX_CLASSES]
    if not kept:
        raise RunError(f"no class has {LEAST_EXAMPLES} validation examples", "widen data.splits.validation")
    left = num_classes - len(kept)
    return _Examples(
        groups=tuple(str(label) if names is None else str(names[label]) for label in kept),
        features=tuple(
            {name: values[groups[label][:EXAMPLES_PER_CLASS]] for name, values in features.items()} for label in kept
        ),
        totals=tuple(len(groups[label]) for label in kept),
        classes=tuple(kept),
        left_out=f"{left} classes are not shown: those with fewer than {LEAST_EXAMPLES} validation examples, and all "
        f"behind the first {MAX_CLASSES}."
        if left
        else "",
    )


def _student(compiled: Compiled, name: str, examples: _Examples, batches: list[Any], messages: bool) -> Student:
    """The similarities of the student whose weights are loaded."""
    cka: list[tuple[tuple[float, ...], ...]] = []
    by_chance: list[float] = []
    spaces: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    for features in examples.features:
        own = dict(_states(compiled, "student", features, messages))
        taught = dict(_states(compiled, "teacher", features, messages))
        spaces, others = tuple(own), tuple(taught)
        cka.append(tuple(tuple(linear_cka(own[a], taught[b]) for b in others) for a in spaces))
        by_chance.append(chance(own[HIGH], taught[HIGH]))
    accuracy = _accuracy(compiled, examples, batches) if examples.classes else ()
    return Student(name, spaces, others, tuple(cka), tuple(by_chance), accuracy)


def _states(
    compiled: Compiled, side: str, features: Mapping[str, np.ndarray], messages: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """The spaces of one side on some examples, float32, padding as zeros."""
    cut: CutModel = getattr(compiled, side)
    assert cut.segments is not None
    lower, middle = cut.segments.lower, cut.segments.middle
    low = lower({name: features[name] for name in lower.input}, training=False)
    high = middle([low, *_fed(middle.inputs[1:], features)], training=False)
    tensors = {LOW: low, HIGH: high}
    if messages:
        encode = getattr(compiled.distiller, f"{side}_codec").encode
        tensors[MESSAGE] = encode([low, high, *_fed(encode.inputs[2:], features)])
    for name, tensor in tensors.items():
        states = np.asarray(tensor, np.float32)
        mask = np.asarray(features[cut.whole.mask], np.float32)[..., None] if cut.whole.mask else None
        yield name, states * mask if mask is not None and mask.ndim == states.ndim else states


def _fed(entries: list[Any], features: Mapping[str, np.ndarray]) -> list[Any]:
    """What the inputs that tell padding are fed, as tensors: Keras takes no arrays beside the states."""
    return [keras.ops.convert_to_tensor(features[entry.name]) for entry in entries]


def _accuracy(compiled: Compiled, examples: _Examples, batches: list[Any]) -> tuple[float, ...]:
    """By class, the share of all its validation examples that the student classifies rightly."""
    student = compiled.student.whole.model
    right, labels = [], []
    for features, label, weight in batches:
        found = np.argmax(np.asarray(student({name: features[name] for name in student.input}, training=False)), -1)
        is_real = np.asarray(weight) > 0
        right.append((found == np.asarray(label))[is_real])
        labels.append(np.asarray(label)[is_real])
    rights, truths = np.concatenate(right), np.concatenate(labels)
    return tuple(float(rights[truths == label].mean()) for label in examples.classes)
