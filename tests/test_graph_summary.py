"""The table of clean cuts: what a row says, which are the spec's cuts, and which are suggested where it has none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from graph_helpers import compiled, vit

from tdspec.graph.sides import CutModel
from tdspec.graph.summary import cut_rows, cut_table


def _student(folder: Path, method: str, **changes: Any) -> CutModel:
    return compiled(folder, method, student=vit(num_layers=4), **changes).student


def test_a_row_says_number_name_kind_shape_and_cost(tmp_path: Path) -> None:
    rows = cut_rows(_student(tmp_path, "talking", student_cut=(1, 3)))
    blocks = [row for row in rows if row["number"]]
    assert [row["number"] for row in blocks] == [1, 2, 3, 4]
    assert [row["name"] for row in blocks] == [f"transformer_block_{number}" for number in range(1, 5)]
    assert {(row["kind"], tuple(row["shape"])) for row in blocks} == {("ViTEncoderBlock", (None, 5, 8))}
    # up to there: a block more adds the same each time
    for key in ("parameters", "flops"):
        steps = {after[key] - before[key] for before, after in pairwise(blocks)}
        assert len(steps) == 1 and steps.pop() > 0
    assert {row["name"]: row["cut"] for row in rows if row["cut"]} == {
        "transformer_block_1": ["low"],
        "transformer_block_3": ["high"],
    }
    assert not any(row["suggested"] for row in rows)


def test_a_spec_without_a_cut_gets_a_suggestion(tmp_path: Path) -> None:
    rows = cut_rows(_student(tmp_path, "scratch"))
    assert not any(row["cut"] for row in rows)
    assert [(row["number"], row["suggested"]) for row in rows if row["suggested"]] == [(1, ["low"]), (4, ["high"])]
    lines = cut_table(rows)
    assert lines[0].split() == ["number", "name", "kind", "shape", "parameters", "FLOPs", "cut"]
    assert next(line for line in lines if "transformer_block_1 " in line).endswith("l (low)?")
    assert next(line for line in lines if "transformer_block_4 " in line).endswith("h (high)?")


def test_the_cuts_of_a_spec_are_marked(tmp_path: Path) -> None:
    lines = cut_table(cut_rows(_student(tmp_path, "talking", student_cut=(2, 4))))
    assert next(line for line in lines if "transformer_block_2 " in line).endswith("l (low)")
    assert next(line for line in lines if "transformer_block_4 " in line).endswith("h (high)")
