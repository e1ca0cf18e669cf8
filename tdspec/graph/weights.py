"""Loading weights into a compiled graph; only `train` does this, and only here may a preset be downloaded.

In: a built backbone and where its weights are said to be. Out: the model with its weights set, or a `WeightsError`.
Leaves out: building the model (`backbones.py`), finding the run of a teacher that is another spec (`run/teachers.py`).
"""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Callable
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
from safetensors import SafetensorError

from tdspec.errors import WeightsError
from tdspec.graph.applications import keras_application
from tdspec.graph.presets import fetch_preset
from tdspec.graph.reasons import first_sentence
from tdspec.graph.stored_weights import stored_sizes
from tdspec.spec import model as spec_model

# What Keras, h5py and safetensors raise for files that are missing, cut short, or of another model.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, SafetensorError)


def load_weights(model: keras.Model, backbone: spec_model.Backbone) -> None:
    """Set the weights of a backbone as its spec says; a no-op for random weights.

    Args:
        model: what `backbones.py` built for it.
        backbone: its words in the spec.

    Raises:
        WeightsError: the weights are missing, cannot be read, or are of another model.
        GraphError: a preset is unknown or cannot be downloaded.
    """
    weights = backbone.weights
    if isinstance(weights, spec_model.PresetWeights):
        _from_preset(model, weights.preset)
    elif isinstance(weights, spec_model.FileWeights):
        from_file(model, weights.file)
    elif weights in LOADERS:
        LOADERS[weights](model, backbone)


def presets_of(backbone: spec_model.Backbone) -> tuple[str, ...]:
    """The presets that a backbone names, for itself or for its weights."""
    own = (backbone.preset,) if isinstance(backbone, spec_model.PresetBackbone) else ()
    weights = backbone.weights
    return (*own, weights.preset) if isinstance(weights, spec_model.PresetWeights) else own


def _own(model: keras.Model, backbone: Any) -> None:
    if type(backbone) is spec_model.PresetBackbone:
        _from_preset(model, backbone.preset)
    else:
        from_file(model, backbone.file)


def _imagenet(model: keras.Model, backbone: Any) -> None:
    shape = tuple(model.inputs[0].shape[1:])
    try:
        source = keras_application(backbone.application, shape, weights="imagenet")
    except UNREADABLE as error:
        raise WeightsError(
            f"the imagenet weights of {backbone.application} cannot be loaded: {first_sentence(error)}",
            "they are downloaded once; is the network reachable?",
        ) from error
    _copy(source, model, f"{backbone.application}'s imagenet weights")


LOADERS: dict[str, Callable[[keras.Model, Any], None]] = {"own": _own, "imagenet": _imagenet}


def _from_preset(model: keras.Model, preset: str) -> None:
    folder = fetch_preset(preset)
    try:
        source = keras_hub.models.Backbone.from_preset(str(folder))
    except UNREADABLE as error:
        raise WeightsError(
            f"the weights of preset '{preset}' cannot be read: {first_sentence(error)}",
            "is each of its files there, and complete?",
        ) from error
    if type(source) is not type(model):
        raise WeightsError(
            f"preset '{preset}' is a {type(source).__name__}, the spec's backbone a {type(model).__name__}"
        )
    _copy(source, model, f"preset '{preset}'")


def from_file(model: keras.Model, file: str) -> None:
    """Set a model's weights from a .weights.h5 or .keras file of the same architecture.

    Raises:
        WeightsError: the file is missing, cut short, or of another model.
    """
    path = Path(file)
    if not path.is_file():
        raise WeightsError(f"no weight file '{file}'")
    if not path.name.endswith((".weights.h5", ".keras")):
        raise WeightsError(f"'{path.name}' is no weight file", "expected a name ending in .weights.h5 or .keras")
    hint = "were they saved from the same architecture?"
    try:
        with warnings.catch_warnings():
            # Keras warns of parts that it skips, which are refused below.
            warnings.simplefilter("ignore", UserWarning)
            model.load_weights(path)
        stored = sum(stored_sizes(path).values())
    except UNREADABLE as error:
        message = f"the weights in '{path.name}' do not fit the model or cannot be read: {first_sentence(error)}"
        raise WeightsError(message, hint) from error
    wanted = sum(prod(variable.shape) for variable in model.weights)
    # Keras loads a deeper model's file without a word, as far as it goes.
    if stored != wanted:
        raise WeightsError(f"'{path.name}' holds {stored:,} weights, the model has {wanted:,}", hint)


def _copy(source: keras.Model, target: keras.Model, what: str) -> None:
    """Copy all variables, in order; both models come from the same class, and have the same layers."""
    pairs = list(zip(source.weights, target.weights, strict=False))
    wrong = [(old, new) for old, new in pairs if tuple(old.shape) != tuple(new.shape)]
    if len(source.weights) != len(target.weights):
        raise WeightsError(f"{what} has {len(source.weights)} variables, the model {len(target.weights)}")
    if wrong:
        old, new = wrong[0]
        raise WeightsError(f"{what} has {old.path} of shape {tuple(old.shape)}, the model wants {tuple(new.shape)}")
    _require_same_layers(source, target, what)
    for old, new in pairs:
        new.assign(old)


def _require_same_layers(source: keras.Model, target: keras.Model, what: str) -> None:
    """Refuse models that differ in layers without weights, which no variable tells apart."""
    for old, new in zip_longest(_layers(source), _layers(target), fillvalue="no layer"):
        if old != new:
            raise WeightsError(f"{what} are of a network with {old} where the model has {new}")


def _layers(model: keras.Model) -> list[str]:
    """What each layer is, and by what numbers it rescales; dropout, which a spec may change, left out."""
    return [
        f"{type(layer).__name__}({layer.scale}, {layer.offset})"
        if isinstance(layer, keras.layers.Rescaling)
        else type(layer).__name__
        for layer in model.layers
        if not isinstance(layer, keras.layers.Dropout)
    ]


def check_finite(model: keras.Model, whose: str) -> None:
    """Refuse weights that hold NaN or infinity; a layer such as relu may hide them from everything behind it.

    Args:
        model: with its weights.
        whose: the model's name in the message.

    Raises:
        WeightsError: one is not finite.
    """
    for variable in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise WeightsError(
                f"the {whose}'s weight '{variable.path}' is not finite",
                "its file holds NaN or infinity: did the training that wrote it diverge?",
            )


def weights_sha256(model: keras.Model) -> str:
    """Hash of all variables of a model, in order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return digest.hexdigest()
