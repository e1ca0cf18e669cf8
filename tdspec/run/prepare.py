"""From a spec to everything a run needs: the distiller with its weights, and the data it is fed.

In: a `Document`. Out: a `Compiled` with weights loaded, `LoadedSplits`, a compiled optimizer.
Leaves out: running the steps (`loop.py`), the run folder and its files (`train.py`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tdspec.data.info import SourceInfo
from tdspec.data.info import describe as describe_source
from tdspec.data.pipeline import InputColumn, LoadedSplits, open_splits
from tdspec.errors import DataError, GraphError, WeightsError
from tdspec.graph.backbones import Column
from tdspec.graph.compiler import Compiled, build
from tdspec.graph.models import WholeModel
from tdspec.graph.own_terms import NONE, Own
from tdspec.graph.presets import preset_folder
from tdspec.graph.sides import CutModel
from tdspec.graph.weights import check_finite, from_file, load_weights, presets_of
from tdspec.run.compiling import Jit, jit_of
from tdspec.run.optimizers import LossScale, make_optimizer
from tdspec.run.teachers import trained_run
from tdspec.spec.load import Document, load
from tdspec.spec.model import SpecBackbone


def describe(document: Document) -> SourceInfo:
    """What the data source of a spec declares, without reading data.

    Raises:
        SpecError: the builder or a column is unknown.
    """
    data = document.spec.data
    try:
        return describe_source(
            source=data.source,
            name=data.name,
            path=data.path,
            label=document.spec.task.label,
            column=document.spec.student.input.column,
        )
    except DataError as error:
        raise document.error("data", error.message, error.hint, rule="data") from error


def compile_without_weights(document: Document, own: Own = NONE) -> Compiled:
    """Compile a spec, and what a user adds, without allocating one weight, reading data, or using the network."""
    with keras.StatelessScope(initialize_variables=False):
        return build(document, describe, own)


def compile_with_weights(document: Document, student_files: Mapping[str, Path], precision: str = "") -> Compiled:
    """Compile a spec in the current strategy's scope and load the weights it names.

    Args:
        document: the spec.
        student_files: by model ("student", "teacher", or a teacher's name), the `student.keras` of the run that trained
            it, where it is another spec's student.
        precision: what `train.precision: auto` turned out to be; "": what the spec says.

    Raises:
        WeightsError: weights are missing, do not fit, or are not finite.
    """
    compiled = build(document, describe, precision=precision)
    for name, backbone in _backbones(compiled).items():
        whole = compiled.models[name].whole
        if name in student_files:
            from_file(whole.model, str(student_files[name]))
        else:
            load_weights(whole.backbone.model, backbone)
        check_finite(whole.model, name)
    return compiled


def _backbones(compiled: Compiled) -> dict[str, Any]:
    """What the spec says of the backbone of each model of `compiled.models`."""
    teachers = {teacher.name: teacher.document.spec.teacher for teacher in compiled.teachers}
    backbones = {name: teacher.backbone for name, teacher in teachers.items() if teacher is not None}
    return {"student": compiled.document.spec.student.backbone, **backbones}


def open_data(compiled: Compiled, *, download: bool) -> LoadedSplits:
    """Open the three splits a spec names, checked against what the graph wants to be fed.

    Args:
        compiled: the graph.
        download: whether missing TFDS data may be downloaded.
    """
    spec = compiled.document.spec
    data = spec.data
    sizes = [side.whole.backbone.size for side in compiled.models.values()]
    known = [size for size in sizes if size is not None]
    return open_splits(
        source=data.source,
        name=data.name,
        path=data.path,
        splits=data.splits,
        where=data.where,
        labels_per_class=data.labels_per_class,
        unlabeled=data.unlabeled,
        augment=data.augment,
        label=spec.task.label,
        task_type=spec.task.type,
        num_classes=compiled.num_classes,
        columns=input_columns(compiled),
        resize_to=(max(size[0] for size in known), max(size[1] for size in known)) if known else None,
        seed=spec.seed,
        download=download,
    )


def input_columns(compiled: Compiled) -> list[InputColumn]:
    """What the distiller is fed, column by column."""
    sides = [side.whole for side in compiled.models.values()]
    known = {column.name: InputColumn(column.name, column.kind, column.size) for column in _table_columns(sides)}
    texts = [side for side in sides if side.text is not None]
    # The compiler has checked that both sides share one tokenization, so the first one's feeds both.
    known |= {name: InputColumn(name, "text", text=texts[0].text) for side in texts for name in side.model.input}
    return [
        known[name] if name in known else InputColumn(name, "image", None, tuple(tensor.shape[1:]))
        for name, tensor in _fed(compiled).items()
    ]


def _fed(compiled: Compiled) -> dict[str, Any]:
    """What is read from the data: also what only a teacher reads whose states are kept, and computed from it once."""
    own = {name: tensor for name, tensor in compiled.distiller.input.items() if name not in compiled.cached}
    teacher: Any = compiled.teacher
    return {**own, **teacher.whole.model.input} if compiled.cached else own


def _table_columns(sides: Sequence[WholeModel]) -> list[Column]:
    return [column for side in sides for column in side.backbone.columns]


OPTIMIZER_OPTIONS = ("type", "learning_rate", "weight_decay", "momentum", "global_clipnorm")


def compile_optimizer(
    compiled: Compiled, *, schedule: str, total_steps: int | None, plan: Mapping[str, Any] | None = None
) -> Jit:
    """Give the distiller the optimizer of its spec, in the current strategy's scope.

    Args:
        compiled: the graph.
        schedule: of the learning rate, over `total_steps` steps.
        total_steps: of the whole run; None: not known, so that nothing can follow a schedule.
        plan: of `compiled`, where it is made already.

    Returns:
        Whether XLA compiles its step.

    Raises:
        SpecError: the batch does not divide into micro-batches on so many replicas.
        ValueError: the weight of a term has a schedule, and `total_steps` is None.
    """
    _require_even_batches(compiled.document, tf.distribute.get_strategy().num_replicas_in_sync)
    optimizer = compiled.document.spec.train.optimizer
    options = {name: getattr(optimizer, name) for name in OPTIMIZER_OPTIONS}
    jit = jit_of(compiled, total_steps, plan)
    made = make_optimizer(**options, schedule=schedule, total_steps=total_steps or 1, jit=jit.word != "off")
    is_half = compiled.distiller.dtype_policy.name == "mixed_float16"
    compiled.distiller.compile(
        LossScale(made, name="loss_scale") if is_half else made,
        total_steps=total_steps,
        jit=jit.word,
        accumulate_steps=compiled.document.spec.train.accumulate_steps,
    )
    return jit


def _require_even_batches(document: Document, replicas: int) -> None:
    """Refuse a batch that does not divide; how many replicas `auto` means, only the machine says."""
    batch_size, steps = document.spec.data.batch_size, document.spec.train.accumulate_steps
    if steps > 1 and batch_size % (steps * replicas):
        wanted = f"{steps * replicas}: {replicas} replicas times {steps} of train.accumulate_steps"
        raise document.error("data.batch_size", f"found {batch_size}, expected a multiple of {wanted}")


def state_of(compiled: Compiled) -> dict[str, keras.Variable]:
    """Everything that training changes, by a name that is the same in every process: owner/number_name.

    The owners are "student", "student_codec_encode", "student_codec_decode", "teacher_codec_encode",
    "teacher_codec_decode", "student_projection" and "optimizer", and "teacher_scales"; of several teachers each has
    codecs and a projection by its name. The number is the variable's place in the owner's `variables`.
    """
    distiller = compiled.distiller
    owners: Mapping[str, Sequence[keras.Variable]] = {
        "student": distiller.student.variables,
        **{
            f"{name}_{part}": getattr(codec, part).variables
            for name, codec in distiller.codecs.items()
            for part in ("encode", "decode")
        },
        **{
            teacher.projection.name: teacher.projection.variables
            for teacher in distiller.teachers
            if teacher.projection is not None
        },
        "teacher_scales": list(distiller.teacher_scales.values()),
        "optimizer": distiller.optimizer.variables,
    }
    return {
        f"{owner}/{number:03d}_{variable.name}": variable
        for owner, variables in owners.items()
        for number, variable in enumerate(variables)
    }


def variables_of(compiled: Compiled) -> list[keras.Variable]:
    """Everything that a run computes from, in an order that is the same in every process."""
    models = [side.whole.model for side in compiled.models.values()]
    known = [*compiled.distiller.variables, *(v for model in models for v in model.variables)]
    return list({id(variable): variable for variable in (*state_of(compiled).values(), *known)}.values())


def prepared_distiller(
    spec: str | os.PathLike[str], overrides: Sequence[str], root: Path, total_steps: int | None, own: Own = NONE
) -> Any:
    """See `tdspec.compile`."""
    document = load(spec, overrides)
    # Who calls `fit` has no stored states at hand.
    compiled = build(document, describe, own, cached=False)
    for name, reason in load_what_is_here(compiled, root).items():
        warnings.warn(f"the {name} has fresh weights: {reason}", UserWarning, stacklevel=3)
    schedule = "constant" if total_steps is None else document.spec.train.schedule
    compile_optimizer(compiled, schedule=schedule, total_steps=total_steps)
    _warn_of_what_train_fits(compiled)
    return compiled.distiller


def _warn_of_what_train_fits(compiled: Compiled) -> None:
    """Warn where `tdspec train` would look at data first, which the caller's `fit` does not."""
    spec = compiled.document.spec
    if any(teacher.document.values["teacher"]["head"] == "probe" for teacher in compiled.teachers):
        message = "the teacher's probe has fresh weights: it is fitted by `tdspec train` only"
        warnings.warn(message, UserWarning, stacklevel=4)
    if spec.losses.balance == "auto":
        message = "the terms are not balanced: losses.balance is found by `tdspec train` only"
        warnings.warn(message, UserWarning, stacklevel=4)


def load_what_is_here(compiled: Compiled, root: Path) -> dict[str, str]:
    """Load the weights that need neither the network nor a training run.

    Args:
        compiled: with fresh weights.
        root: the folder of all runs.

    Returns:
        By model that keeps its fresh weights though its spec names others, why.
    """
    reasons = {}
    for name, backbone in _backbones(compiled).items():
        try:
            _load_if_here(compiled.models[name], backbone, root)
        except (WeightsError, GraphError) as error:
            reasons[name] = error.message
    return reasons


def _load_if_here(cut: CutModel, backbone: Any, root: Path) -> None:
    if type(backbone) is SpecBackbone:
        run = trained_run(load(backbone.spec), root)
        if run is None:
            raise WeightsError(f"'{backbone.spec}' has no trained run in {root}")
        from_file(cut.whole.model, str(run.student))
        return
    for preset in presets_of(backbone):
        preset_folder(preset)
    if backbone.weights == "imagenet":
        raise WeightsError("imagenet weights are loaded by `tdspec train` only")
    load_weights(cut.whole.backbone.model, backbone)
