"""Reading YAML: values, places, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tdspec.errors import Place, SpecError
from tdspec.spec import reader
from tdspec.spec.reader import read_file, read_text
from tdspec.spec.source import Source, plain_data


def _values(text: str) -> Any:
    node, diagnostics = read_text(text, "x.yaml")
    assert not diagnostics
    return plain_data(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+3", 3),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-11-01", "2026-11-01"),
        ("no", "no"),
        ("On", "On"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("null", None),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("!!str 3", "3"),
        ("0b11", "0b11"),
        ("=", "="),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_are_those_of_yaml_12(text: str, value: object) -> None:
    read = _values(f"key: {text}")["key"]
    assert read == value and type(read) is type(value)


def test_both_loaders_of_the_library_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: {b: [1, no, &x 'y'], c: *x}\nd:\n  - e: |\n      f\n"
    first = _values(text)
    monkeypatch.setattr(reader, "Loader", yaml.SafeLoader)
    assert _values(text) == first == {"a": {"b": [1, "no", "y"], "c": "y"}, "d": [{"e": "f\n"}]}


def test_places() -> None:
    text = "# first\nname: x\nstudent:\n  cut: {low: 1,\n        high: 2}\n  units: [3,\n    4]\ncafé: {ü: ä}\n"
    source = Source("x.yaml", read_text(text, "x.yaml")[0])
    places = {
        (): (2, 1),
        ("name",): (2, 7),
        ("student",): (3, 1),
        ("student", "cut"): (4, 8),
        ("student", "cut", "high"): (5, 15),
        ("student", "units", 1): (7, 5),
        ("student", "units", 9): (6, 3),
        ("student", "cut", "middle"): (4, 3),
        ("nowhere", "at", "all"): (2, 1),
        ("café", "ü"): (8, 11),
    }
    assert {path: source.place(path) for path in places} == {
        path: Place("x.yaml", line, column) for path, (line, column) in places.items()
    }
    assert source.key_place(("student", "cut", "high")) == Place("x.yaml", 5, 9)


def test_alias_has_its_own_place_and_repeats_the_value() -> None:
    node, _ = read_text("a: &a {b: 1}\nc: *a\n", "x.yaml")
    assert plain_data(node) == {"a": {"b": 1}, "c": {"b": 1}}
    assert Source("x.yaml", node).place(("c",)) == Place("x.yaml", 2, 4)


def _refused(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        read_text(text, "x.yaml")
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "".join(f"{' ' * depth}a:\n" for depth in range(1000)),
        "- " * 50_000,
        "&a " + "[*a, *a]",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"b{i}: &a [{', '.join(['*a'] * 10)}]\n" for i in range(200)),
        "a0: &a [x]\n" + "".join(f"b{i}: &a [*a]\n" for i in range(1000)),
        "".join(f"x{i}: y\n" for i in range(30_000)),
    ],
    ids=["lists", "mappings", "blocks", "items", "recursive", "laughs", "tower", "many"],
)
def test_bombs_are_refused_at_once(text: str) -> None:
    error = _refused(text)
    assert error.diagnostics[0].rule in {"nesting", "anchor"}
    assert error.diagnostics[0].place.file == "x.yaml"


@pytest.mark.parametrize(
    "text",
    ["a: &b\n", "%YAML 3.0\n---\na: 1\n", "a: 'x\n", "? [a]\n: b\n", "{a: b\n", "a: *\n", "@x: 1\n", "a: \x01\n"],
)
def test_whatever_is_no_yaml_of_ours_has_a_place(text: str) -> None:
    try:
        read_text(text, "x.yaml")
    except SpecError as error:
        assert error.diagnostics[0].place.line >= 1
        assert error.diagnostics[0].message.startswith("found ")
    else:
        assert text == "a: &b\n"


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nseed: y\r\n")
    node, _ = read_file(path, "bom.yaml")
    assert plain_data(node) == {"name": "x", "seed": "y"}
    assert Source("bom.yaml", node).key_place(("name",)) == Place("bom.yaml", 1, 1)
    assert Source("bom.yaml", node).place(("seed",)) == Place("bom.yaml", 2, 7)


def _message(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        read_file(path, path.name)
    return str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("a: 1")
    assert _message(tmp_path) == (
        f"{tmp_path.name}:1:1: error: found a directory, expected a YAML file\n"
        f"  hint: name its specs: `tdspec validate {tmp_path.name}/*.yaml`"
    )
    assert _message(tmp_path / "digit.yaml") == (
        "digit.yaml:1:1: error: found no such file, expected a spec\n  hint: did you mean 'digits.yaml'?"
    )
    assert "found no such file" in _message(tmp_path / "none" / "x.yaml")
    assert "found a file that cannot be read (not a directory)" in _message(tmp_path / "digits.yaml" / "x.yaml")
    assert "found a file that cannot be read (file name too long)" in _message(tmp_path / ("x" * 5000))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    assert "found a file that cannot be read (permission denied)" in _message(path)


def test_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * (2 << 20))
    assert "found more than 1048576 bytes" in _message(path)
    assert "found more than 1048576 bytes" in _message(Path("/dev/zero"))
