"""Backbones: functional Keras models without a head, built from plain arguments, without weights and without a network.

In: a class and its config, a preset, a file, or the widths of an MLP. Out: a `Backbone`.
Leaves out: models of keras.applications (`applications.py`), loading weights (`weights.py`), preprocessing and head
(`models.py`).
"""

from __future__ import annotations

import difflib
import inspect
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub

from tdspec.errors import GraphError
from tdspec.graph.presets import preset_folder
from tdspec.graph.reasons import first_sentence
from tdspec.graph.text import reads_text
from tdspec.graph.walk import functional, nodes_of, trace


@dataclass(frozen=True)
class Column:
    """A table column as a model reads it: kind "id", "ids" or "number"; `size` is None for a number."""

    name: str
    kind: str
    size: int | None
    dim: int
    mean: float
    std: float


@dataclass(frozen=True)
class Backbone:
    """A model without a head.

    Attributes:
        model: functional; its input is one image, or a mapping of columns or of a text's tokens.
        kind: what a person calls it, such as "ViTBackbone".
        size: (height, width) of the image it reads, or None for columns and text.
        columns: the columns it reads, or () for an image or a text.
        scales_pixels: whether it brings pixels 0..255 into its range itself.
    """

    model: keras.Model
    kind: str
    size: tuple[int, int] | None
    columns: tuple[Column, ...] = ()
    scales_pixels: bool = False


Size = tuple[int, int] | None

# How the constructors of keras-hub's backbones call the shape of the image.
SHAPE_ARGUMENTS = frozenset({"image_shape", "input_shape"})

# What the names of keras-hub's backbones end in; the schema's pattern says the same.
CLASS_ENDINGS = ("Backbone", "VisionEncoder", "TextEncoder")


def suggestion(word: str, words: Iterable[str]) -> str:
    """A hint at the nearest of some words; "" where none is near."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else ""


def hub_class(class_name: str, config: Mapping[str, Any], *, size: Size, channels: int) -> Backbone:
    """A keras-hub backbone from its class and config.

    Args:
        class_name: such as "ViTBackbone".
        config: arguments of its constructor; `image_shape` may be left out, it is (*size, channels).
        size: (height, width), or None for that of the config.
        channels: of the image.

    Raises:
        GraphError: no such class, or the class refuses the config.
    """
    classes = {name: cls for name, cls in vars(keras_hub.models).items() if name.endswith(CLASS_ENDINGS)}
    if class_name not in classes:
        raise GraphError(f"keras-hub has no class '{class_name}'", suggestion(class_name, classes))
    backbone_class = classes[class_name]
    parameters = inspect.signature(backbone_class.__init__).parameters
    unknown = [name for name in config if name not in parameters]
    if unknown:
        raise GraphError(f"{class_name} has no argument '{unknown[0]}'", suggestion(unknown[0], parameters))
    arguments = dict(config)
    for name in SHAPE_ARGUMENTS.intersection(parameters):
        arguments[name] = _image_shape(config, name, parameters[name].default, size, channels)
    missing = [
        name
        for name, parameter in parameters.items()
        if name != "self"
        and name not in arguments
        and parameter.default is inspect.Parameter.empty
        and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    if missing:
        raise GraphError(f"{class_name} needs the argument{'s'[: len(missing) > 1]} {', '.join(missing)}")
    try:
        model = backbone_class(**arguments)
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, ZeroDivisionError) as error:
        shapes = [arguments[name] for name in SHAPE_ARGUMENTS.intersection(arguments)]
        given = "".join(f" with an input of {height} x {width}" for height, width, _ in shapes)
        raise GraphError(f"{class_name} refuses its config{given}: {first_sentence(error)}") from error
    return Backbone(model, class_name, _settled_size(model, size, channels))


def _image_shape(
    config: Mapping[str, Any], name: str, default: Any, size: Size, channels: int
) -> tuple[int | None, ...]:
    if name not in config:
        if size is not None:
            return (*size, channels)
        if default is inspect.Parameter.empty or default is None or None in default:
            raise GraphError("the size of the image is not known", "write input.size: [height, width]")
        return tuple(default)
    shape = config[name]
    if not isinstance(shape, Sequence) or len(shape) != 3 or not all(isinstance(axis, int) for axis in shape):
        raise GraphError(f"config.{name} is {shape}, expected [height, width, channels]")
    shape = tuple(shape)
    if size is not None and shape[:2] != size:
        raise GraphError(f"config.{name} {list(shape)} differs from input.size {list(size)}", "write one of the two")
    return shape


def _settled_size(model: keras.Model, size: Size, channels: int) -> Size:
    if not getattr(model, "inputs", None):
        raise GraphError(f"{type(model).__name__} is no functional model, so that it cannot be cut")
    if reads_text(model):
        return None
    shape = model.inputs[0].shape
    if len(model.inputs) != 1 or len(shape) != 4:
        names = ", ".join(tensor.name for tensor in model.inputs)
        raise GraphError(f"the model does not read one image, its inputs are {names}")
    if shape[3] not in (None, channels):
        message = f"input.channels is {channels}, the model reads {shape[3]}"
        raise GraphError(message, f"write input.channels: {shape[3]}")
    own = None if None in shape[1:3] else (int(shape[1]), int(shape[2]))
    if size is None and own is None:
        raise GraphError("the size of the image is not known", "write input.size: [height, width]")
    if size is not None and own is not None and size != own:
        raise GraphError(f"the model reads images of {own[0]} x {own[1]}, input.size is {size[0]} x {size[1]}")
    return size or own


def hub_preset(preset: str, *, size: Size, channels: int) -> Backbone:
    """A keras-hub backbone from a preset's config, which must be on this machine.

    Args:
        preset: a local folder, or the name of a preset that was fetched.

    Raises:
        GraphError: it is not on this machine, or cannot be read.
    """
    folder = preset_folder(preset)
    try:
        model = keras_hub.models.Backbone.from_preset(str(folder), load_weights=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraphError(f"preset '{preset}' cannot be read: {first_sentence(error)}") from error
    return Backbone(model, type(model).__name__, _settled_size(model, size, channels))


def keras_file(file: str, *, size: Size, channels: int) -> Backbone:
    """The architecture of a .keras file, read in safe mode; its weights stay where they are.

    Raises:
        GraphError: the file is missing, no .keras file, holds code, or is no functional model.
    """
    path = Path(file)
    if not path.is_file():
        raise GraphError(f"no file '{file}'")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise GraphError(
            f"'{path.name}' cannot be read as a .keras file in safe mode: {first_sentence(error)}"
        ) from error
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not getattr(model, "inputs", None) or len(model.outputs) != 1:
        hint = "a Sequential needs an Input, a model with several outputs the one that counts"
        raise GraphError(f"'{path.name}' holds no functional model with one output", hint)
    if len(model.inputs) > 1 and not reads_text(model) and all(len(tensor.shape) < 3 for tensor in model.inputs):
        return _on_columns(model, path.stem)
    return Backbone(model, path.stem, _settled_size(model, size, channels))


def _on_columns(model: keras.Model, kind: str) -> Backbone:
    """A model with an input for each column of a table, each of which is one value an example."""
    columns = tuple(_column(model, tensor) for tensor in model.inputs)
    entries = {tensor.name: keras.Input((), dtype=tensor.dtype, name=tensor.name) for tensor in model.inputs}
    values = [
        keras.layers.Reshape((1,), name=f"{tensor.name}_column")(entry) if len(tensor.shape) == 2 else entry
        for tensor, entry in zip(model.inputs, entries.values(), strict=True)
    ]
    (output,) = keras.tree.flatten(trace(model, keras.tree.pack_sequence_as(model.input, values), opening=False))
    return Backbone(functional(entries, output, name=model.name), kind, None, columns)


def _column(model: keras.Model, tensor: keras.KerasTensor) -> Column:
    """A table's column by the name of the input that reads it: a number, or an id where an Embedding reads it."""
    if tuple(tensor.shape[1:]) not in ((), (1,)):
        shape = " x ".join(map(str, tensor.shape[1:]))
        raise GraphError(
            f"the model's input '{tensor.name}' has the shape {shape}, a column of a table is one value an example",
            "give each column an input of its own, of shape () or (1,)",
        )
    if "float" in str(tensor.dtype):
        return Column(tensor.name, "number", None, 0, 0.0, 1.0)
    readers = [node.operation for node in nodes_of(model) if id(tensor) in node.inputs]
    if len(readers) != 1 or not isinstance(readers[0], keras.layers.Embedding):
        raise GraphError(
            f"the model's input '{tensor.name}' is {tensor.dtype}, expected floats, or ids for an Embedding"
        )
    return Column(tensor.name, "id", readers[0].input_dim, readers[0].output_dim, 0.0, 1.0)


def mlp_on_image(units: Iterable[int], activation: str, dropout: float, *, size: Size, channels: int) -> Backbone:
    """Dense layers on a flattened image.

    Raises:
        GraphError: the size of the image is not known.
    """
    if size is None:
        raise GraphError("the size of the image is not known", "write input.size: [height, width]")
    image = keras.Input((*size, channels), name="pixels")
    hidden = _dense(keras.layers.Flatten(name="flatten")(image), units, activation, dropout)
    return Backbone(keras.Model(image, hidden, name="mlp"), "MLP", size)


def mlp_on_columns(units: Iterable[int], activation: str, dropout: float, columns: tuple[Column, ...]) -> Backbone:
    """Dense layers on the columns of a table, each embedded or standardised, joined in order."""
    inputs, parts = {}, []
    for column in columns:
        inputs[column.name], part = COLUMN_LAYERS[column.kind](column)
        parts.append(part)
    joined = keras.layers.Concatenate(name="columns")(parts) if len(parts) > 1 else parts[0]
    return Backbone(keras.Model(inputs, _dense(joined, units, activation, dropout), name="mlp"), "MLP", None, columns)


def _dense(x: keras.KerasTensor, units: Iterable[int], activation: str, dropout: float) -> keras.KerasTensor:
    for number, width in enumerate(units, start=1):
        x = keras.layers.Dense(width, activation=activation, name=f"dense_{number}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"dropout_{number}")(x)
    return x


def _embedded_id(column: Column) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    entry = keras.Input((), dtype="int32", name=column.name)
    return entry, keras.layers.Embedding(column.size, column.dim, name=f"{column.name}_embedding")(entry)


def _embedded_ids(column: Column) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The mean embedding of the ids that are there; -1 pads."""
    entry = keras.Input((None,), dtype="int32", name=column.name)
    counts = keras.ops.sum(keras.ops.one_hot(entry, column.size, dtype="float32"), axis=1)
    shares = counts / keras.ops.maximum(keras.ops.sum(counts, axis=1, keepdims=True), 1.0)
    return entry, keras.layers.Dense(column.dim, use_bias=False, name=f"{column.name}_embedding")(shares)


def _number(column: Column) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    entry = keras.Input((), dtype="float32", name=column.name)
    scaled = keras.layers.Rescaling(1.0 / column.std, -column.mean / column.std, name=f"{column.name}_scaled")(entry)
    return entry, keras.layers.Reshape((1,), name=f"{column.name}_column")(scaled)


COLUMN_LAYERS = {"id": _embedded_id, "ids": _embedded_ids, "number": _number}
