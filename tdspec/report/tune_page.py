"""The page of a search for one spec.

In: the folder of its trials. Out: one self-contained HTML page.
Leaves out: writing the file, the searches of studies (`study_page.py`).
"""

from __future__ import annotations

from pathlib import Path

from tdspec.report import html
from tdspec.report.search_section import search_section
from tdspec.study.outcomes import RECORD, in_one_sentence, read_outcomes


def is_tuning(folder: Path) -> bool:
    """Whether a folder holds a search."""
    return (folder / RECORD).is_file()


def tune_page(folder: Path) -> str:
    """The page of a search, as far as it got.

    Raises:
        RunError: its record is damaged.
    """
    outcomes = read_outcomes(folder)
    parts = [html.section("", *(html.paragraph(in_one_sentence(item)) for item in outcomes), kind="answer")]
    return html.page(folder.name, "search on validation", [*parts, *search_section(outcomes)])
