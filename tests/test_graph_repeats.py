"""Blocks traced once: the same shapes and counts as from a trace of each, in a fraction of the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from graph_helpers import facts, vit, write
from keras_hub.src.models.vit.vit_layers import ViTEncoderBlock
from test_every_backbone import IMAGE_CLASSES, TEXT_CLASSES

from tdspec.graph import repeats
from tdspec.graph.flops import count_flops
from tdspec.graph.outputs import main_output
from tdspec.graph.repeats import traced_once
from tdspec.graph.sides import whole_model
from tdspec.graph.walk import functional, nodes_of, opened
from tdspec.spec.load import load

CHOSEN = ("ViT", "DeiT", "SwinT", "MiT", "HGNet", "ResNet", "Albert", "Deberta", "Llama", "Gemma", "FNet", "Roformer")
CLASSES = [row[:2] for row in (*IMAGE_CLASSES, *TEXT_CLASSES) if row[0].startswith(CHOSEN)]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the blocks of a ViT that really run."""
    names: list[str] = []
    call = ViTEncoderBlock.call

    def counted(block: ViTEncoderBlock, inputs: Any) -> Any:
        names.append(block.name)
        return call(block, inputs)

    monkeypatch.setattr(ViTEncoderBlock, "call", counted)
    return names


def _spec(folder: Path, **changes: Any) -> Any:
    student = {"backbone": vit(**changes), "input": {"size": [8, 8], "channels": 1}}
    return load(write(folder, "spec", {"method": "scratch", "student": student}))


def test_equal_blocks_run_once_to_be_built_and_once_to_be_counted(tmp_path: Path, runs: list[str]) -> None:
    with keras.StatelessScope(initialize_variables=False):
        whole = whole_model(_spec(tmp_path, num_layers=5), "student", facts)
        assert runs == ["transformer_block_1"]
        counts = count_flops(whole.graph)
    assert len(runs) == 2
    blocks = [n for node, n in zip(nodes_of(whole.graph), counts, strict=True) if "block" in node.name]
    assert len(blocks) == 5 and len(set(blocks)) == 1 and blocks[0] > 0


def _built(name: str, config: dict[str, Any]) -> keras.Model:
    """A backbone of keras-hub, opened."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    shape = {"image_shape": (32, 32, 3)} if name in {row[0] for row in IMAGE_CLASSES} else {}
    model = getattr(keras_hub.models, name)(**config, **shape)
    inputs = keras.tree.map_structure(lambda x: keras.Input(x.shape[1:], dtype=x.dtype, name=x.name), model.input)
    return functional(inputs, opened(inputs, main_output(model, inputs, kind=name)))


def _described(model: keras.Model) -> list[tuple[Any, ...]]:
    return [(node.name, type(node.operation), [(t.shape, t.dtype) for t in node.tensors]) for node in nodes_of(model)]


@pytest.mark.parametrize(("name", "config"), CLASSES, ids=[name for name, _ in CLASSES])
def test_graph_weights_and_counts_are_the_same(
    name: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _built(name, config)
    with traced_once():
        found = _built(name, config)
    assert _described(found) == _described(plain)
    assert [v.path for v in found.variables] == [v.path for v in plain.variables]
    assert all(np.array_equal(one, other) for one, other in zip(found.variables, plain.variables, strict=True))
    counts = count_flops(found)
    monkeypatch.setattr(repeats, "is_block", lambda layer: False)
    assert counts == count_flops(plain)


class LateAttention(keras.layers.Layer):
    """A block that makes its weights when it first runs, although it is built."""

    def __init__(self, dim: int, **options: Any):
        super().__init__(**options)
        self.dim, self.attention, self.dense = dim, keras.layers.Attention(), None

    def build(self, shape: Any) -> None:
        self.built = True

    def call(self, x: Any) -> Any:
        if self.dense is None:
            self._tracker.unlock()
            self.dense = keras.layers.Dense(self.dim)
        return self.dense(self.attention([x, x]))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dim": self.dim}


def test_a_block_that_makes_weights_when_it_runs_does_run() -> None:
    with traced_once():
        entry = keras.Input((4, 8))
        blocks = [LateAttention(8), LateAttention(8)]
        model = keras.Model(entry, blocks[1](blocks[0](entry)))
    assert [len(block.weights) for block in blocks] == [2, 2]
    assert model.output.shape == (None, 4, 8)


def test_blocks_of_other_widths_and_on_other_shapes_are_others() -> None:
    with traced_once():
        entry = keras.Input((4, 8))
        first, second = LateAttention(8), LateAttention(6)
        assert second(first(entry)).shape == (None, 4, 6)
        assert second(first(keras.Input((5, 8)))).shape == (None, 5, 6)
        assert second(first(entry)).shape == (None, 4, 6)


def test_nothing_stays_replaced(tmp_path: Path) -> None:
    before = keras.layers.Layer.compute_output_spec
    with pytest.raises(ValueError, match="stop"), traced_once():
        assert keras.layers.Layer.compute_output_spec is not before
        raise ValueError("stop")
    assert keras.layers.Layer.compute_output_spec is before
    whole = whole_model(_spec(tmp_path), "student", facts)
    assert keras.layers.Layer.compute_output_spec is before
    assert not [layer for layer in whole.graph._flatten_layers() if "call" in vars(layer)]
