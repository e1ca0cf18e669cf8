"""Several teachers in the spec language: defaults, views, paths, hashes, overrides, bundles."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tdspec.errors import SpecError, UsageError
from tdspec.spec import model
from tdspec.spec.bundle import bundle
from tdspec.spec.load import check, load
from tdspec.spec.schema import branches, follow, schema

TEACHER = """\
version: 1
name: {name}
seed: {seed}
method: scratch
data: {{source: digits}}
student: {{backbone: {{mlp: {{units: [6, 6]}}}}, input: {{size: [8, 8], channels: 1}}, cut: {{low: 1, high: 2}}}}
"""
SPEC = """\
version: 1
name: two
data: {source: digits}
teachers:
  - {backbone: {spec: a.yaml}, cut: {low: 1, high: 2}}
  - name: big
    weight: learned
    backbone: {class: ViTBackbone, config: {num_layers: 2, a: 1}, weights: {file: w.weights.h5}}
    cut: {low: 1, high: 2}
student: {backbone: {mlp: {units: [5, 5]}}, cut: {low: 1, high: 2}}
"""


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(TEACHER.format(name="a", seed=1))
    path = tmp_path / "two.yaml"
    path.write_text(SPEC)
    return path


def test_document(spec_file: Path) -> None:
    document = load(spec_file)
    assert document.spec.teacher is None and [item.rule for item in document.warnings] == ["leak"]
    first, second = document.spec.teachers
    assert (first.name, first.weight, second.name, second.weight) == ("teacher_1", 1.0, "big", "learned")
    assert first.backbone == model.SpecBackbone(str(spec_file.parent / "a.yaml"), "own")
    assert isinstance(second.backbone, model.ClassBackbone)
    assert second.backbone.weights == model.FileWeights(str(spec_file.parent / "w.weights.h5"))


def test_a_view_is_the_spec_with_one_teacher_and_its_errors_name_the_right_one(spec_file: Path) -> None:
    document = load(spec_file)
    views = document.views
    assert [view.name_of("teacher") for view in views] == ["teacher_1", "big"]
    assert [view.name_of("student") for view in views] == ["student", "student"]
    assert [view.spec.teacher for view in views] == list(document.spec.teachers)
    assert all(view.spec.teachers == () and len(view.views) == 1 for view in views)
    error = views[1].error("teacher.cut.low", "found it", "write teacher.cut").diagnostics[0]
    assert str(error).startswith(f"{spec_file}:9:16: error: teachers[1].cut.low: found it")
    assert error.hint == "write teachers[1].cut"
    assert views[0].error("teacher", "x").diagnostics[0].key == "teachers[0]"
    assert views[0].error("losses.task", "x").diagnostics[0].key == "losses.task"
    assert document.error("student.cut", "x").diagnostics[0].key == "student.cut"


def test_one_teacher_or_none_has_itself_as_view_or_none(spec_file: Path) -> None:
    alone = load(spec_file.parent / "a.yaml")
    assert alone.views == () and alone.spec.teachers == ()


def test_the_hash_sees_each_teacher(spec_file: Path) -> None:
    before = load(spec_file).sha256
    assert load(spec_file).sha256 == before
    changes = ("teachers[1].weight=2", "teachers[0].name=small", "teachers[1].cut.high=3")
    changed = {load(spec_file, [change]).sha256 for change in changes}
    (spec_file.parent / "a.yaml").write_text(TEACHER.format(name="a", seed=2))
    changed.add(load(spec_file).sha256)
    assert len(changed | {before}) == 5


def test_the_order_of_a_config_does_not_count(spec_file: Path) -> None:
    before = load(spec_file).sha256
    spec_file.write_text(SPEC.replace("num_layers: 2, a: 1", "a: 1, num_layers: 2"))
    assert load(spec_file).sha256 == before


def test_overrides_reach_into_the_list(spec_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spec_file.parent.parent)
    found = load(spec_file, ["teachers[0].weight=0.5", "teachers[1].backbone.weights.file=x.weights.h5"])
    first, second = found.spec.teachers
    assert first.weight == 0.5
    assert second.backbone.weights == model.FileWeights(str(spec_file.parent.parent / "x.weights.h5"))
    whole = "teachers=[{backbone: {file: t.keras}}, {backbone: {file: /u.keras}}]"
    files = [item.backbone.file for item in load(spec_file, ["method=scratch", whole]).spec.teachers]  # type: ignore[union-attr]
    assert files == [str(spec_file.parent.parent / "t.keras"), "/u.keras"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("teachers.weight=2", "found a list at teachers, expected a mapping"),
        ("teachers[2].weight=2", "found teachers[2], expected at most teachers[1]"),
        ("student[0]=2", "found no list at student, expected one"),
        ("teacher[0].weight=2", "found no list at teacher, expected one"),
    ],
)
def test_overrides_that_name_no_item(spec_file: Path, override: str, expected: str) -> None:
    (found,) = check(spec_file, [override])
    assert expected in str(found) and found.rule == "override"


@pytest.mark.parametrize("key", ["[0].weight", "teachers..name", "teachers[x].name", "a[0", ""])
def test_overrides_without_a_key(spec_file: Path, key: str) -> None:
    with pytest.raises(UsageError, match=r"expected KEY\.PATH=VALUE"):
        load(spec_file, [f"{key}=1"])


def test_a_bundle_holds_each_teacher(spec_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "moved"
    other.mkdir()
    text = SPEC.replace(
        "{class: ViTBackbone, config: {num_layers: 2, a: 1}, weights: {file: w.weights.h5}}", "{spec: b.yaml}"
    )
    (tmp_path / "b.yaml").write_text(TEACHER.format(name="b", seed=3))
    spec_file.write_text(text)
    document = load(spec_file)
    files = bundle(document, other)
    assert list(files) == ["spec.yaml", "spec.teacher_1.yaml", "spec.big.yaml"]
    for name, content in files.items():
        (other / name).write_text(content)
    assert load(other / "spec.yaml").sha256 == document.sha256
    assert load(other / "spec.big.yaml").spec.name == "b"


def test_a_broken_teacher_spec_is_told_where_it_lies(spec_file: Path) -> None:
    (spec_file.parent / "a.yaml").write_text("version: 1\nname: a\ndata: {source: digits}\n")
    with pytest.raises(SpecError, match=r"a\.yaml"):
        load(spec_file)
    (spec_file.parent / "a.yaml").unlink()
    assert check(spec_file)[0].key == "teachers[0].backbone.spec"


def test_a_listed_teacher_has_what_a_teacher_has() -> None:
    listed, alone = (schema()["$defs"][name] for name in ("listed_teacher", "teacher"))
    assert {**listed["properties"], **alone["properties"]} == listed["properties"]
    assert set(listed["properties"]) - set(alone["properties"]) == {"name", "weight"}
    assert set(model.ListedTeacher.__dataclass_fields__) == set(listed["properties"])
    for entry in listed["properties"].values():
        assert follow(entry).get("description") and branches(entry)
    Draft202012Validator({"$defs": schema()["$defs"], **listed["properties"]["weight"]}).validate(1.0)
