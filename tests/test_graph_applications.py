"""Models of keras.applications: what is built without downloads, and which network ImageNet's weights are set in."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from graph_helpers import SMALL_IMAGE, facts, write
from keras.src.applications import efficientnet

from tdspec.errors import GraphError, SpecError, WeightsError
from tdspec.graph.applications import application
from tdspec.graph.sides import whole_model
from tdspec.graph.weights import load_weights
from tdspec.spec.load import load
from tdspec.spec.model import ApplicationBackbone

SIZE = (32, 32)
EFFICIENT_NET = ApplicationBackbone("EfficientNetB0", "imagenet", None)


def _refusal(name: str, *, size: tuple[int, int] = SIZE, channels: int = 3, imagenet: bool = False) -> tuple[str, str]:
    with pytest.raises(GraphError) as caught:
        application(name, size=size, channels=channels, imagenet=imagenet)
    assert not caught.value.message.endswith(".")
    return caught.value.message, caught.value.hint


def test_an_application() -> None:
    with keras.StatelessScope(initialize_variables=False):
        backbone = application("MobileNetV2", size=SIZE, channels=3)
    assert backbone.size == SIZE and backbone.model.outputs[0].shape == (None, 1, 1, 1280)
    assert _refusal("MobileNetV4") == ("keras.applications has no 'MobileNetV4'", "did you mean 'MobileNetV2'?")
    assert _refusal("VGG16", size=(8, 8))[0].startswith("VGG16 refuses an input of 8 x 8: ")
    message = "ImageNet's weights read images of 3 channels, input.channels is 1"
    assert _refusal("VGG16", channels=1, imagenet=True) == (message, "write input.channels: 3, or other weights")


@pytest.mark.parametrize(
    ("name", "own"), [("EfficientNetV2B0", False), ("ConvNeXtTiny", False), ("EfficientNetB0", True)]
)
def test_an_application_leaves_preprocessing_to_the_spec_where_it_can(name: str, own: bool) -> None:
    with keras.StatelessScope(initialize_variables=False):
        backbone = application(name, size=SIZE, channels=3)
    first = type(backbone.model.layers[1]).__name__
    assert (first == "Rescaling", backbone.scales_pixels) == (own, own)
    assert own or first != "Normalization"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "drawn.weights.h5"
    keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(*SIZE, 3)).save_weights(file)
    return file


@pytest.fixture
def downloaded(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn weights in place of those that Keras would download for EfficientNetB0."""
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *words, **options: str(drawn))


@pytest.mark.usefixtures("downloaded")
def test_imagenet_weights_meet_the_network_they_were_trained_in() -> None:
    theirs = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(*SIZE, 3))
    ours = application("EfficientNetB0", size=SIZE, channels=3, imagenet=True).model
    load_weights(ours, EFFICIENT_NET)
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    assert np.array_equal(ours(images), theirs(images))
    assert np.ptp(theirs(images)) > 0


@pytest.mark.usefixtures("downloaded")
def test_imagenet_weights_in_another_network_are_refused() -> None:
    other = application("EfficientNetB0", size=SIZE, channels=3).model
    with pytest.raises(WeightsError, match=r"are of a network with Rescaling\(.*\) where the model has ZeroPadding2D"):
        load_weights(other, EFFICIENT_NET)


def test_pixels_are_scaled_once(tmp_path: Path) -> None:
    student = {"backbone": {"application": "EfficientNetB0"}, "input": {**SMALL_IMAGE, "size": list(SIZE)}}
    file = write(tmp_path, "twice", {"method": "scratch", "student": student})
    with pytest.raises(SpecError) as caught:
        whole_model(load(file), "student", facts)
    (found,) = caught.value.diagnostics
    assert found.key == "student.input" and found.hint == "write input.scale: [0, 255], without mean and std"
    assert whole_model(load(file, ["student.input.scale=[0, 255]"]), "student", facts).backbone.scales_pixels
