"""The objective of a `ConvCase` as one would write it by hand, for TensorFlow and for PyTorch.

In: the weights of its compiled spec, and the operations of a library (`ConvLibrary`). Out: the objective of a batch;
for any case, which objective is its own.
The teacher, EfficientNet-Lite0, has its normalisations folded into its convolutions; nothing behind its high cut runs.
Leaves out: gradients, the optimizer and compilation, as `by_hand.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from by_hand import Array, Library, Objective, Talking, Weights, codec_weights_of, weights_of
from step_cases import EFFICIENTNET_LITE0, Case, ConvCase

TEACHER_EPSILON, STUDENT_EPSILON = 1e-3, 1e-5
LOW_BLOCK, HIGH_BLOCK = 5, 11  # block4a and block6a, counted from 0; each cut is behind a block's expansion
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
MESSAGE_SIZE = 2  # positions of a message: those of the student's high state, 2 x 2


class ConvLibrary(Library):
    """What this objective needs beside; images and states are (batch, height, width, channels)."""

    def conv(self, x: Array, kernel: Array, stride: int) -> Array: ...
    def depthwise(self, x: Array, kernel: Array, stride: int) -> Array: ...
    def relu6(self, x: Array) -> Array: ...
    def batch_norm(self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> Array: ...
    def resize(self, x: Array, size: int) -> Array: ...
    def max_pool(self, x: Array) -> Array: ...
    def as_float(self, image: Array) -> Array: ...
    def mean_position(self, x: Array) -> Array: ...


class Block(NamedTuple):
    """An inverted bottleneck: where its weights start, and how it is built."""

    start: int
    expands: bool
    stride: int
    has_shortcut: bool


def blocks() -> list[Block]:
    """Of EfficientNet-Lite0; two weights, kernel and bias, for each convolution, behind the stem's two."""
    found: list[Block] = []
    start, known = 2, EFFICIENTNET_LITE0
    words = ("stackwise_num_repeats", "stackwise_strides", "stackwise_expansion_ratios")
    for repeats, stride, ratio in zip(*(known[word] for word in words), strict=True):
        for repeat in range(repeats):
            found.append(Block(start, ratio > 1, 1 if repeat else stride, repeat > 0))
            start += 6 if ratio > 1 else 4
    return found


def conv_weights_of(compiled: Any) -> dict[str, list[Any]]:
    """All weights as numpy arrays, by owner; "moving" are the student's running means and variances."""
    weights = {variable.path: variable.numpy() for variable in compiled.teacher.whole.model.variables}
    found: dict[str, list[Any]] = {"teacher": [], "student": [], "moving": []}
    for layer in [path.removesuffix("/kernel") for path in weights if path.endswith("/kernel")]:
        gamma, beta, mean, variance = (weights[f"{layer.removesuffix('_conv')}_bn/{name}"] for name in NORM)
        scale = gamma / np.sqrt(variance + TEACHER_EPSILON)
        kernel = weights[f"{layer}/kernel"]
        # the channels of a depthwise kernel come last but one
        found["teacher"] += [kernel * scale.reshape((-1, 1) if kernel.shape[-1] == 1 else (-1,)), beta - mean * scale]
    for variable in compiled.student.whole.model.variables:
        found["moving" if "moving" in variable.path else "student"].append(variable.numpy())
    return found | codec_weights_of(compiled)


class ConvObjective(Talking):
    """Of EfficientNet-Lite0 and a ResNet."""

    def __init__(self, library: ConvLibrary, case: ConvCase):
        self.library, self.case, self.iterations, self.blocks = library, case, case.iterations, blocks()

    def _expanded(self, x: Array, w: Weights, block: Block) -> Array:
        if not block.expands:
            return x
        return self.library.relu6(self.library.conv(x, w[block.start], 1) + w[block.start + 1])

    def _shrunk(self, x: Array, w: Weights, block: Block) -> Array:
        lib, at = self.library, block.start + 2 * block.expands
        x = lib.relu6(lib.depthwise(x, w[at], block.stride) + w[at + 1])
        return lib.conv(x, w[at + 2], 1) + w[at + 3]

    def _whole(self, x: Array, w: Weights, block: Block) -> Array:
        y = self._shrunk(self._expanded(x, w, block), w, block)
        return x + y if block.has_shortcut else y

    def teacher_low(self, image: Array, w: Weights) -> Array:
        lib = self.library
        x = lib.resize((lib.as_float(image) - 127.0) / 128.0, self.case.teacher_size)
        x = lib.relu6(lib.conv(x, w[0], 2) + w[1])
        for block in self.blocks[:LOW_BLOCK]:
            x = self._whole(x, w, block)
        return self._expanded(x, w, self.blocks[LOW_BLOCK])

    def teacher_high(self, low: Array, w: Weights) -> Array:
        x = self._shrunk(low, w, self.blocks[LOW_BLOCK])
        for block in self.blocks[LOW_BLOCK + 1 : HIGH_BLOCK]:
            x = self._whole(x, w, block)
        return self._expanded(x, w, self.blocks[HIGH_BLOCK])

    def student_low(self, image: Array, weights: Mapping[str, Weights]) -> Array:
        lib, w, moving = self.library, weights["student"], weights["moving"]
        x = lib.conv(lib.as_float(image) / 127.5 - 1.0, w[0], 2)
        x = lib.max_pool(lib.relu(lib.batch_norm(x, w[1], w[2], moving[0], moving[1])))
        y = lib.relu(lib.batch_norm(lib.conv(x, w[3], 1), w[4], w[5], moving[2], moving[3]))
        return lib.relu(x + lib.batch_norm(lib.conv(y, w[6], 1), w[7], w[8], moving[4], moving[5]))

    def student_high(self, low: Array, weights: Mapping[str, Weights], *, follows: bool = False) -> Array:
        """The two blocks between the cuts; in a follow-up question, by the running means."""
        lib, x, w, moving = self.library, low, weights["student"], weights["moving"]
        norm = self._by_running_means if follows else lib.batch_norm
        for at, running in ((9, 6), (18, 12)):
            first, shortcut, second, *gains = w[at], w[at + 3], w[at + 4], *w[at + 1 : at + 3], *w[at + 5 : at + 9]
            known = moving[running : running + 6]
            y = lib.relu(norm(lib.conv(x, first, 2), *gains[:2], *known[:2]))
            x = norm(lib.conv(x, shortcut, 2), *gains[2:4], *known[2:4])
            x = lib.relu(x + norm(lib.conv(y, second, 1), *gains[4:], *known[4:]))
        return x

    @staticmethod
    def _by_running_means(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> Array:
        return (x - mean) * (gamma * (variance + STUDENT_EPSILON) ** -0.5) + beta

    def prediction(self, high: Array, w: Weights) -> Array:
        return self.library.dense(self.library.mean_position(high), w[-2], w[-1])

    def encode(self, low: Array, high: Array, w: Weights) -> Array:
        lib = self.library
        states = lib.join(lib.resize(low, MESSAGE_SIZE), lib.resize(high, MESSAGE_SIZE))
        return lib.dense(lib.relu(lib.dense(states, w[0], w[1])), w[2], w[3])

    def decode(self, message: Array, w: Weights, like: tuple[Array, ...]) -> list[Array]:
        lib = self.library
        x = lib.relu(lib.dense(message, w[4], w[5]))
        told = [lib.dense(x, w[6 + 2 * index], w[7 + 2 * index]) for index in range(len(like))]
        return [lib.resize(one, state.shape[1]) for one, state in zip(told, like, strict=True)]


def weights_and_objective(compiled: Any, case: Case | ConvCase) -> tuple[dict[str, list[Any]], type[Talking]]:
    """(all weights as numpy arrays by owner, the objective's class, which takes a library and the case)."""
    if isinstance(case, ConvCase):
        return conv_weights_of(compiled), ConvObjective
    return {**weights_of(compiled), "moving": []}, Objective
