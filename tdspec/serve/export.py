"""The student becomes an artefact, and counts only after it was loaded back and answered as the student does.

In: the student (a functional Keras model with its preprocessing inside) and some examples.
Out: SavedModel, LiteRT or ONNX under `folder`, and an `Artefact` for each with the largest difference seen.
Leaves out: the `.keras` file (`student_file.py`), quantisation, and tokenizers: a model of texts is served tokens.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tdspec.errors import ExportError
from tdspec.serve import process, publish

Arrays = Mapping[str, np.ndarray]

# Largest difference allowed, relative to the largest magnitude among the student's own values of that output. The
# SavedModel runs the same kernels as the student, fused differently; LiteRT and ONNX bring their own.
TOLERANCES: Mapping[str, float] = {"saved_model": 1e-5, "litert": 1e-4, "onnx": 1e-4}
HALF_PRECISION_TOLERANCE = 2e-2  # some units in the last place of bfloat16, which has 8 bits

ONNX_PACKAGES = ("tf2onnx", "onnxruntime")


@dataclass(frozen=True)
class Artefact:
    """A file or folder that serves the student.

    Attributes:
        format: "saved_model", "litert" or "onnx".
        path: where it stands.
        num_bytes: its size, over all its files.
        max_difference: largest |artefact - student| over all outputs and examples, for batches of one and of all.
    """

    format: str
    path: Path
    num_bytes: int
    max_difference: float


def _float32(logits: tf.Tensor) -> tf.Tensor:
    return tf.cast(logits, tf.float32)


OUTPUTS: Mapping[str, Mapping[str, Callable[[tf.Tensor], tf.Tensor]]] = {
    "classification": {"logits": _float32, "probabilities": lambda logits: tf.nn.softmax(_float32(logits))},
    "multilabel": {"logits": _float32, "probabilities": lambda logits: tf.sigmoid(_float32(logits))},
    "binary": {"logits": _float32, "probabilities": lambda logits: tf.sigmoid(_float32(logits))},
    "regression": {"prediction": _float32},
}


def export_student(
    student: keras.Model,
    folder: Path,
    *,
    formats: Sequence[str],
    task_type: str,
    examples: Arrays,
    class_names: Sequence[str] | None = None,
) -> tuple[Artefact, ...]:
    """Write the student in each format, each checked against the student before it replaces an older one.

    Args:
        student: functional model with named inputs; its one output (batch, classes) or (batch, 1) holds logits, or
            the prediction of a regression.
        folder: artefacts go to `saved_model/1`, `litert/student.tflite` and `onnx/student.onnx` in it.
        formats: keys of `TOLERANCES`.
        task_type: a key of `OUTPUTS`.
        examples: one array (examples, ...) for each input, by the input's name.
        class_names: names of the classes by number, written beside the model as `class_names.json`.

    Returns:
        One artefact for each format, in the order asked for.

    Raises:
        ExportError: the call is wrong, a format cannot be made, or an artefact disagrees with the student.
    """
    _check_call(student, formats, task_type, examples, class_names)
    questions = {tensor.name: np.asarray(examples[tensor.name], tensor.dtype) for tensor in student.inputs}
    expected = student_answers(student, task_type, questions)
    artefacts = []
    with publish.workspace(folder) as work:
        saved_model = work / "saved_model"
        write_saved_model(student, saved_model, task_type)
        for name in formats:
            path = WRITERS[name](saved_model, work / f"{name}_parts")
            difference = compare(name, expected, process.answers(name, path, questions), tolerance(student, name))
            target = folder / TARGETS[name]
            _publish(path, target, class_names)
            artefacts.append(Artefact(name, target, publish.size(target), difference))
    return tuple(artefacts)


def student_answers(student: keras.Model, task_type: str, examples: Arrays) -> dict[str, np.ndarray]:
    """The student's own answers on the CPU: "one.NAME" (1, ...) and "all.NAME" (examples, ...) for each output.

    Run as a graph, as `fit`, `evaluate` and `predict` do: some layers (Resizing on uint8) answer otherwise when eager.
    """
    batches = {"one": {name: value[:1] for name, value in examples.items()}, "all": examples}
    run = tf.function(lambda features: call(student, features)).get_concrete_function(input_specs(student))
    answers = {}
    with tf.device("CPU:0"):
        for batch, features in batches.items():
            logits = run({name: tf.constant(value) for name, value in features.items()})
            for name, activation in OUTPUTS[task_type].items():
                answers[f"{batch}.{name}"] = np.asarray(activation(logits))
    return answers


def call(student: keras.Model, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The student's output (batch, ...) in inference mode for features given by the names of its inputs."""
    arguments = keras.tree.map_structure(lambda tensor: features[tensor.name], student.input)
    return student(arguments, training=False)


def input_specs(student: keras.Model) -> dict[str, tf.TensorSpec]:
    """Shape and dtype of each input by its name; the batch is open."""
    return {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in student.inputs}


def write_saved_model(student: keras.Model, path: Path, task_type: str) -> None:
    """Write a SavedModel with the one signature `serving_default`; inputs and outputs go by name, any batch size."""

    def serve(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        logits = call(student, features)
        return {name: activation(logits) for name, activation in OUTPUTS[task_type].items()}

    archive = keras.export.ExportArchive()
    archive.track(student)
    archive.add_endpoint("serving_default", serve, input_signature=[input_specs(student)])
    archive.write_out(str(path), verbose=False)


def _saved_model(saved_model: Path, parts: Path) -> Path:
    """A copy, since the other formats are still made from the first."""
    shutil.copytree(saved_model, parts)
    return parts


def _litert(saved_model: Path, parts: Path) -> Path:
    """Convert with TensorFlow's own converter, in a process of its own since it may abort."""
    path = parts / "student.tflite"
    parts.mkdir()
    script = Path(__file__).with_name("litert.py")
    hint = "the student uses an operation LiteRT lacks; leave litert out of export.formats"
    process.run([str(script), str(saved_model), str(path)], "litert: the conversion failed", hint)
    return path


def _onnx(saved_model: Path, parts: Path) -> Path:
    """Convert with tf2onnx, in a process of its own."""
    missing = [package for package in ONNX_PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise ExportError(
            f"onnx: the package{'s' if len(missing) > 1 else ''} {' and '.join(missing)} "
            f"{'are' if len(missing) > 1 else 'is'} not installed",
            f"pip install {' '.join(ONNX_PACKAGES)}",
        )
    path = parts / "student.onnx"
    parts.mkdir()
    script = Path(__file__).with_name("onnx_conversion.py")
    command = [str(script), str(saved_model), str(path)]
    process.run(command, "onnx: the conversion failed", "leave onnx out of export.formats")
    return path


WRITERS: Mapping[str, Callable[[Path, Path], Path]] = {"saved_model": _saved_model, "litert": _litert, "onnx": _onnx}
TARGETS: Mapping[str, Path] = {
    "saved_model": Path("saved_model", "1"),
    "litert": Path("litert", "student.tflite"),
    "onnx": Path("onnx", "student.onnx"),
}


def compare(format_name: str, expected: Arrays, answers: Arrays, tolerance: float) -> float:
    """Largest difference between an artefact's answers and the student's.

    Args:
        format_name: for the error's text.
        expected: the student's answers by output.
        answers: the artefact's answers by output, the same names and shapes.
        tolerance: allowed difference, relative to the largest magnitude of the output.

    Returns:
        max |answer - expected| over all outputs.

    Raises:
        ExportError: names or shapes differ, a value is not finite, or a difference exceeds the tolerance.
    """
    if set(answers) != set(expected):
        raise ExportError(f"{format_name}: outputs {sorted(answers)}, expected {sorted(expected)}")
    largest = 0.0
    for name, value in expected.items():
        answer = answers[name]
        if answer.shape != value.shape:
            raise ExportError(f"{format_name}: output '{name}' has shape {answer.shape}, the student's {value.shape}")
        difference = float(np.max(np.abs(answer.astype(np.float64) - value), initial=0.0))
        allowed = tolerance * float(np.max(np.abs(value), initial=0.0))
        if not difference <= allowed:  # so that NaN fails too
            raise ExportError(
                f"{format_name}: output '{name}' differs from the student's by {difference:.3g}, "
                f"allowed {allowed:.3g}; the artefact was not kept"
            )
        largest = max(largest, difference)
    return largest


def tolerance(student: keras.Model, format_name: str = "saved_model") -> float:
    """Difference allowed to an artefact, relative to the output's largest magnitude; more for half precision."""
    half = any(layer.compute_dtype in ("float16", "bfloat16") for layer in student.layers)
    return max(TOLERANCES[format_name], HALF_PRECISION_TOLERANCE if half else 0.0)


def _publish(path: Path, target: Path, class_names: Sequence[str] | None) -> None:
    """Put an artefact in its place; a SavedModel carries the class names in the folder TensorFlow keeps for such."""
    beside = path / "assets.extra" if path.is_dir() else path.parent
    if class_names is not None:
        beside.mkdir(exist_ok=True)
        names = beside / "class_names.json"
        names.write_text(json.dumps(list(class_names), ensure_ascii=False) + "\n", encoding="utf-8")
        if not path.is_dir():
            publish.publish(names, target.parent / names.name)
    publish.publish(path, target)


def _check_call(
    student: keras.Model,
    formats: Sequence[str],
    task_type: str,
    examples: Arrays,
    class_names: Sequence[str] | None,
) -> None:
    unknown = [name for name in formats if name not in WRITERS]
    if unknown:
        raise ExportError(f"unknown format '{unknown[0]}', expected one of {', '.join(WRITERS)}")
    if task_type not in OUTPUTS:
        raise ExportError(f"unknown task '{task_type}', expected one of {', '.join(OUTPUTS)}")
    names = [tensor.name for tensor in student.inputs]
    missing = [name for name in names if name not in examples]
    if missing:
        raise ExportError(f"no examples for the student's input '{missing[0]}'")
    counts = {len(examples[name]) for name in names}
    if len(counts) != 1 or 0 in counts:
        raise ExportError(f"examples of different or no length: {sorted(counts)}")
    num_classes = student.output_shape[-1]
    if class_names is not None and len(class_names) != num_classes:
        raise ExportError(f"{len(class_names)} class names for {num_classes} classes")
