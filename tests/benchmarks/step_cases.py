"""The steps that the benchmarks measure: transformers, MLPs and convolutional models that talk.

In: the name of a case. Out: its sizes, its compiled spec, a batch.
Leaves out: measuring.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 10
MESSAGE, HIDDEN = 64, 128
ENCODER: dict[str, Any] = {"type": "mlp", "hidden_dim": HIDDEN}


@dataclass(frozen=True)
class Case:
    """Sizes; `teacher` and `student` are widths of transformers of 12 and 4 blocks, or units of MLPs."""

    teacher: Any
    student: Any
    image: tuple[int, int, int]
    patch: int
    batch: int
    iterations: int

    @property
    def is_mlp(self) -> bool:
        return not self.patch

    @property
    def cuts(self) -> dict[str, tuple[int, int]]:
        return {"teacher": (1, 3), "student": (1, 2)} if self.is_mlp else {"teacher": (4, 12), "student": (1, 4)}


@dataclass(frozen=True)
class ConvCase:
    """The models and cuts of `specs/cifar10_efficientnet.yaml` with random weights, on made-up images of their size."""

    iterations: int
    image: tuple[int, int, int] = (32, 32, 3)
    teacher_size: int = 96
    batch: int = 64


CASES: dict[str, Any] = {
    **{
        f"vit{width}-{tokens}-k{iterations}": Case(width, width // 2, (32, 32, 3), patch, 64, iterations)
        for width in (128, 192)
        for tokens, patch in ((17, 8), (65, 4))
        for iterations in (0, 1, 3)
    },
    **{f"mlp-k{k}": Case((512, 256, 128), (64, 32), (8, 8, 1), 0, 256, k) for k in (0, 1, 3)},
    **{f"efficientnet-k{k}": ConvCase(k) for k in (0, 1, 3)},
}
CONV_SPEC = Path(__file__).parents[2] / "specs" / "cifar10_efficientnet.yaml"
EFFICIENTNET_LITE0: dict[str, Any] = {
    "stackwise_width_coefficients": [1.0] * 7,
    "stackwise_depth_coefficients": [1.0] * 7,
    "activation": "relu6",
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
    "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_squeeze_and_excite_ratios": [0] * 7,
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
    "stackwise_block_types": ["v1"] * 7,
    "stackwise_force_input_filters": [0] * 7,
    "batch_norm_epsilon": 1e-3,
}


def spec_of(case: Case | ConvCase, **changes: Any) -> dict[str, Any]:
    """The spec of a case, with sections replaced."""
    if isinstance(case, ConvCase):
        return {**_conv_spec(case), **changes}
    values: dict[str, Any] = {
        "version": 1,
        "name": "benchmark",
        "method": "talking",
        "data": {"source": "digits", "batch_size": case.batch},
        "communication": {
            "message": {"dim": MESSAGE},
            "encoder": ENCODER,
            "iterations": case.iterations,
        },
        "train": {"epochs": 1, "optimizer": {"type": "adamw", "learning_rate": 0.001}, "schedule": "constant"},
    }
    for side, layers in (("teacher", 12), ("student", 4)):
        low, high = case.cuts[side]
        values[side] = {
            "backbone": _backbone(getattr(case, side), layers, case.patch),
            "input": {"size": list(case.image[:2]), "channels": case.image[2]},
            "cut": {"low": low, "high": high},
        }
    values["student"]["head"] = {"pooling": "flatten" if case.is_mlp else "token", "dropout": 0.0}
    if case.is_mlp:
        del values["student"]["head"]
    return {**values, **changes}


def _conv_spec(case: ConvCase) -> dict[str, Any]:
    import yaml  # PyTorch's process, which needs the cases alone, may not have it

    values = yaml.safe_load(CONV_SPEC.read_text())
    backbone = {"class": "EfficientNetBackbone", "config": EFFICIENTNET_LITE0, "weights": "random"}
    values["teacher"]["backbone"], values["communication"]["iterations"] = backbone, case.iterations
    values["communication"]["encoder"] = ENCODER
    # the weights of the other cases, which the objective by hand has; and it does not clip
    del values["losses"], values["train"]["optimizer"]["global_clipnorm"]
    return {**values, "data": {"source": "digits", "batch_size": case.batch}}


def _backbone(width: Any, layers: int, patch: int) -> dict[str, Any]:
    if not patch:
        return {"mlp": {"units": list(width)}, "weights": "random"}
    config = {"num_layers": layers, "num_heads": 4, "hidden_dim": width, "mlp_dim": 4 * width, "patch_size": patch}
    return {"class": "ViTBackbone", "config": config, "weights": "random"}


class Facts:
    """What the made-up source declares."""

    def __init__(self, case: Case | ConvCase):
        self.num_classes, self.image_shape = CLASSES, case.image


def compiled_case(name: str, *, jit: str = "", **changes: Any) -> Any:
    """The compiled spec of a case, its optimizer included; `jit` is what suits it best, if not given."""
    from tdspec.graph.compiler import build
    from tdspec.run.prepare import compile_optimizer
    from tdspec.spec.load import load

    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(json.dumps(spec_of(case, **changes)))
        best = "auto" if isinstance(case, ConvCase) else "on"
        document = load(path, [f"train.jit={jit or best}"])
    compiled = build(document, lambda _: Facts(case))
    compile_optimizer(compiled, schedule="constant", total_steps=1000)
    return compiled


def batch_of(name: str) -> tuple[dict[str, Any], Any, Any]:
    """(features, label, sample_weight) of tensors."""
    import tensorflow as tf

    case = CASES[name]
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (case.batch, *case.image)).astype("uint8")
    return {"image": tf.constant(images)}, tf.constant(np.arange(case.batch) % CLASSES), tf.ones(case.batch)
