"""Pages of runs in every state: complete ones say all, others say what they lack, none asks for anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_support import CONTROL, add_epochs, begun, complete_run
from test_report_html import unbalanced

from tdspec.report.page import run_page
from tdspec.run import run_dir
from tdspec.run.run_dir import RunFolder

REQUESTS = re.compile(r"""(?:src|href)\s*=\s*["'](?!data:|#)|url\((?!#)|@import|<script|<iframe""")


def checked(page: str) -> str:
    """The page's text, after what holds for every page was checked."""
    assert REQUESTS.findall(page) == []
    assert unbalanced(page) == []
    found = re.findall(r'\bid="([^"]+)"', page)
    assert len(found) == len(set(found))
    return page


def test_a_complete_run_says_all(tmp_path: Path) -> None:
    run = complete_run(tmp_path, control=CONTROL)
    (run.path / "control").mkdir()
    add_epochs(RunFolder(run.path / "control"), 3, best=1)
    page = checked(run_page(run))
    for part in (
        "<h1>small</h1>",
        "method talking · seed 0 · ",
        "With this seed, distillation helped",
        "tdspec study",
        "Dots mark the best epochs: 2 of the student, 1 of the control.",
        "validation accuracy",
        "message_consistency",
        "relative_l2",
        "student, trained",  # in the picture of the graph
        "cost of a training step",
        "54,321 bytes",
        "1.5e-07",
        "Fingerprint <code>f1</code>",
        '<td class="number">400</td>',
        "1.00 GiB",
        "2.21.0",
        "<summary>The spec, with every default</summary>",
        "max-width",
    ):
        assert part in page, part
    assert 'class="missing"' not in page


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = complete_run(tmp_path)
    assert run_page(run) == run_page(run)


def test_a_control_whose_folder_is_gone_is_said(tmp_path: Path) -> None:
    assert "its folder is gone" in checked(run_page(complete_run(tmp_path, control=CONTROL)))


def test_a_folder_that_was_only_created_says_what_it_lacks(tmp_path: Path) -> None:
    page = checked(run_page(run_dir.create(tmp_path, "small", 3, None)))
    assert "not started · seed 3" in page
    assert page.count('class="missing"') == 8


@pytest.mark.parametrize("epochs", [0, 1])
def test_an_unfinished_run_has_its_graph_and_what_it_did(tmp_path: Path, epochs: int) -> None:
    run = begun(tmp_path, status="failed", method="talking", error="training diverged in epoch 2")
    add_epochs(run, epochs)
    page = checked(run_page(run))
    assert "training diverged in epoch 2" in page
    assert "Nothing was exported yet." in page
    assert "student, trained" in page
    assert ("No epoch has ended yet." in page) == (epochs == 0)


def test_what_a_person_wrote_is_escaped(tmp_path: Path) -> None:
    run = complete_run(tmp_path, status="failed", error="<script>alert(1)</script>")
    assert "<script>" not in run_page(run)
