"""The page of a run.

In: a run folder, complete or not. Out: one self-contained HTML page.
Leaves out: a study's page (`study_page.py`), writing the file.
"""

from __future__ import annotations

from tdspec.report import html
from tdspec.report.reading import read_facts
from tdspec.report.sections import SECTIONS, graph_section
from tdspec.report.similarity_file import read_similarity
from tdspec.report.similarity_section import similarity_section
from tdspec.run.run_dir import RunFolder
from tdspec.run.teachers import COMPLETE

PLACE_OF_SIMILARITY = SECTIONS.index(graph_section)


def run_page(run: RunFolder, no_similarity: str = "") -> str:
    """The page of a run; what the run does not have yet is said, in its place.

    Args:
        run: a run folder.
        no_similarity: why teacher and student could not be compared, or "".

    Raises:
        RunError: a file of the run is damaged.
    """
    facts = read_facts(run)
    record = facts.record
    about = [
        f"method {facts.method}" if facts.method else "not started",
        f"seed {record['seed']}",
        f"{record['created'][:16].replace('T', ' ')} UTC",
        facts.status,
    ]
    parts = [section(facts) for section in SECTIONS]
    if facts.status == COMPLETE and record["teacher_sha256"] is not None:
        parts.insert(PLACE_OF_SIMILARITY, similarity_section(read_similarity(run), no_similarity))
    return html.page(str(record["name"]), " · ".join(about), parts)
