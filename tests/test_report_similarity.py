"""Similarities of a real run with its control: measured once, shown, and what is undistillable."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_helpers import facts
from run_support import Trained, write_pair
from test_report_page import checked
from text_support import LENGTH, sentences, text_spec, write_preset, write_spec

from tdspec.cli import execute, parse
from tdspec.data.text import encode
from tdspec.errors import RunError
from tdspec.graph.compiler import build
from tdspec.graph.tokenizers import read_tokenizer
from tdspec.graph.weights import from_file
from tdspec.report.cka import linear_cka
from tdspec.report.similarity import ALL, _Examples, _examples, _student, measure
from tdspec.report.similarity_file import FILE, Similarity, Student, is_measured, key_of, read_similarity
from tdspec.report.similarity_section import similarity_section
from tdspec.run.prepare import compile_with_weights, open_data
from tdspec.run.run_dir import RunFolder, read_record, update_record
from tdspec.run.teachers import trained_run
from tdspec.spec.load import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copied(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A copy that tests may write into."""
    folder = tmp_path_factory.mktemp("similarity") / "copy"
    shutil.copytree(trained.folder, folder)
    return Trained(folder, folder / trained.run.relative_to(trained.folder), trained.ended)


def report(copied: Trained, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.chdir(copied.folder)
    return execute(parse(["tdspec", "report", str(copied.run), *words]))


def test_report_measures_once_with_and_without_talking(
    copied: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(copied.run)
    assert report(copied, monkeypatch) == 0
    assert capsys.readouterr().err == ""
    similarity = read_similarity(run)
    assert similarity is not None
    assert similarity.groups == tuple("0123456789")
    assert set(similarity.counts) == {20}
    assert min(similarity.totals) > 20
    talking, scratch = similarity.students
    assert (talking.name, talking.spaces, talking.teacher_spaces) == ("talking", *[("low", "high", "message")] * 2)
    assert (scratch.name, scratch.spaces, scratch.teacher_spaces) == ("scratch", *[("low", "high")] * 2)
    assert np.asarray(talking.cka).shape == (10, 3, 3)
    assert talking.cka != scratch.cka
    page = checked(run.report.read_text("utf-8"))
    for part in (
        "<h2>Similarity</h2>",
        "CKA by class, talking",
        "Undistillable, talking: ",
        "Undistillable, scratch: ",
    ):
        assert part in page
    before = (run.path / FILE).stat().st_mtime_ns
    assert report(copied, monkeypatch) == 0
    assert (run.path / FILE).stat().st_mtime_ns == before
    assert is_measured(run, key_of(read_record(run)))


def test_the_numbers_are_those_of_the_models(copied: Trained) -> None:
    run = RunFolder(copied.run)
    similarity = read_similarity(run) or measure(run, copied.folder / "runs")
    document = load(run.spec)
    teacher = trained_run(load(copied.folder / "teacher.yaml"), copied.folder / "runs")
    assert teacher is not None
    compiled = compile_with_weights(document, {"teacher": teacher.student})
    from_file(compiled.student.whole.model, str(run.student))
    validation = open_data(compiled, download=False).validation
    features, labels, _ = next(iter(validation.batches(validation.num_examples, epoch=None)))
    rows = np.flatnonzero(np.asarray(labels) == 3)
    images = np.asarray(features["image"])[rows]
    assert compiled.teacher is not None and compiled.student.segments is not None
    assert compiled.teacher.segments is not None
    states = [side.segments.lower({"image": images[:20]}) for side in (compiled.student, compiled.teacher)]  # type: ignore[union-attr]
    student = similarity.students[0]
    assert student.of("low")[3] == pytest.approx(linear_cka(*map(np.asarray, states)), rel=1e-4)
    right = np.argmax(np.asarray(compiled.student.whole.model({"image": images})), -1) == 3
    assert student.accuracy[3] == pytest.approx(right.mean())


def test_another_teacher_is_refused_and_the_page_says_so(
    copied: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(copied.run)
    sha256 = read_record(run)["teacher_sha256"]
    (run.path / FILE).unlink(missing_ok=True)
    update_record(run, teacher_sha256="other")
    try:
        assert report(copied, monkeypatch) == 0
        assert "the teacher's weights are others than those the run has learned from" in capsys.readouterr().err
        assert "Not measured: the teacher" in run.report.read_text("utf-8")
        with pytest.raises(RunError, match="has no run of this spec"):
            measure(run, copied.folder / "nowhere")
        assert report(copied, monkeypatch, "--no-similarity") == 0
        assert "Not measured yet" in run.report.read_text("utf-8")
    finally:
        update_record(run, teacher_sha256=sha256)


def test_a_method_that_does_not_cut_is_cut_where_its_spec_says(copied: Trained) -> None:
    run = RunFolder(copied.run)
    text = run.spec.read_text("utf-8")
    try:
        run.spec.write_text(text.replace("method: talking", "method: logit"), "utf-8")
        student = measure(run, copied.folder / "runs").students[0]
        assert (student.spaces, student.teacher_spaces) == (("low", "high"), ("low", "high"))
    finally:
        run.spec.write_text(text, "utf-8")


def test_of_other_tasks_all_examples_are_compared_and_of_few_classes_those_with_enough(tmp_path: Path) -> None:
    document = load(write_pair(tmp_path, task={"type": "regression"}))
    weights = np.r_[np.ones(9), 0.0]
    batches = [({"image": np.arange(10.0)}, np.r_[np.zeros(6), np.ones(4)], weights)]
    found = _examples(document, batches, None, None)
    assert (found.groups, found.totals, len(found.features[0]["image"])) == (("all examples",), (9,), 9)
    found = _examples(load(write_pair(tmp_path)), batches, ("cat", "dog", "cow"), 3)
    assert (found.groups, found.totals, found.classes) == (("cat",), (6,), (0,))
    assert found.left_out.startswith("2 classes are not shown")


@pytest.mark.parametrize(
    "communication",
    [
        {"message": {"dim": 6}, "encoder": {"type": "transformer", "num_heads": 2, "hidden_dim": 8}},
        {"message": {"dim": 6, "positions": "vector"}},
    ],
    ids=["transformer", "vector"],
)
def test_messages_of_a_text_are_encoded_with_its_padding(tmp_path: Path, communication: dict[str, Any]) -> None:
    write_preset(tmp_path)
    compiled = build(load(write_spec(tmp_path, text_spec(communication=communication))), facts)
    ids, mask = encode(sentences(9)[0], read_tokenizer(str(tmp_path / "bert_tiny")), LENGTH)
    features = {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}
    talking = _student(compiled, "talking", _Examples((ALL,), (features,), (9,), (), ""), [], messages=True)
    assert talking.spaces == talking.teacher_spaces == ("low", "high", "message")
    assert np.isfinite(talking.cka).all()


def made(with_: tuple[float, ...], without: tuple[float, ...]) -> Similarity:
    students = tuple(
        Student(name, ("low", "high"), ("low", "high"), (((0.5, 0.1), (0.2, 0.9)),) * 3, chances, accuracy)
        for name, chances, accuracy in (("talking", with_, (0.5, 0.9, 0.7)), ("scratch", without, (0.6, 0.8, 0.7)))
    )
    return Similarity(("cat", "dog", "cow"), (20, 20, 7), (50, 40, 7), students, "")


def test_what_is_no_more_alike_than_at_random_is_undistillable() -> None:
    similarity = made((0.2, 0.005, 0.05), (0.3, 0.4, 0.01))
    assert similarity.undistillable(similarity.students[0]) == ["cat", "cow"]
    assert similarity.undistillable(similarity.students[1]) == ["cat", "dog"]
    assert similarity.fell() == [("cat", 0.5, 0.6)]
    assert similarity.students[0].mean() == [
        [pytest.approx(0.5), pytest.approx(0.1)],
        [pytest.approx(0.2), pytest.approx(0.9)],
    ]
    text = similarity_section(similarity, "")
    assert "Undistillable, talking: cat, cow." in text
    assert "than without a teacher: cat (0.500 against 0.600)." in text


def test_without_classes_all_examples_are_one_group() -> None:
    student = Student("talking", ("low", "high"), ("low", "high"), (((0.5, 0.1), (0.2, 0.9)),), (0.005,), ())
    text = similarity_section(Similarity(("all examples",), (200,), (360,), (student,), ""), "")
    assert "Undistillable" not in text
    assert "200 of 360" in text


def test_what_was_not_measured_is_said() -> None:
    assert "Not measured: the data are gone." in similarity_section(None, "the data are gone")


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{", "utf-8")
    with pytest.raises(RunError, match=r"similarity.json is damaged"):
        read_similarity(RunFolder(tmp_path))
    assert read_similarity(RunFolder(tmp_path / "none")) is None
