"""Rules the schema cannot say: what they let pass (`bad_specs/` has what they refuse)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdspec.spec.checks import CHECKS, TERMS
from tdspec.spec.load import check
from tdspec.spec.schema import schema

SPEC = """\
version: 1
name: good
data: {source: digits}
teacher:
  backbone: {file: teacher.keras}
  cut: {low: 1, high: 2}
student:
  backbone: {mlp: {units: [16, 16]}}
  cut: {low: 1, high: 2}
"""
TABLE = """\
version: 1
name: table
method: scratch
data: {source: csv, path: a.csv, where: {genre: [a, b], year: 1990}}
task: {type: regression}
student:
  backbone:
    mlp:
      units: [8]
      features: {user: {type: id, size: 3}, age: {type: number, mean: 30, std: 10}}
"""


def _found(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    return [f"{item.severity} {item.rule} {item.key}" for item in check(path, overrides)]


ACCEPTED = [
    ("method=scratch",),
    ("method=scratch", "losses.interaction=1", "communication.iterations=2"),
    ("method=logit", "teacher.head=own"),
    ("method=logit", "teacher.head=own", "losses.logit.temperature=2"),
    ("method=logit", "teacher.head=own", "task.type=regression", "losses.logit.distance=l2"),
    ("method=logit", "teacher.head=probe", "teacher.expect=0.5"),
    ("method=logit", "teacher.head=own", "teacher.class_map=[3, [0, 1]]", "task.num_classes=2"),
    ("teacher.expect=3", "task.type=regression"),
    ("losses.balance=auto", "losses.task=2"),
    ("method=scratch", "losses.balance=auto"),
    ("method=feature", "losses.feature=2", "student.cut.high=1"),
    ("method=fitnet",),
    ("method=one_way_control", "communication.iterations=3"),
    ("communication.iterations=0", "teacher.cut.high=1"),
    ("losses.task=0",),
    ("losses.interaction=0", "losses.message_consistency=0", "losses.state_consistency=0"),
    ("data.splits={train: 0.7, validation: 0.2, test: 0.1}",),
    ("data.splits={by: time, train: 0.7, validation: 0.1, test: 0.1}",),
    ("data.splits={by: time, within: user, train: 0.7, validation: 0.1, test: 0.1}",),
    ("data.splits={train: 'all[:80%]', validation: 'all[80%:90%]+all[95%:]', test: 'all[90%:95%]'}",),
    ("data={source: tfds, name: a, path: d, splits: {train: 'train[:9]+train[20:]', validation: v, test: test}}",),
    ("data={source: image_folder, path: d}", "task.num_classes=3"),
    ("data.labels_per_class=5", "data.unlabeled=keep"),
    ("data.augment=[flip]",),
    ("task={type: binary}",),
    ("task={type: multilabel}",),
    ("train={optimizer: {type: sgd, momentum: 0.9}}",),
    ("train={strategy: mirrored, replicas: 2}",),
    ("student.input={channels: 3, mean: [1, 2, 3], std: [1], scale: [1, -1]}",),
    ("teacher.backbone={class: VBackbone, config: {a: no_text}, weights: {preset: p}, batch_norm_epsilon: 0.1}",),
    ("teacher.backbone={application: MobileNetV2, weights: imagenet}",),
    ("teacher.backbone={application: MobileNetV2, weights: {file: a.weights.h5}}",),
    ("teacher.backbone={mlp: {units: [8]}, weights: {file: a.weights.h5}}",),
    ("teacher.backbone={preset: vit_base}",),
    ("student.backbone={preset: ./vit, weights: random}",),
    ("student.head=own",),
    ("student.cut={low: conv_1, high: conv_4}",),
]


@pytest.mark.parametrize("overrides", ACCEPTED, ids=lambda overrides: overrides[-1][:60])
def test_accepted(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    assert _found(tmp_path, SPEC, *overrides) == []


def test_table_accepted(tmp_path: Path) -> None:
    assert _found(tmp_path, TABLE) == []


def test_student_reads_the_image_its_spec_reads(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(TABLE)
    assert _found(tmp_path, SPEC.replace("mlp: {units: [16, 16]}", "spec: other.yaml"), "method=scratch") == []
    text = TABLE + "teacher:\n  backbone: {spec: other.yaml}\n"
    assert _found(tmp_path, text, "data.augment=[flip]") == ["error input data.augment"]


@pytest.mark.parametrize(
    ("source", "theirs", "ours", "warned"),
    [
        ("csv", "a.csv", "teachers/a.csv", True),
        ("csv", "a.csv", "a.csv", False),
        ("npz", "a.npz", "teachers/b.npz", False),
        ("image_folder", "images", "teachers/./images", True),
        ("image_folder", "images", "images", False),
        ("tfds", "kept_here", "kept_there", True),
    ],
)
def test_splits_count_against_a_teacher_of_the_same_source(
    tmp_path: Path, source: str, theirs: str, ours: str, warned: bool
) -> None:
    """A relative path starts from its own spec; the path of tfds does not name the data."""
    teacher = tmp_path / "teachers" / "teacher.yaml"
    teacher.parent.mkdir()
    name = ", name: cifar10" if source == "tfds" else ""
    texts = [
        SPEC.replace("{source: digits}", f"{{source: {source}, path: {path}{name}}}") + "task: {num_classes: 10}\n"
        for path in (theirs, ours)
    ]
    teacher.write_text(texts[0] + "seed: 7\n")
    found = _found(tmp_path, texts[1].replace("file: teacher.keras", "spec: teachers/teacher.yaml"))
    assert found == (["warning leak data.splits"] if warned else [])


REFUSED_BY_OVERRIDE = [
    (("losses={task: 0}", "method=scratch"), "error losses losses"),
    (("data.splits={by: t, train: a, validation: b, test: c}",), "error splits data.splits.train"),
    (("train={strategy: none, replicas: 2}",), "error train train.replicas"),
    (("task={type: binary, num_classes: 2}",), "error task task.num_classes"),
    (("method=hybrid",), "error method teacher.head"),
    (
        (
            "method=logit",
            "losses.logit.distance=auto",
            "teacher.head=own",
            "losses.logit.temperature=2",
            "task.type=regression",
        ),
        "warning no-effect losses.logit.temperature",
    ),
    (("student.backbone.weights=imagenet",), "error weights student.backbone.weights"),
    (("data.where={a: off}",), "warning ambiguous-text data.where.a"),
]


@pytest.mark.parametrize(("overrides", "expected"), REFUSED_BY_OVERRIDE, ids=lambda item: str(item)[:60])
def test_refused(tmp_path: Path, overrides: tuple[str, ...], expected: str) -> None:
    assert expected in _found(tmp_path, SPEC, *overrides)


def test_rules_wait_for_the_sections_they_read(tmp_path: Path) -> None:
    assert _found(tmp_path, SPEC, "method=talkng", "teacher.cut.high=1") == ["error value method"]
    assert sorted(_found(tmp_path, SPEC, "task.type=clas", "teacher.cut.low=9")) == [
        "error cut teacher.cut.low",
        "error value task.type",
    ]
    assert _found(tmp_path, SPEC.replace("teacher:", "techer:")) == ["error unknown-key techer"]


def test_methods_and_terms_are_those_of_the_schema() -> None:
    assert list(TERMS) == schema()["properties"]["method"]["enum"]
    terms = {term for names in TERMS.values() for term in names}
    assert terms == set(schema()["$defs"]["losses"]["properties"]) - {"balance"}
    assert {section for rule in CHECKS for section in rule.reads} <= set(schema()["properties"])
