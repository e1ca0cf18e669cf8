"""The page of a run.

In: a run folder, complete or not. Out: one self-contained HTML page.
Leaves out: a study's page (`study_page.py`), writing the file.
"""

from __future__ import annotations

from tdspec.report import html
from tdspec.report.reading import read_facts
from tdspec.report.sections import SECTIONS
from tdspec.run.run_dir import RunFolder


def run_page(run: RunFolder) -> str:
    """The page of a run; what the run does not have yet is said, in its place.

    Args:
        run: a run folder.

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
    return html.page(str(record["name"]), " · ".join(about), [section(facts) for section in SECTIONS])
