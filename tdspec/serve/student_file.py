"""The trained student as a `.keras` file that anyone with Keras loads, and that holds the student alone.

In: the student (a functional Keras model). Out: the file, in place only after plain `keras.models.load_model` in safe
mode, in a process without tdspec (or in this one, where that is enough), gave a model that predicts the same.
Leaves out: the optimizer's state (`run/checkpoints.py`) and formats for serving (`export.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from tdspec.errors import ExportError
from tdspec.graph.stored_weights import stored_sizes
from tdspec.serve import process, publish
from tdspec.serve.export import compare, student_answers, tolerance
from tdspec.serve.parity import answers_of, load_keras_file

NUM_PROBES = 4
OPEN_SIZE = 64  # stands for a size the model leaves open, such as an image's height


def save_student(student: keras.Model, path: Path, *, apart: bool = True) -> float:
    """Write the student, load it back, and put it in place.

    Args:
        student: functional model with named inputs and one output.
        path: ends in `.keras`; an older file is replaced.
        apart: load it in a process without tdspec; that takes seconds, which a run that is measured alone saves.

    Returns:
        Largest |loaded - student| over probing inputs, batches of one and of four.

    Raises:
        ExportError: variables hang on the student that its graph does not use, or the file does not load back as
            the same model.
    """
    check_alone(student)
    questions = probes(student)
    expected = student_answers(student, "regression", questions)
    with publish.workspace(path.parent) as work:
        file = work / path.name
        student.save(file)
        _check_size(student, file)
        answers = process.answers("keras_file", file, questions) if apart else _answers_here(file, questions)
        difference = compare("keras_file", expected, answers, tolerance(student))
        publish.publish(file, path)
    return difference


def _answers_here(file: Path, questions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    try:
        with keras.device("cpu:0"):
            return answers_of(load_keras_file(str(file)), questions)
    except (TypeError, ValueError) as error:
        raise ExportError(f"keras_file: loading it back failed: {str(error).splitlines()[0][:400]}") from error


def check_alone(student: keras.Model) -> None:
    """Refuse a student that carries variables its own graph does not use, such as a teacher's or a codec's.

    Raises:
        ExportError: names the first such variable.
    """
    used = {id(variable) for layer in student.layers for variable in layer.variables}
    foreign = sorted(variable.path for variable in student.variables if id(variable) not in used)
    if foreign:
        raise ExportError(f"the student carries {len(foreign)} variables that it does not use, such as '{foreign[0]}'")


def probes(student: keras.Model) -> dict[str, np.ndarray]:
    """Inputs that every student accepts: the same each time, (4, ...) by the input's name.

    Bytes are uniform, floats standard normal; whole numbers are 0, the one id that every table has; the masks of the
    four end one later each.
    """
    generator = np.random.default_rng(0)
    inputs = {}
    for tensor in student.inputs:
        shape = (NUM_PROBES, *(OPEN_SIZE if size is None else size for size in tensor.shape[1:]))
        if tensor.dtype == "uint8":
            inputs[tensor.name] = generator.integers(0, 256, shape, dtype=np.uint8)
        elif keras.backend.is_float_dtype(tensor.dtype):
            inputs[tensor.name] = generator.normal(size=shape).astype(tensor.dtype)
        elif "mask" in tensor.name and len(shape) == 2:
            inputs[tensor.name] = (np.arange(shape[1]) <= np.arange(NUM_PROBES)[:, None]).astype(tensor.dtype)
        else:
            inputs[tensor.name] = np.zeros(shape, tensor.dtype)
    return inputs


def _check_size(student: keras.Model, file: Path) -> None:
    """The file holds as many values as the student's weights (random seeds are not saved), neither fewer nor more."""
    found = sum(stored_sizes(file).values())
    expected = sum(int(np.prod(variable.shape)) for variable in student.weights)
    if found != expected:
        raise ExportError(f"{file.name} holds {found} values, the student has {expected}")
