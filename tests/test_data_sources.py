from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_support import TdspecTiny

from tdspec.data.sources import SOURCES, open_source
from tdspec.errors import DataError


def test_the_schema_names_the_same_sources(repository: Path) -> None:
    schema = json.loads((repository / "schemas" / "tdspec.schema.json").read_text())
    assert set(schema["$defs"]["data"]["properties"]["source"]["enum"]) == set(SOURCES)


def test_missing_data_are_downloaded_only_where_that_is_allowed(tmp_path: Path) -> None:
    wanted = {"task.label": ["label"]}
    with pytest.raises(DataError, match="not on this machine"):
        open_source("tfds", TdspecTiny.name, str(tmp_path), wanted, download=False)
    assert open_source("tfds", "tdspec_tiny", str(tmp_path), wanted, download=True).title == "tdspec_tiny"


@pytest.mark.parametrize("what", ["task.label", "data.where", "data.splits.by", "model input"])
def test_a_column_that_does_not_exist_says_who_wants_it(what: str) -> None:
    with pytest.raises(DataError) as caught:
        open_source("digits", None, None, {what: ["lable"]}, download=False)
    assert (caught.value.message, caught.value.hint) == (
        f"{what}: no column 'lable' in digits",
        "did you mean 'label'?",
    )


def test_the_columns_of_an_npz_choose_its_splits(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros(3), x_test=np.zeros(2), z=np.zeros(9))
    found = open_source("npz", None, str(tmp_path / "a.npz"), {"task.label": ["x"]}, download=False)
    assert found.own_splits == {"train": 3, "test": 2}
    with pytest.raises(DataError, match="do not fit together"):
        open_source("npz", None, str(tmp_path / "a.npz"), {"task.label": ["x"], "model input": ["z"]}, download=False)
