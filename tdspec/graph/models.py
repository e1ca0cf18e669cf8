"""Whole models: inputs, preprocessing, backbone and head, in the two views every later stage needs.

In: a `Backbone`, how images reach it, and which head. Out: a `WholeModel`.
Leaves out: where it is cut (`cuts.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from tdspec.errors import GraphError
from tdspec.graph.backbones import Backbone
from tdspec.graph.layouts import Layout, layout_of
from tdspec.graph.outputs import main_output
from tdspec.graph.reasons import first_sentence
from tdspec.graph.text import MASK, TextInput, is_causal, pooling_steps, sequence_model
from tdspec.graph.walk import functional, opened
from tdspec.spec.model import Head


@dataclass(frozen=True)
class ImageInput:
    """How pixels 0..255 become the backbone's input: scaled to [low, high], minus mean, over std."""

    column: str
    channels: int
    scale: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class WholeModel:
    """A model from raw features to its prediction.

    Attributes:
        model: the backbone as one layer; what is saved, exported and evaluated. Inputs and weights are shared with:
        graph: the same with every block a node; what is cut.
        features: the tensor of `graph` at which the backbone ends.
        backbone: its kind, size and columns.
        own_head: whether the prediction is the backbone's own output.
        has_prediction: whether the output of `model` is a prediction at all.
        patch_grid: (height, width) of the patches of a transformer on images, else ().
        text: where its tokens come from, or None where it reads no text.
    """

    model: keras.Model
    graph: keras.Model
    features: keras.KerasTensor
    backbone: Backbone
    own_head: bool
    has_prediction: bool
    patch_grid: tuple[int, ...]
    text: TextInput | None

    @property
    def mask(self) -> str:
        """The name of the input that says what is no padding, (batch, length) of 0 and 1; "" where there is none."""
        return "" if self.text is None else MASK

    def layout(self, shape: tuple[int | None, ...]) -> Layout:
        """The layout of one of its states (batch, ..., d).

        Raises:
            GraphError: an axis is not known.
        """
        return _layout(shape, self.patch_grid)


def _layout(shape: tuple[int | None, ...], patch_grid: tuple[int, ...]) -> Layout:
    try:
        return layout_of(shape, patch_grid=patch_grid)
    except ValueError as error:
        raise GraphError(str(error)) from error


def _inputs(
    backbone: Backbone, image: ImageInput, image_shape: tuple[int | None, ...] | None, text: TextInput | None
) -> Any:
    if text is not None:
        entries = backbone.model.input.items()
        return {name: keras.Input((text.length,), dtype=x.dtype, name=name) for name, x in entries}
    if backbone.size is None:
        return {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in backbone.model.input.items()}
    height, width = image_shape[:2] if image_shape else (None, None)
    return {image.column: keras.Input((height, width, image.channels), dtype="uint8", name=image.column)}


def _preprocessed(inputs: Any, backbone: Backbone, image: ImageInput) -> Any:
    """(x / 255 (high - low) + low - mean) / std, as one Rescaling; resized where the size differs."""
    if backbone.size is None:
        return inputs
    pixels = inputs[image.column]
    low, high = image.scale
    size = max(len(image.mean), len(image.std))
    means, stds = (values * size if len(values) == 1 else values for values in (image.mean, image.std))
    scale = [(high - low) / 255.0 / std for std in stds]
    offset = [(low - mean) / std for mean, std in zip(means, stds, strict=True)]
    if size == 1:
        scale, offset = scale[0], offset[0]  # type: ignore[assignment]
    x = keras.layers.Rescaling(scale, offset, name="image_scaled")(pixels)
    if tuple(pixels.shape[1:3]) != backbone.size:
        # Not layers.Resizing: its call defaults to training=True, and Keras hands that on to every layer behind it.
        x = keras.ops.image.resize(x, backbone.size, interpolation="bilinear")
    return x


def _in_structure(model: keras.Model, inputs: Any) -> Any:
    """The inputs as the model takes them: a mapping of columns, or one tensor in the structure it was built with."""
    return inputs if isinstance(inputs, dict) else keras.tree.pack_sequence_as(model.input, [inputs])


def _patch_grid(backbone: Backbone) -> tuple[int, ...]:
    patch = getattr(backbone.model, "patch_size", None)
    if backbone.size is None or not patch:
        return ()
    height, width = (patch, patch) if isinstance(patch, int) else patch
    return backbone.size[0] // height, backbone.size[1] // width


class _Head:
    """Pooling, dropout and one Dense layer; what has weights or draws is shared by both views."""

    def __init__(self, head: Head, units: int):
        self.layers: list[Any] = []
        if head.dropout:
            self.layers.append(keras.layers.Dropout(head.dropout, name="head_dropout"))
        start = keras.initializers.Constant(head.bias)
        self.layers.append(keras.layers.Dense(units, bias_initializer=start, dtype="float32", name="prediction"))

    def __call__(self, x: keras.KerasTensor, pooling: list[Any]) -> keras.KerasTensor:
        for step in (*pooling, *self.layers):
            x = step(x)
        return x


def _vector_pooling(pooling: str, layout: Layout) -> list[keras.layers.Layer]:
    if pooling == "token":
        raise GraphError("pooling 'token' needs a class token, the features are one vector")
    return []


def _sequence_pooling(pooling: str, layout: Layout) -> list[keras.layers.Layer]:
    if pooling == "auto":
        pooling = "token" if layout.num_prefix else "mean"
    if pooling == "token":
        if not layout.num_prefix:
            raise GraphError("pooling 'token' needs a class token, the backbone has none", "write pooling: mean")
        first = [keras.layers.Cropping1D((0, layout.axes[0] - 1), name="class_token")] if layout.axes[0] > 1 else []
        return [*first, keras.layers.Flatten(name="head_pooling")]
    layers = {
        "mean": keras.layers.GlobalAveragePooling1D,
        "max": keras.layers.GlobalMaxPooling1D,
        "flatten": keras.layers.Flatten,
    }
    return [layers[pooling](name="head_pooling")]


def _grid_pooling(pooling: str, layout: Layout) -> list[keras.layers.Layer]:
    if pooling == "token":
        raise GraphError("pooling 'token' needs a class token, the features are a grid", "write pooling: mean")
    layers = {
        "auto": keras.layers.GlobalAveragePooling2D,
        "mean": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }
    return [layers[pooling](name="head_pooling")]


POOLING = {0: _vector_pooling, 1: _sequence_pooling, 2: _grid_pooling}


def _pooling(
    pooling: str,
    features: keras.KerasTensor,
    patch_grid: tuple[int, ...],
    backbone: Backbone,
    inputs: Any,
    text: TextInput | None,
) -> list[Any]:
    """The steps from the features to one vector."""
    layout = _layout(tuple(features.shape), patch_grid)
    if text is not None and len(layout.axes) == 1:
        return pooling_steps(pooling, layout.axes[0], inputs[MASK], causal=is_causal(backbone.model))
    return list(POOLING[len(layout.axes)](pooling, layout))


def _opened(backbone: Backbone, inputs: Any, whole: keras.KerasTensor) -> keras.KerasTensor:
    try:
        return opened(inputs, whole)
    except (ValueError, TypeError, RuntimeError) as error:
        # Some layers only fail where they are run one by one, as a node of its own each.
        message = f"{backbone.kind} cannot be opened, so that it has no cuts: {first_sentence(error)}"
        raise GraphError(message, "choose another size or backbone, or a .keras file of plain layers") from error


def assemble(
    backbone: Backbone,
    image: ImageInput,
    *,
    text: TextInput | None = None,
    image_shape: tuple[int | None, ...] | None,
    head: Head | None,
    units: int | None,
    batch_norm_epsilon: float | None,
    name: str,
) -> WholeModel:
    """Join inputs, preprocessing, backbone and head.

    Args:
        backbone: what stands in the middle.
        image: how an image reaches it; unused where it reads columns or a text.
        text: where its tokens come from, or None where it reads no text.
        image_shape: (height, width, channels) of the source's images, None where not known.
        head: a new head, or None where the backbone's output is all there is.
        units: width of the prediction, or None where there is none.
        batch_norm_epsilon: replaces that of every BatchNormalization, or None.
        name: of the model.

    Raises:
        GraphError: the head does not fit the features, or the backbone's own output does not have `units` columns.
    """
    set_synchronized(backbone.model, True)
    if batch_norm_epsilon is not None:
        for layer in _batch_norms(backbone.model):
            layer.epsilon = batch_norm_epsilon
    inputs = _inputs(backbone, image, image_shape, text)
    # Cutting a graph at a state and a mask makes Keras forget how the mask's input was made, which no model that is
    # saved may share with it.
    cut_inputs = inputs if text is None else _inputs(backbone, image, image_shape, text)
    x = _in_structure(backbone.model, _preprocessed(inputs, backbone, image))
    core = backbone.model if text is None else sequence_model(backbone.model, backbone.kind)
    whole = main_output(core, x, kind=backbone.kind)
    features = outputs = _opened(backbone, cut_inputs, whole if text is None else core(cut_inputs))
    patch_grid = _patch_grid(backbone)
    if head is not None and units is not None:
        layers = _Head(head, units)
        outputs, whole = (
            layers(x, _pooling(head.pooling, features, patch_grid, backbone, entries, text))
            for x, entries in ((features, cut_inputs), (whole, inputs))
        )
    elif units is not None and tuple(features.shape) != (None, units):
        raise GraphError(f"the backbone's own output has shape {tuple(features.shape)}, the task needs (None, {units})")
    graph = functional(cut_inputs, outputs, name=name)
    # A changed epsilon is not part of a keras-hub class's config, so only the opened graph can be saved with it.
    model = graph if batch_norm_epsilon is not None and text is None else functional(inputs, whole, name=name)
    return WholeModel(model, graph, features, backbone, head is None, units is not None, patch_grid, text)


def _batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def set_synchronized(model: keras.Model, synchronized: bool) -> None:
    """Whether statistics are of the batch of all replicas, so that a figure does not depend on how many there are."""
    for layer in _batch_norms(model):
        layer.synchronized = synchronized


def units_of(task_type: str, num_classes: int | None) -> int:
    """Width of the prediction of a task."""
    if task_type in ("regression", "binary"):
        return 1
    assert num_classes is not None
    return num_classes
