"""Models of keras.applications as backbones, the same networks with and without ImageNet's weights.

In: a name, the size of the image, whether ImageNet's weights will be set. Out: a `Backbone`, or a Keras model.
Leaves out: setting the weights (`weights.py`).
"""

from __future__ import annotations

import inspect
from math import sqrt
from typing import Any

import keras

from tdspec.errors import GraphError
from tdspec.graph.backbones import Backbone, Size, suggestion
from tdspec.graph.reasons import first_sentence
from tdspec.graph.walk import functional, replayed

# By the roots of these ImageNet's EfficientNets divide once more behind their Normalization. keras.applications has the
# layer only in models for which it loads those weights itself; that it is the same is seen when they are copied.
EFFICIENT_NET_STD = (0.229, 0.224, 0.225)


def application(name: str, *, size: Size, channels: int, imagenet: bool = False) -> Backbone:
    """A keras.applications model without its classifier, and without preprocessing where Keras can leave that out.

    Args:
        name: such as "MobileNetV2".
        size: (height, width), or None for 224 x 224.
        channels: of the image.
        imagenet: whether it is to be the network that ImageNet's weights were trained in.

    Raises:
        GraphError: no such model, or it cannot take this size or these channels.
    """
    names = [word for word in dir(keras.applications) if word[:1].isupper()]
    if name not in names:
        raise GraphError(f"keras.applications has no '{name}'", suggestion(name, names))
    if imagenet and channels != 3:
        message = f"ImageNet's weights read images of 3 channels, input.channels is {channels}"
        raise GraphError(message, "write input.channels: 3, or other weights")
    if size is None:
        size = (224, 224)
    try:
        model = keras_application(name, (*size, channels), weights=None)
    except ValueError as error:
        raise GraphError(f"{name} refuses an input of {size[0]} x {size[1]}: {first_sentence(error)}") from error
    scales_pixels = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
    return Backbone(_as_trained(model) if imagenet else model, name, size, scales_pixels=scales_pixels)


def keras_application(name: str, shape: tuple[int, ...], *, weights: str | None) -> keras.Model:
    """What keras.applications builds, and downloads where `weights` is "imagenet".

    Raises:
        ValueError, OSError: it refuses the shape, or cannot load the weights.
    """
    build = getattr(keras.applications, name)
    options = {"include_preprocessing": False} if "include_preprocessing" in inspect.signature(build).parameters else {}
    return build(include_top=False, weights=weights, input_shape=shape, **options)


def _as_trained(model: keras.Model) -> keras.Model:
    """The same layers, with what `EFFICIENT_NET_STD` says behind a Normalization; others have none."""

    def invoke(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        x = operation(*args, **kwargs)
        if not isinstance(operation, keras.layers.Normalization):
            return x
        return keras.layers.Rescaling([1 / sqrt(std) for std in EFFICIENT_NET_STD])(x)

    return functional(model.input, replayed(model, model.input, invoke), name=model.name)
