"""Every common backbone opens, is numbered as people count, falls apart into three parts that are it, and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from graph_helpers import SMALL_IMAGE, Array, facts, mlp, pixels, write

from tdspec.errors import GraphError
from tdspec.graph import applications, backbones
from tdspec.graph.backbones import Backbone
from tdspec.graph.compiler import build
from tdspec.graph.cuts import clean_cuts, find_cut, split
from tdspec.graph.models import ImageInput, assemble
from tdspec.graph.outputs import main_output
from tdspec.graph.walk import functional, opened
from tdspec.spec.load import load
from tdspec.spec.model import Head

HEAD = Head("auto", 0.0, 0.0)
TRANSFORMER = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
PATCHES = {**TRANSFORMER, "patch_size": 8}
TEXT = {**TRANSFORMER, "vocabulary_size": 20}
LANGUAGE = {
    "vocabulary_size": 20,
    "num_layers": 3,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "hidden_dim": 8,
    "intermediate_dim": 12,
}
EFFICIENT = {
    "stackwise_width_coefficients": [1.0] * 3,
    "stackwise_depth_coefficients": [1.0] * 3,
    "stackwise_kernel_sizes": [3] * 3,
    "stackwise_num_repeats": [1, 2, 1],
    "stackwise_input_filters": [8, 8, 16],
    "stackwise_output_filters": [8, 16, 16],
    "stackwise_expansion_ratios": [1, 4, 4],
    "stackwise_squeeze_and_excite_ratios": [0.25] * 3,
    "stackwise_strides": [1, 2, 2],
    "stackwise_block_types": ["v1", "v1", "fused"],
    "stackwise_force_input_filters": [0] * 3,
    "stackwise_nores_option": [False] * 3,
    "num_features": 16,
}
MOBILE = {
    "stackwise_expansion": [[16], [24, 24]],
    "stackwise_num_blocks": [1, 2],
    "stackwise_num_filters": [[8], [16, 16]],
    "stackwise_kernel_size": [[3], [5, 5]],
    "stackwise_num_strides": [[2], [2, 1]],
    "stackwise_se_ratio": [[None], [0.25] * 2],
    "stackwise_activation": [["relu"], ["hard_swish"] * 2],
    "stackwise_padding": [[1], [2, 2]],
    "output_num_filters": 16,
    "input_num_filters": 8,
    "depthwise_filters": 8,
    "depthwise_stride": 1,
    "depthwise_residual": False,
    "last_layer_filter": 16,
}
RESIDUAL = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 64],
    "stackwise_num_blocks": [2, 2],
    "stackwise_num_strides": [1, 2],
    "block_type": "basic_block",
}
HG_NET = {
    "depths": [1, 2],
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "stem_channels": [3, 8, 8],
    "hidden_act": "relu",
    "use_learnable_affine_block": False,
    "stackwise_stage_filters": [[8, 4, 8, 1, 2, 3], [8, 4, 16, 2, 2, 3]],
    "apply_downsample": [False, True],
    "use_lightweight_conv_block": [False, True],
}
MIXED = {
    "layerwise_depths": [1, 2],
    "num_layers": 2,
    "layerwise_num_heads": [1, 2],
    "layerwise_sr_ratios": [2, 1],
    "max_drop_path_rate": 0.1,
    "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2],
    "hidden_dims": [8, 16],
}
CSP = {
    "stem_filters": 8,
    "stem_kernel_size": 3,
    "stem_strides": 1,
    "stackwise_depth": [1, 2],
    "stackwise_strides": [2, 2],
    "stackwise_num_filters": [16, 32],
}

XCEPTION = {"stackwise_conv_filters": [[4, 8], [8, 16], [32, 32]], "stackwise_pooling": [True, True, False]}

# The class, its config, and how many hidden layers it has: transformer blocks, residual blocks, layers with weights.
IMAGE_CLASSES: list[tuple[str, dict[str, Any], int]] = [
    ("ViTBackbone", {"num_layers": 4, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12, "patch_size": 8}, 4),
    ("DeiTBackbone", PATCHES, 3),
    ("DINOV2Backbone", {**PATCHES, "num_register_tokens": 2, "position_embedding_shape": [32, 32, 3]}, 3),
    ("DINOV3Backbone", PATCHES, 3),
    ("CLIPVisionEncoder", PATCHES, 3),
    ("SigLIPVisionEncoder", PATCHES, 3),
    ("SwinTransformerBackbone", {"embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4}, 3),
    ("MiTBackbone", MIXED, 3),
    ("ViTDetBackbone", {
        "hidden_size": 8, "num_layers": 3, "intermediate_dim": 12, "num_heads": 2,
        "global_attention_layer_indices": [1], "patch_size": 4, "num_output_channels": 4, "window_size": 2,
    }, 3),
    ("ResNetBackbone", RESIDUAL, 4),
    ("EfficientNetBackbone", EFFICIENT, 4),
    ("MobileNetBackbone", MOBILE, 4),
    ("DenseNetBackbone", {"stackwise_num_repeats": [2, 2], "growth_rate": 4}, 4),
    ("CSPNetBackbone", {**CSP, "block_type": "dark_block", "stage_type": "dark"}, 3),
    ("HGNetV2Backbone", HG_NET, 3),
    ("VGGBackbone", {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [4, 8]}, 3),
    ("XceptionBackbone", XCEPTION, 3),
]  # fmt: skip

TEXT_CLASSES: list[tuple[str, dict[str, Any], int]] = [
    ("BertBackbone", TEXT, 3),
    ("DistilBertBackbone", TEXT, 3),
    ("RobertaBackbone", TEXT, 3),
    ("XLMRobertaBackbone", TEXT, 3),
    ("ElectraBackbone", {**TRANSFORMER, "vocab_size": 20, "embedding_dim": 6}, 3),
    ("AlbertBackbone", {**TEXT, "num_groups": 1, "num_inner_repetitions": 1, "embedding_dim": 6}, 3),
    ("DebertaV3Backbone", TEXT, 3),
    ("FNetBackbone", {"vocabulary_size": 20, "num_layers": 3, "hidden_dim": 8, "intermediate_dim": 12}, 3),
    ("ESMBackbone", TEXT, 3),
    ("RoformerV2Backbone", {**TEXT, "head_size": 4, "max_wavelength": 100}, 3),
    ("GPT2Backbone", TEXT, 3),
    ("OPTBackbone", TEXT, 3),
    ("BloomBackbone", TEXT, 3),
    ("LlamaBackbone", LANGUAGE, 3),
    ("MistralBackbone", LANGUAGE, 3),
    ("Phi3Backbone", LANGUAGE, 3),
    ("GemmaBackbone", {**LANGUAGE, "head_dim": 4}, 3),
]

# As their papers count: bottlenecks, inverted bottlenecks, blocks, dense layers.
APPLICATIONS = [
    ("ResNet50", 16),
    ("MobileNetV3Small", 11),
    ("MobileNetV3Large", 15),
    ("EfficientNetV2B0", 21),
    ("ConvNeXtTiny", 18),
    ("DenseNet121", 58),
    ("Xception", 14),
]

IMAGE = ImageInput("image", 3, (0.0, 1.0), (0.0,), (1.0,))
RANDOM = np.random.default_rng(0)


def _check(graph: keras.Model, features: Any, inputs: dict[str, Any], expected: Array, count: int) -> None:
    """The hidden layers are `count` in ascending order, and three parts are the model at several pairs of them."""
    points = clean_cuts(graph, features, own_head=False)
    hidden = [point for point in points if point.number is not None]
    assert [point.number for point in hidden] == list(range(1, count + 1))
    assert [point.position for point in hidden] == sorted(point.position for point in hidden)
    # large networks at their ends alone, for the time it takes
    for low, high in {(0, count - 1)} if count > 10 else {(0, 1), (0, count - 1), (count - 2, count - 1)}:
        segments = split(graph, hidden[low], hidden[high], prefix="m")

        def run(part: keras.Model, state: Any) -> Any:
            return part([state, *(inputs[tensor.name] for tensor in part.inputs[1:])])

        parts = run(segments.upper, run(segments.middle, segments.lower(inputs)))
        assert np.array_equal(parts, expected), (low, high)


def _check_image(backbone: Backbone, count: int) -> None:
    assert backbone.size is not None
    shape = (*backbone.size, 3)
    whole = assemble(backbone, IMAGE, image_shape=shape, head=HEAD, units=3, batch_norm_epsilon=None, name="m")
    images = {"image": keras.ops.convert_to_tensor(RANDOM.integers(0, 256, (2, *shape)).astype("uint8"))}
    _check(whole.graph, whole.features, images, np.asarray(whole.model(images)), count)


@pytest.mark.parametrize(("name", "config", "count"), IMAGE_CLASSES, ids=[row[0] for row in IMAGE_CLASSES])
def test_a_class_for_images(name: str, config: dict[str, Any], count: int) -> None:
    size = (96, 96) if name == "XceptionBackbone" else (32, 32)
    _check_image(backbones.hub_class(name, config, size=size, channels=3), count)


@pytest.mark.parametrize(("name", "count"), APPLICATIONS)
def test_an_application(name: str, count: int) -> None:
    size = (71, 71) if name == "Xception" else (32, 32)
    _check_image(applications.application(name, size=size, channels=3), count)


def _text_values(model: keras.Model) -> dict[str, Any]:
    padding = np.ones((2, 9), "int32")
    padding[1, 5:] = 0
    tokens = RANDOM.integers(1, 20, (2, 9)).astype("int32") * padding
    values = {"token_ids": tokens, "padding_mask": padding, "segment_ids": np.zeros((2, 9), "int32")}
    return {name: keras.ops.convert_to_tensor(values[name]) for name in model.input}


@pytest.mark.parametrize(("name", "config", "count"), TEXT_CLASSES, ids=[row[0] for row in TEXT_CLASSES])
def test_a_class_for_text(name: str, config: dict[str, Any], count: int) -> None:
    """Cut at their blocks, although masks reach each block directly."""
    model = getattr(keras_hub.models, name)(**config)
    inputs = {
        word: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=word) for word, tensor in model.input.items()
    }
    features = opened(inputs, main_output(model, inputs, kind=name))
    values = _text_values(model)
    expected = main_output(model, values, kind=name)
    assert expected.shape == (2, 9, 8)
    _check(functional(inputs, features), features, values, np.asarray(expected), count)


STEPPED = ("ResNet50", "MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny", "DenseNet121")
TRAINED = [
    pytest.param(*row, id=row[0], marks=[] if row[0] in ("ViTBackbone", "ResNetBackbone") else [pytest.mark.slow])
    for row in IMAGE_CLASSES
    if row[0] not in ("ViTDetBackbone", "XceptionBackbone")
]


@pytest.mark.parametrize(("name", "config", "count"), TRAINED)
def test_a_spec_with_it_takes_two_steps(tmp_path: Path, name: str, config: dict[str, Any], count: int) -> None:
    _two_steps(tmp_path, {"class": name, "config": config, "weights": "random"}, 32, count)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [row for row in APPLICATIONS if row[0] in STEPPED])
def test_a_spec_with_an_application_takes_two_steps(tmp_path: Path, name: str, count: int) -> None:
    _two_steps(tmp_path, {"application": name, "weights": "random"}, 32, count)


def _two_steps(folder: Path, backbone: dict[str, Any], size: int, count: int) -> None:
    """It learns from a small network; its whole chain of blocks is what talks."""
    small = {"backbone": mlp(6, 5, 4), "input": SMALL_IMAGE}
    write(folder, "teacher", {"method": "scratch", "student": small})
    student = {"backbone": backbone, "input": {"size": [size, size], "channels": 1}, "cut": {"low": 1, "high": count}}
    teacher = {"backbone": {"spec": "teacher.yaml"}, "cut": {"low": 1, "high": 3}}
    found = build(load(write(folder, "spec", {"method": "talking", "teacher": teacher, "student": student})), facts)
    found.distiller.compile("adam")
    variables = found.student.whole.model.trainable_variables
    before = [np.asarray(variable) for variable in variables]
    for seed in range(2):
        log = found.distiller.train_step(({"image": pixels(4, seed)}, np.arange(4)))
        assert all(np.isfinite(float(value)) for value in log.values())
    moved = [not np.array_equal(old, new) for old, new in zip(before, variables, strict=True)]
    assert sum(moved) > 0.7 * len(moved)


def test_cells_that_read_the_two_before_are_no_clean_cuts() -> None:
    with keras.StatelessScope(initialize_variables=False):
        backbone = applications.application("NASNetMobile", size=(32, 32), channels=3)
        whole = assemble(
            backbone, IMAGE, image_shape=(32, 32, 3), head=HEAD, units=3, batch_norm_epsilon=None, name="m"
        )
        points = clean_cuts(whole.graph, whole.features, own_head=False)
    assert next(point.name for point in points if point.number) == "stem_bn1"
    assert len([point for point in points if point.number]) == 2
    with pytest.raises(GraphError, match="there is no hidden layer 5, found 2 of them") as caught:
        find_cut(whole.graph, points, 5)
    assert "several ways at once" in caught.value.hint


def test_a_layer_of_ours_is_saved_and_read_again(tmp_path: Path) -> None:
    """An opened graph holds such layers, which a file of it has to name."""
    image = keras.Input((32, 32, 3), name="image")
    model = keras_hub.models.SigLIPVisionEncoder(image_shape=(32, 32, 3), **PATCHES)
    graph = functional(image, opened(image, model(image)))
    graph.save(tmp_path / "graph.keras")
    images = keras.ops.convert_to_tensor(RANDOM.normal(size=(2, 32, 32, 3)).astype("float32"))
    again = keras.saving.load_model(tmp_path / "graph.keras")
    assert {"Traced"} <= {type(layer).__name__ for layer in again.layers}
    assert np.array_equal(again(images), model(images))


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("CSPNetBackbone", (2, 2), "CSPNetBackbone refuses its config with an input of 2 x 2: Computed output size"),
        ("DeiTBackbone", (30, 20), "DeiTBackbone refuses its config with an input of 30 x 20: Input height 30 should"),
    ],
)
def test_a_size_that_a_class_cannot_take(name: str, size: tuple[int, int], expected: str) -> None:
    configs = {row[0]: row[1] for row in IMAGE_CLASSES}
    with pytest.raises(GraphError) as caught:
        backbones.hub_class(name, configs[name], size=size, channels=3)
    assert caught.value.message.startswith(expected)


@pytest.mark.parametrize(("name", "smallest"), [("ResNet50", 32), ("NASNetMobile", 32), ("InceptionV3", 75)])
def test_a_size_that_an_application_cannot_take(name: str, smallest: int) -> None:
    expected = f"{name} refuses an input of 16 x 16: Input size must be at least {smallest}x{smallest}"
    with pytest.raises(GraphError) as caught:
        applications.application(name, size=(16, 16), channels=3)
    assert caught.value.message.startswith(expected)


def test_an_open_size_that_is_too_small() -> None:
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 5, strides=2, padding="valid")(image))
    with pytest.raises(GraphError, match="Custom cannot take an input of 4 x 4: ") as caught:
        main_output(model, keras.Input((4, 4, 3)), kind="Custom")
    assert caught.value.hint == "choose a larger input.size"


def test_of_several_outputs_the_deepest_with_positions_counts() -> None:
    image = keras.Input((16, 16, 3))
    fine = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    coarse = keras.layers.Conv2D(4, 3, strides=2, padding="same")(fine)
    pooled = keras.layers.GlobalAveragePooling2D()(coarse)
    for outputs in ([pooled, coarse, fine], {"a": coarse, "b": fine, "c": pooled}):
        model = keras.Model(image, outputs)
        assert main_output(model, keras.Input((16, 16, 3)), kind="Custom").shape == (None, 4, 4, 4)
