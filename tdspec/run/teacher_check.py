"""Does the teacher know anything? Its own figure on validation, before hours are spent.

In: a compiled spec with its weights, and its splits. Out: `TeacherFigure`, or a refusal that names the causes.
Leaves out: the gradients of the terms (`preflight.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdspec.data.pipeline import LoadedSplits
from tdspec.errors import RunError
from tdspec.graph.compiler import Compiled
from tdspec.graph.models import WholeModel, units_of
from tdspec.run.linear import Fitted, Linear
from tdspec.run.probe import (
    FILE,
    features_model,
    fitted_probe,
    probe_examples,
    run_on,
    sampled,
    set_probe,
    stored_or,
)
from tdspec.run.run_dir import write_json
from tdspec.run.teacher_keys import check_key
from tdspec.spec.figures import FIGURES, MORE_IS_BETTER, signed_gain
from tdspec.spec.model import Input, SpecBackbone

Array = NDArray[Any]
MOST_EXAMPLES = 1_000
MOST_PROBE_EXAMPLES = 2_000
# A figure is better than chance by at least so many of its standard errors.
MARGIN = 2.0
SCALES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True)
class TeacherFigure:
    """How good a teacher itself is.

    Attributes:
        figure: "accuracy" or "rmse".
        value: of the teacher.
        chance: of whoever knows only how often each label occurs: the most frequent class, or the mean.
        standard_error: of `value`.
        examples: of validation it was measured on.
        by: "own head", or "probe": a linear layer on its features.
    """

    figure: str
    value: float
    chance: float
    standard_error: float
    examples: int
    by: str

    @property
    def is_better_than_chance(self) -> bool:
        """By a clear margin."""
        return signed_gain(self.figure, self.value, self.chance) > MARGIN * self.standard_error

    def misses(self, expected: float | None) -> bool:
        """Whether it is worse than what the spec expects."""
        return expected is not None and signed_gain(self.figure, self.value, expected) < 0


def figure_of(task_type: str, found: Fitted, by: str) -> TeacherFigure:
    """The figure of predictions.

    Args:
        task_type: the task.
        found: predictions (examples, units) and their labels.
        by: who predicts.
    """
    value, chance, error = MEASURES[task_type](found.features, found.labels)
    return TeacherFigure(FIGURES[task_type], float(value), float(chance), float(error), len(found.labels), by)


def _accuracy(logits: Array, labels: Array) -> tuple[float, float, float]:
    labels = labels.reshape(-1)
    return _of_hits(np.argmax(logits, axis=1) == labels, np.bincount(labels).max() / len(labels))


def _binary_accuracy(logits: Array, labels: Array) -> tuple[float, float, float]:
    """Over all outputs; chance says of each output what is true of most examples."""
    labels = labels.reshape(logits.shape) > 0.5
    share = labels.mean(axis=0)
    return _of_hits(((logits > 0) == labels).mean(axis=1), float(np.maximum(share, 1 - share).mean()))


def _of_hits(hits: Array, chance: float) -> tuple[float, float, float]:
    """The standard error is at least that of a guess, so that few equal hits do not seem certain."""
    value, count = float(hits.mean()), len(hits)
    return value, chance, float(np.sqrt(max(hits.var(), chance * (1 - chance)) / count))


def _rmse(predictions: Array, labels: Array) -> tuple[float, float, float]:
    """The standard error of a root is that of the mean square over twice the root."""
    squares = np.square(predictions.reshape(-1) - labels.reshape(-1), dtype=np.float64)
    value = float(np.sqrt(squares.mean()))
    error = float(squares.std() / np.sqrt(len(squares)) / (2 * value)) if value > 0 else 0.0
    return value, float(labels.std()), error


MEASURES: dict[str, Callable[[Array, Array], tuple[float, float, float]]] = {
    "classification": _accuracy,
    "binary": _binary_accuracy,
    "multilabel": _binary_accuracy,
    "regression": _rmse,
}


def fit_head(compiled: Compiled, splits: LoadedSplits, folder: Path, checks: Path) -> dict[str, Any]:
    """Fit a teacher's `head: probe`, or load what was fitted when the run began, or for another run.

    Args:
        compiled: with the teacher's weights.
        splits: training and validation.
        folder: of the run; keeps the fitted layer.
        checks: what runs with the same teacher and examples share.

    Returns:
        What the record says of the probe; empty where the teacher has none.
    """
    spec, teacher = compiled.document.spec, compiled.teacher
    if teacher is None or spec.teacher is None or not has_probe(compiled):
        return {}
    file = folder / FILE.format(name=compiled.document.name_of("teacher"))
    linear = stored_or(file, lambda: _shared_probe(compiled, splits, teacher.whole, checks))
    set_probe(teacher.whole, linear)
    return {"strength": linear.strength, "features": int(linear.kernel.shape[0])}


def has_probe(compiled: Compiled) -> bool:
    """Whether the teacher's head is one that `fit_head` fits."""
    teacher = compiled.document.spec.teacher
    return teacher is not None and teacher.head == "probe" and type(teacher.backbone) is not SpecBackbone


def _shared_probe(compiled: Compiled, splits: LoadedSplits, whole: WholeModel, checks: Path) -> Linear:
    model, seed = features_model(whole), compiled.document.spec.seed
    shown, judged = probe_examples(model, splits.train, splits.validation, seed)
    key = check_key(compiled, model, {"train": shown, "validation": judged}, None)
    file = checks / f"probe-{key}.npz"
    return stored_or(file, lambda: _probe_of(compiled, splits, whole, MOST_EXAMPLES * 100))


def _probe_of(compiled: Compiled, splits: LoadedSplits, whole: WholeModel, most: int) -> Any:
    spec = compiled.document.spec
    return fitted_probe(
        whole,
        sampled(splits.train, most, spec.seed),
        splits.validation,
        task_type=spec.task.type,
        units=units_of(spec.task.type, compiled.num_classes),
        batch_size=spec.data.batch_size,
        seed=spec.seed,
    )


def teacher_figure(compiled: Compiled, splits: LoadedSplits) -> TeacherFigure | None:
    """How good the teacher of a spec is on at most 1,000 examples of validation; None where it has no teacher.

    One without a prediction is judged by a linear layer on its features, fitted to at most 2,000 training examples;
    None where no training example has a label.
    """
    spec, teacher = compiled.document.spec, compiled.teacher
    if teacher is None:
        return None
    shown = sampled(splits.validation, MOST_EXAMPLES, spec.seed)
    if teacher.whole.has_prediction:
        by = "probe" if has_probe(compiled) else "own head"
        return figure_of(spec.task.type, run_on(teacher.whole.model, shown, spec.data.batch_size), by)
    if not splits.train.weights.any():
        return None
    linear = _probe_of(compiled, splits, teacher.whole, MOST_PROBE_EXAMPLES)
    found = run_on(features_model(teacher.whole), shown, spec.data.batch_size)
    return figure_of(spec.task.type, Fitted(linear(found.features), found.labels), "probe")


def shared_figure(compiled: Compiled, splits: LoadedSplits, checks: Path) -> TeacherFigure | None:
    """What `teacher_figure` gives, computed once for all runs with the same teacher, examples and seed.

    Args:
        compiled, splits: as there.
        checks: the folder they share.

    Raises:
        RunError: what is there is damaged.
    """
    teacher = compiled.teacher
    if teacher is None:
        return None
    predicts = teacher.whole.has_prediction
    model = teacher.whole.model if predicts else features_model(teacher.whole)
    parts = {"validation": splits.validation} | ({} if predicts else {"train": splits.train})
    file = checks / f"figure-{check_key(compiled, model, parts, compiled.document.spec.seed)}.json"
    if not file.is_file():
        figure = teacher_figure(compiled, splits)
        write_json(file, None if figure is None else asdict(figure))
    try:
        known = json.loads(file.read_text("utf-8"))
        return None if known is None else TeacherFigure(**known)
    except (ValueError, TypeError) as error:
        raise RunError(f"{file} is damaged: {error}", "delete it: it is computed anew") from None


def judged(compiled: Compiled, splits: LoadedSplits, figure: TeacherFigure) -> str:
    """A line about a teacher: its figure, and a warning where it is no better than chance.

    Raises:
        RunError: it misses `teacher.expect`.
    """
    spec = compiled.document.spec
    expected = None if spec.teacher is None else spec.teacher.expect
    measured = f"{figure.figure} {figure.value:.4f} on {figure.examples:,} validation examples ({figure.by})"
    if figure.misses(expected):
        bound = "at least" if MORE_IS_BETTER[figure.figure] else "at most"
        message = f"{_who(compiled)} is refused: {measured}, teacher.expect says {bound} {expected:g}, chance is"
        raise RunError(f"{message} {figure.chance:.4f}", _causes(compiled, splits, figure))
    line = f"{compiled.document.name_of('teacher')}: {measured}, chance is {figure.chance:.4f}"
    if not figure.is_better_than_chance:
        return (
            f"warning: {_who(compiled)} is no better than chance; {line}\n  hint: {_causes(compiled, splits, figure)}"
        )
    return line


def _who(compiled: Compiled) -> str:
    """The teacher, in a sentence."""
    name = compiled.document.name_of("teacher")
    return "the teacher" if name == "teacher" else f"the teacher '{name}'"


def _causes(compiled: Compiled, splits: LoadedSplits, figure: TeacherFigure) -> str:
    spec, teacher = compiled.document.spec, compiled.teacher
    assert spec.teacher is not None and teacher is not None
    causes = ["wrong weights (teacher.backbone)"]
    if figure.by == "own head" and spec.task.type in ("classification", "multilabel"):
        causes.append("classes in another order (teacher.class_map)")
    if teacher.whole.backbone.size is None:
        causes.insert(0, "preprocessing (mean and std of the columns)")
    elif type(spec.teacher.backbone) is not SpecBackbone:
        found = _better_scale(compiled, splits, figure)
        advice = f"; with scale {found} it is far better" if found else ""
        causes.insert(0, f"preprocessing ({_said(spec.teacher.input)}{advice})")
    return f"the classic causes: {' or '.join([', '.join(causes[:-1]), causes[-1]] if causes[1:] else causes)}"


def _said(image: Input) -> str:
    size = image.size if image.size == "auto" else list(image.size)
    words = {"scale": list(image.scale), "mean": list(image.mean), "std": list(image.std), "size": size}
    return "teacher.input has " + ", ".join(f"{key} {value}" for key, value in words.items())


def _better_scale(compiled: Compiled, splits: LoadedSplits, figure: TeacherFigure) -> str:
    """The usual scale with which the same teacher is far better, in words, or ""."""
    spec, teacher = compiled.document.spec, compiled.teacher
    assert spec.teacher is not None and teacher is not None
    if figure.by != "own head":
        return ""
    rescaling = teacher.whole.model.get_layer("image_scaled")
    shown = sampled(splits.validation, MOST_EXAMPLES, spec.seed)
    before = rescaling.scale, rescaling.offset
    tried = {}
    try:
        for low, high in SCALES:
            rescaling.scale, rescaling.offset = (high - low) / 255.0, low
            found = figure_of(spec.task.type, run_on(teacher.whole.model, shown, spec.data.batch_size), figure.by)
            tried[f"[{low:g}, {high:g}], mean 0, std 1"] = found
    finally:
        rescaling.scale, rescaling.offset = before
    words, best = max(tried.items(), key=lambda item: signed_gain(figure.figure, item[1].value, figure.value))
    gain = signed_gain(figure.figure, best.value, figure.value)
    far = gain > 5 * (best.standard_error + figure.standard_error) and best.is_better_than_chance
    return f"{words} ({best.figure} {best.value:.4f})" if far else ""


def as_record(figure: TeacherFigure, probe: dict[str, Any]) -> dict[str, Any]:
    """What run.json says of the teacher."""
    return {**asdict(figure), **({"probe": probe} if probe else {})}
