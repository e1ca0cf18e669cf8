"""The objective of the benchmarks' specs as one would write it by hand, for TensorFlow and for PyTorch.

In: the weights of a compiled case, and the operations of a library (`Library`). Out: the objective of a batch.
Leaves out: gradients, the optimizer and compilation, which are each library's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from step_cases import Case

Array = Any
Weights = list[Any]
HEADS = 4


class Library(Protocol):
    """What the objective needs; the best that the library has for it."""

    def dense(self, x: Array, kernel: Array, bias: Array) -> Array: ...
    def layer_norm(self, x: Array, gamma: Array, beta: Array) -> Array: ...
    def attention(self, query: Array, key: Array, value: Array) -> Array: ...
    def split_heads(self, x: Array, heads: int) -> list[Array]: ...
    def gelu(self, x: Array) -> Array: ...
    def relu(self, x: Array) -> Array: ...
    def join(self, *parts: Array) -> Array: ...
    def patches(self, image: Array, patch: int) -> Array: ...
    def with_token(self, x: Array, token: Array, positions: Array) -> Array: ...
    def constant(self, x: Array) -> Array: ...
    def cross_entropy(self, logits: Array, label: Array) -> Array: ...
    def relative_l2(self, target: Array, prediction: Array) -> Array: ...


def weights_of(compiled: Any) -> dict[str, list[Any]]:
    """All weights as numpy arrays, by owner; of attention, the three kernels in one."""
    from numpy import concatenate

    def arrays(model: Any) -> list[Any]:
        return [variable.numpy() for variable in model.variables]

    def fused(weights: list[Any], width: int) -> list[Any]:
        """[... query, key, value, output ...] kernels (d, heads, k) -> (d, 3 d) and (d, d)."""
        blocks, size = weights[:4], 16
        for start in range(4, 4 + size * ((len(weights) - 4) // size), size):
            block = weights[start : start + size]
            kernel = concatenate([block[index].reshape(width, -1) for index in (2, 4, 6)], axis=1)
            bias = concatenate([block[index].reshape(-1) for index in (3, 5, 7)])
            blocks += [*block[:2], kernel, bias, block[8].reshape(-1, width), block[9], *block[10:]]
        # and the convolution over patches as a product of matrices
        blocks[1] = blocks[1].reshape(-1, width)
        return blocks + weights[4 + size * ((len(weights) - 4) // size) :]

    found = {}
    for side in ("teacher", "student"):
        weights = arrays(getattr(compiled, side).whole.model)
        is_mlp = len(weights[0].shape) == 2
        found[side] = weights if is_mlp else fused(weights, weights[0].shape[-1])
    return found | codec_weights_of(compiled)


def codec_weights_of(compiled: Any) -> dict[str, list[Any]]:
    """Of each side, encoder first."""
    sides = {name: getattr(compiled.distiller, name) for name in ("student_codec", "teacher_codec")}
    return {
        name: [variable.numpy() for model in (codec.encode, codec.decode) for variable in model.variables]
        for name, codec in sides.items()
    }


class Talking:
    """L of the talking method for a batch; subclasses know the models and their codecs."""

    library: Any
    iterations: int

    def student_low(self, image: Array, w: Mapping[str, Weights]) -> Array:
        raise NotImplementedError

    def student_high(self, low: Array, w: Mapping[str, Weights], *, follows: bool = False) -> Array:
        """Of the data, or of a state that a follow-up question comes from."""
        raise NotImplementedError

    def teacher_low(self, image: Array, w: Weights) -> Array:
        raise NotImplementedError

    def teacher_high(self, low: Array, w: Weights) -> Array:
        raise NotImplementedError

    def prediction(self, high: Array, w: Weights) -> Array:
        """Of the student."""
        raise NotImplementedError

    def encode(self, low: Array, high: Array, w: Weights) -> Array:
        raise NotImplementedError

    def decode(self, message: Array, w: Weights, like: tuple[Array, ...]) -> list[Array]:
        """States of the sizes of those they are `like`: low and high, or low alone."""
        raise NotImplementedError

    def __call__(self, image: Array, label: Array, w: Mapping[str, Weights]) -> Array:
        """The objective with the default weights of the terms; the teacher's weights are constants."""
        lib, distance = self.library, self.library.relative_l2
        ours, theirs = w["student_codec"], w["teacher_codec"]
        low = self.student_low(image, w)
        high = self.student_high(low, w)
        their_low = lib.constant(self.teacher_low(image, w["teacher"]))
        their_high = lib.constant(self.teacher_high(their_low, w["teacher"]))
        states, their_states = (low, high), (their_low, their_high)
        loss = lib.cross_entropy(self.prediction(high, w["student"]), label)
        question, answer = self.encode(low, high, ours), self.encode(their_low, their_high, theirs)
        loss = loss + 0.5 * distance(answer, question)
        told, heard = self.decode(answer, ours, states), self.decode(question, theirs, their_states)
        pairs = zip((*states, *their_states), (*told, *heard), strict=True)
        loss = loss + 0.5 * sum(distance(target, prediction) for target, prediction in pairs)
        # the first question is decoded already, for the consistency of states
        first = heard[0]
        for k in range(self.iterations):
            reply = self.encode(first, self.teacher_high(first, w["teacher"]), theirs)
            mine = self.decode(reply, ours, states)
            loss = loss + 0.3 * (distance(low, mine[0]) + distance(high, mine[1]))
            if k + 1 < self.iterations:
                again = self.student_high(mine[0], w, follows=True)
                first = self.decode(self.encode(mine[0], again, ours), theirs, their_states[:1])[0]
        return loss


class Objective(Talking):
    """Of transformers and MLPs."""

    def __init__(self, library: Library, case: Case):
        self.library, self.case, self.iterations = library, case, case.iterations

    def student_low(self, image: Array, w: Mapping[str, Weights]) -> Array:
        return self._lower(image, w["student"], self.case.cuts["student"][0])

    def student_high(self, low: Array, w: Mapping[str, Weights], *, follows: bool = False) -> Array:
        return self._layers(low, w["student"], *self.case.cuts["student"])

    def teacher_low(self, image: Array, w: Weights) -> Array:
        return self._lower(image, w, self.case.cuts["teacher"][0])

    def teacher_high(self, low: Array, w: Weights) -> Array:
        return self._layers(low, w, *self.case.cuts["teacher"])

    def prediction(self, high: Array, w: Weights) -> Array:
        if not self.case.is_mlp:
            high = self.library.layer_norm(high[:, 0], w[-4], w[-3])
        return self.library.dense(high, w[-2], w[-1])

    def encode(self, low: Array, high: Array, w: Weights) -> Array:
        lib = self.library
        return lib.dense(lib.relu(lib.dense(lib.join(low, high), w[0], w[1])), w[2], w[3])

    def decode(self, message: Array, w: Weights, like: tuple[Array, ...]) -> list[Array]:
        lib = self.library
        x = lib.relu(lib.dense(message, w[4], w[5]))
        return [lib.dense(x, w[index], w[index + 1]) for index in (6, 8)[: len(like)]]

    def _lower(self, image: Array, w: Weights, low: int) -> Array:
        lib = self.library
        if self.case.is_mlp:
            return self._layers(lib.patches(image, 0), w, 0, low)
        patches = lib.patches(image, self.case.patch)
        x = lib.with_token(lib.dense(patches, w[1], w[2]), w[0], w[3])
        return self._layers(x, w, 0, low)

    def _layers(self, x: Array, w: Weights, first: int, last: int) -> Array:
        """Hidden layers first + 1 to last."""
        for index in range(first, last):
            if self.case.is_mlp:
                x = self.library.relu(self.library.dense(x, w[2 * index], w[2 * index + 1]))
            else:
                x = self._block(x, w[4 + 12 * index : 16 + 12 * index])
        return x

    def _block(self, x: Array, w: Weights) -> Array:
        lib = self.library
        normal = lib.layer_norm(x, w[0], w[1])
        heard = lib.attention(*lib.split_heads(lib.dense(normal, w[2], w[3]), HEADS))
        x = x + lib.dense(heard, w[4], w[5])
        y = lib.gelu(lib.dense(lib.layer_norm(x, w[6], w[7]), w[8], w[9]))
        return x + lib.dense(y, w[10], w[11])
