"""Undistillable classes of a study, method beside method: counted by hand, and measured once in real runs."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from study_support import complete, page_of, planned, write_study
from test_report_page import checked

from tdspec.cli import execute, parse
from tdspec.report.similarity_file import FILE, Similarity, Student, key_of, write_similarity
from tdspec.report.study_similarity import unmeasured
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder
from tdspec.study.results import read_results
from tdspec.study.runner import run_study

AXES = "axes: {method: [scratch, talking], seed: [0, 1, 2]}\n"
CLASSES = ("cat", "dog", "owl")


def similarity(high: Sequence[float], chance: Sequence[float]) -> Similarity:
    student = Student(
        "a", ("low", "high"), ("low", "high"), tuple(((0.1, 0.2), (0.3, x)) for x in high), tuple(chance), ()
    )
    return Similarity(CLASSES, (20,) * 3, (30,) * 3, (student,), "")


def compared(folder: Path, run: RunFolder, high: Sequence[float], chance: Sequence[float]) -> None:
    run_dir.update_record(run, teacher_sha256="t", best_epoch=1)
    write_similarity(run, similarity(high, chance), key_of(run_dir.read_record(run)))


def test_classes_are_counted_over_seeds_method_beside_method(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    runs = [complete(folder, run, 0.5, 0.5) for run in planned(folder, write_study(tmp_path, AXES))]
    assert "<h2>Similarity</h2>" not in page_of(folder)
    for run, shift in zip(runs[:3], (0.0, 0.1, 0.2), strict=True):
        compared(folder, run, (0.2 + shift, 0.3, 0.4), (0.5, 0.05, 0.01))
    for run, chance in zip(runs[3:5], (0.01, 0.3), strict=True):
        compared(folder, run, (0.5, 0.6, 0.7), (0.01, 0.04, chance))
    run_dir.update_record(runs[5], teacher_sha256="t", best_epoch=1)
    page = checked(page_of(folder))
    rows = [re.sub("<[^>]+>", "|", row) for row in re.findall("<tr>.*?</tr>", page.partition("<h2>Similarity</h2>")[2])]
    means = np.array([0.3, 0.3 + 0.1 / 3, 0.3 + 0.2 / 3])
    alike = f"{means.mean():.3f} ± {means.std(ddof=1) / np.sqrt(3):.3f}"
    assert f"||scratch||3||{alike}||2.0 ± 0.0 of 3||cat (3), dog (3)||" in rows
    assert "||talking||2 of 3||0.600 ± 0.000||0.5 ± 0.5 of 3||owl (1)||" in rows
    assert "||cat||0.300||0.500||" in rows
    assert [run.path.name for run in unmeasured(folder, read_results(folder))] == [runs[5].path.name]


def test_another_training_is_measured_anew(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    (run, *others) = [complete(folder, run, 0.5, 0.5) for run in planned(folder, write_study(tmp_path, AXES))]
    for other in (run, *others):
        compared(folder, other, (0.5, 0.6, 0.7), (0.01,) * 3)
    assert unmeasured(folder, read_results(folder)) == []
    run_dir.update_record(run, best_epoch=2)
    assert unmeasured(folder, read_results(folder)) == [run]


@pytest.mark.slow
def test_report_compares_every_run_of_a_study_scratch_included(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository))
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, "axes: {method: [scratch, logit, talking], seed: [0]}\n")
    result = run_study(study, root=tmp_path / "runs", jobs=1, resume=False, stream=io.StringIO())
    assert result.failures == ()
    words = ["tdspec", "report", str(result.folder), "--similarity"]
    assert execute(parse(words)) == 0
    said = capsys.readouterr().err
    assert said.count("teacher and student are compared") == 3
    assert len(list(result.folder.glob(f"runs/*/{FILE}"))) == 3
    page = checked((result.folder / "report.html").read_text("utf-8"))
    assert "<h2>Similarity</h2>" in page
    assert "CKA of the high states by class" in page
    assert execute(parse(words)) == 0
    assert capsys.readouterr().err == ""
