"""Runs an artefact on examples in a process of its own, which has neither tdspec nor (but for .keras files) Keras.

In: a format, the artefact, an .npz file of examples. Out: an .npz file with what the artefact answers to the first
example alone ("one.NAME") and to all of them ("all.NAME"). Run by path, so that it imports nothing of this package:

    python -P parity.py FORMAT ARTEFACT EXAMPLES.npz ANSWERS.npz

Leaves out: the comparison with the student (`export.py`, `student_file.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]
Runner = Callable[[Arrays], Arrays]


def load_saved_model(path: str) -> Runner:
    """A runner for the signature `serving_default` of a SavedModel, read by TensorFlow alone."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_default"]
    specs = {spec.name: spec for spec in signature.structured_input_signature[1].values()}

    def run(features: Arrays) -> Arrays:
        assert loaded is not None  # the signature does not keep the model's variables alive
        check_features(features, {name: (spec.shape.as_list(), spec.dtype.name) for name, spec in specs.items()})
        return {name: value.numpy() for name, value in signature(**dict(features)).items()}

    return run


def load_litert(path: str) -> Runner:
    """A runner for the signature `serving_default` of a .tflite file."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        from tensorflow.lite.python.interpreter import Interpreter

    runner = Interpreter(model_path=path).get_signature_runner("serving_default")
    details = runner.get_input_details()
    expected = {
        name: (detail["shape_signature"].tolist(), np.dtype(detail["dtype"]).name) for name, detail in details.items()
    }

    def run(features: Arrays) -> Arrays:
        check_features(features, expected)
        # The interpreter refuses to resize its inputs as long as someone holds a view of its memory.
        return {name: np.array(value) for name, value in runner(**dict(features)).items()}

    return run


def load_onnx(path: str) -> Runner:
    """A runner for an ONNX file, read by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(features: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, dict(features)), strict=True))

    return run


def load_keras_file(path: str) -> Runner:
    """A runner for a .keras file, loaded as anyone loads one: `load_model`, safe mode, no custom objects."""
    import keras

    model = keras.models.load_model(path)

    def run(features: Arrays) -> Arrays:
        arguments = keras.tree.map_structure(lambda tensor: features[tensor.name], model.input)
        num_examples = len(next(iter(features.values())))
        return {"prediction": model.predict(arguments, batch_size=num_examples, verbose=0)}

    return run


LOADERS: Mapping[str, Callable[[str], Runner]] = {
    "saved_model": load_saved_model,
    "litert": load_litert,
    "onnx": load_onnx,
    "keras_file": load_keras_file,
}
FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "saved_model": ("keras", "keras_hub", "tdspec"),
    "litert": ("keras", "keras_hub", "tdspec"),
    "onnx": ("keras", "keras_hub", "tdspec", "tensorflow"),
    "keras_file": ("tdspec",),
}


def check_features(features: Arrays, expected: Mapping[str, tuple[list[int | None], str]]) -> None:
    """Refuse features that do not fit a signature; a wrong rank would abort the process inside a kernel.

    Raises:
        ValueError: names, dtypes or shapes differ (None and -1 stand for any size).
    """
    if set(features) != set(expected):
        raise ValueError(f"the signature takes {sorted(expected)}, the student {sorted(features)}")
    for name, (shape, dtype) in expected.items():
        value = features[name]
        sizes_fit = all(size in (None, -1, actual) for size, actual in zip(shape, value.shape, strict=False))
        if len(shape) != value.ndim or not sizes_fit or value.dtype.name != dtype:
            raise ValueError(f"input '{name}' takes {dtype} {shape}, examples are {value.dtype.name} {value.shape}")


def answers_of(run: Runner, examples: Arrays) -> dict[str, np.ndarray]:
    """What is answered to the first example alone ("one.NAME") and to all of them ("all.NAME")."""
    batches = {"one": {name: value[:1] for name, value in examples.items()}, "all": examples}
    return {
        f"{batch}.{name}": np.asarray(value)
        for batch, features in batches.items()
        for name, value in run(features).items()
    }


def main(arguments: list[str]) -> None:
    """Answer the examples with an artefact."""
    format_name, artefact, examples_path, answers_path = arguments
    for module in FORBIDDEN[format_name]:
        sys.modules[module] = None  # type: ignore[assignment]
    with np.load(examples_path) as archive:
        examples = {name: archive[name] for name in archive.files}
    answers = answers_of(LOADERS[format_name](artefact), examples)
    np.savez(answers_path, **answers)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])
