"""The head of a teacher that was trained on something else: a linear layer on its frozen features.

In: a whole model with its weights, and two splits. Out: features, a fitted layer, its file in the run folder.
Leaves out: the fit itself (`linear.py`), what the figure means (`teacher_check.py`).
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tdspec.data.seeds import generator
from tdspec.data.split import Split
from tdspec.errors import RunError
from tdspec.graph.models import POOLING, WholeModel
from tdspec.graph.walk import functional, nodes_of
from tdspec.run.linear import Fitted, Linear, fit
from tdspec.run.run_dir import write_bytes

Array = NDArray[Any]
PREDICTION = "prediction"
FILE = "{name}_probe.npz"
# Of a whole training split, so much is enough: a linear layer has few weights, and features are kept in memory.
MOST_BYTES = 2**30
MOST_EXAMPLES = 100_000
MOST_VALIDATION_EXAMPLES = 5_000


def sampled(split: Split, most: int, seed: int) -> Split:
    """A split with at most so many of its examples, drawn by the seed; those without a label are left out."""
    labelled = np.flatnonzero(split.weights > 0)
    if len(labelled) > most:
        labelled = np.sort(generator("sample", seed).choice(labelled, most, replace=False))
    elif len(labelled) == split.num_examples:
        return split
    return dataclasses.replace(
        split,
        num_examples=len(labelled),
        rows=split.rows[labelled],
        places=split.places[labelled],
        labels=None if split.labels is None else split.labels[labelled],
        weights=split.weights[labelled],
    )


def run_on(model: keras.Model, split: Split, batch_size: int) -> Fitted:
    """What a model says of every example of a split, in inference mode, on one device.

    Args:
        model: reads some columns of the split; one output (batch, units).
        split: without augmentation.
        batch_size: of the calls.
    """
    columns = tuple(model.input)

    def predict(features: Any) -> Any:
        return model({name: features[name] for name in columns}, training=False)

    batches = split.batches(min(batch_size, max(1, split.num_examples)), epoch=None)
    call = tf.function(predict).get_concrete_function(batches.element_spec[0])
    outputs, labels = [], []
    for features, label, weight in batches:
        kept = weight.numpy() > 0
        outputs.append(np.asarray(call(features).numpy()[kept], np.float32))
        labels.append(label.numpy()[kept])
    return Fitted(np.concatenate(outputs), np.concatenate(labels))


def features_model(whole: WholeModel) -> keras.Model:
    """Features -> one vector: what the probe reads, or the pooled output of a model without a head."""
    if whole.has_prediction:
        nodes = nodes_of(whole.model)
        tensors = {id(tensor): tensor for node in nodes for tensor in node.tensors}
        return functional(whole.model.input, tensors[nodes[-1].inputs[0]], name="probe_features")
    features = whole.model.output
    layout = whole.layout(tuple(features.shape))
    for layer in POOLING[len(layout.axes)]("auto", layout):
        features = layer(features)
    return functional(whole.model.input, features, name="probe_features")


def fitted_probe(
    whole: WholeModel, train: Split, validation: Split, *, task_type: str, units: int, batch_size: int, seed: int
) -> Linear:
    """Fit a linear layer to a frozen model's features of the labelled training examples.

    Args:
        whole: the model; its own prediction is not used.
        train, validation: fitted to, and the L2 strength chosen on.
        task_type, units: what is predicted.
        batch_size: of the calls.
        seed: draws examples where there are more than are needed.

    Raises:
        RunError: the features are not finite, or no training example has a label.
    """
    model = features_model(whole)
    shown, judged = probe_examples(model, train, validation, seed)
    if shown.num_examples == 0:
        raise RunError("the probe has nothing to learn from: no training example has a label")
    fitted_to, chosen_on = (run_on(model, part, batch_size) for part in (shown, judged))
    if not all(np.isfinite(part.features).all() for part in (fitted_to, chosen_on)):
        raise RunError(
            "the teacher's features are not finite, so that no probe can be fitted",
            "are the weights those of this backbone, and teacher.input what it was trained with?",
        )
    return fit(task_type, fitted_to, chosen_on, units)


def probe_examples(model: keras.Model, train: Split, validation: Split, seed: int) -> tuple[Split, Split]:
    """What a probe on a model's output (batch, width) is fitted to, and what its strength is chosen on."""
    width = int(model.output.shape[-1])
    most = min(MOST_EXAMPLES, max(2_000, MOST_BYTES // (4 * width)))
    return sampled(train, most, seed), sampled(validation, MOST_VALIDATION_EXAMPLES, seed)


def set_probe(whole: WholeModel, linear: Linear) -> None:
    """Make the fitted layer the model's head."""
    head = whole.model.get_layer(PREDICTION)
    head.kernel.assign(linear.kernel)
    head.bias.assign(linear.bias)


def stored_or(file: Path, make: Callable[[], Linear]) -> Linear:
    """The layer that is stored, or a new one, which is stored: a resumed run has the same teacher.

    Raises:
        RunError: the file is damaged.
    """
    if not file.is_file():
        linear = make()
        buffer = io.BytesIO()
        np.savez(buffer, kernel=linear.kernel, bias=linear.bias, strength=np.float64(linear.strength))
        write_bytes(file, buffer.getvalue())
    return stored(file)


def stored(file: Path) -> Linear:
    """The layer in a file.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as parts:
            return Linear(parts["kernel"], parts["bias"], float(parts["strength"]))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{file} is damaged: {error}", "train anew") from error
