"""Terms that compare the states of texts: padding never counts, in any method and by any distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_helpers import Array
from text_support import LENGTH, VOCABULARY, student, text_spec, write_corpus, write_preset, write_spec

from tdspec.errors import SpecError
from tdspec.graph.compiler import build
from tdspec.run.prepare import describe
from tdspec.spec.load import load

METHODS = ["feature", "fitnet", "vkd", "relational", "attention", "manifold", "talking", "one_way_control"]
COUNTS = np.array([4, 7, 16, 5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("masks")
    write_corpus(made)
    write_preset(made)
    return made


def _batch(seed: int) -> dict[str, Array]:
    """Texts of 4 to 16 tokens; what stands behind them depends on the seed."""
    mask = (np.arange(LENGTH) < COUNTS[:, None]).astype("int32")
    ids = np.random.default_rng(0).integers(5, len(VOCABULARY), (4, LENGTH))
    behind = np.random.default_rng(seed).integers(0, len(VOCABULARY), (4, LENGTH))
    token_ids = np.where(mask == 1, ids, behind).astype("int32")
    return {"token_ids": token_ids, "padding_mask": mask, "segment_ids": np.zeros_like(mask)}


def _compiled(folder: Path, method: str, **changes: Any) -> Any:
    return build(load(write_spec(folder, text_spec(method=method, **changes), f"{method}.yaml")), describe).distiller


def _values(distiller: Any, batch: dict[str, Array]) -> dict[str, Array]:
    tensors = distiller(batch, training=False)
    values = distiller.term_values(tensors, np.array([0, 1, 0, 1]), np.ones(4, "float32"))
    return {name: np.asarray(value) for name, value in values.items()}


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_behind_a_text_does_not_count(folder: Path, method: str) -> None:
    distiller = _compiled(folder, method)
    one, two = (_values(distiller, _batch(seed)) for seed in (1, 2))
    assert len(one) > 1 and all(np.any(value) for value in one.values())
    for name, value in one.items():
        assert np.allclose(value, two[name], rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("distance", ["l2", "cosine", "kl", "manifold"])
def test_nor_by_another_distance(folder: Path, distance: str) -> None:
    losses = {"interaction": {"distance": distance}, "state_consistency": {"distance": distance}}
    distiller = _compiled(folder, "talking", losses=losses)
    one, two = (_values(distiller, _batch(seed)) for seed in (1, 2))
    for name, value in one.items():
        assert np.allclose(value, two[name], rtol=1e-4, atol=1e-5), name


def test_a_message_that_mixes_tokens_is_refused(folder: Path) -> None:
    communication = {"message": {"dim": 6, "positions": "vector"}}
    with pytest.raises(
        SpecError, match=r"communication.message.positions: a text's states are compared token by token"
    ):
        _compiled(folder, "talking", communication=communication)


def test_a_student_that_reads_no_text_is_refused(folder: Path) -> None:
    columns = {"mlp": {"units": [4, 4], "features": {"stars": {"type": "number"}}}}
    with pytest.raises(SpecError):
        _compiled(folder, "talking", student={"backbone": columns, "cut": {"low": 1, "high": 2}})
    assert student()["cut"] == {"low": 1, "high": 2}
