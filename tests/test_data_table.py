from __future__ import annotations

from tdspec.data.table import listed, split_row_name, unknown


def test_unknown_names_suggest_or_list() -> None:
    near = unknown("column", "lable", ["image", "label"], "digits")
    assert (near.message, near.hint) == ("no column 'lable' in digits", "did you mean 'label'?")
    assert unknown("column", "x", ["image", "label"], "digits").hint == "it has 'image', 'label'"
    assert unknown("column", "?", [f"c{number}" for number in range(500)], "t").hint == "none of 500 names is close"


def test_long_lists_are_counted() -> None:
    assert listed(["a", "b", "c"], limit=2) == "'a', 'b' and 1 more"


def test_rows_are_named_by_their_split() -> None:
    row_name = split_row_name({"train": 3, "test": 2})
    names = [row_name(row) for row in (0, 2, 3, 4)]
    assert names == [
        "example 0 of split 'train'",
        "example 2 of split 'train'",
        "example 0 of split 'test'",
        "example 1 of split 'test'",
    ]
