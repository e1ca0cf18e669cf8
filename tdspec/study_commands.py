"""The commands about many runs and about pages: study, report. Neither loads TensorFlow into this process.

In: parsed arguments. Out: tables and pages, exit codes.
Leaves out: training, which a study does in processes of its own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tdspec.command import FINE, WRONG, Arguments, Command
from tdspec.errors import UsageError


def _declare_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="a YAML file: a spec, and what varies")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on with a study that was stopped, or was changed")
    parser.add_argument("--runs", default="runs", metavar="ROOT", help="the folder of all runs (default: runs)")


def _study(arguments: Arguments) -> int:
    from tdspec.report.study_page import study_page
    from tdspec.run.run_dir import write_text
    from tdspec.study.runner import run_study
    from tdspec.study.study_file import load_study
    from tdspec.study.table_text import as_markdown

    if arguments.jobs < 1:
        raise UsageError(f"found --jobs {arguments.jobs}, expected at least 1")
    study = load_study(arguments.study)
    result = run_study(
        study, root=Path(arguments.runs), jobs=arguments.jobs, resume=arguments.resume, stream=sys.stderr
    )
    write_text(result.folder / "table.html", study_page(result.folder))
    print(as_markdown(result.table))
    for failure in result.failures:
        print(f"error: {failure}", file=sys.stderr)
    print(result.folder)
    return WRONG if result.failures else FINE


def _declare_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN|STUDY", help="the folder of a run, or of a study")
    parser.add_argument("-o", "--output", metavar="FILE", help="the page to write (default: report.html in the folder)")


def _report(arguments: Arguments) -> int:
    from tdspec.report.page import run_page
    from tdspec.report.study_page import study_page
    from tdspec.run.run_dir import open_run, write_text
    from tdspec.study.results import is_study

    folder = Path(arguments.folder)
    page = study_page(folder) if is_study(folder) else run_page(open_run(folder))
    target = Path(arguments.output) if arguments.output else folder / "report.html"
    write_text(target, page)
    print(target)
    return FINE


STUDY_COMMANDS: dict[str, Command] = {
    "study": Command(
        "train a matrix of runs, and compare them in a table with errors",
        "tdspec study specs/studies/digits_methods.yaml --jobs 2\n"
        "tdspec study specs/studies/digits_methods.yaml --resume",
        _declare_study,
        _study,
    ),
    "report": Command(
        "write one self-contained HTML page about a run or a study",
        "tdspec report runs/digits/20260101-120000-0\ntdspec report runs/studies/digits_methods -o methods.html",
        _declare_report,
        _report,
    ),
}
