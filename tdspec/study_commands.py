"""The commands about many runs and about pages: study, tune, report. None loads TensorFlow into this process, but for
the report of a run whose teacher and student it compares.

In: parsed arguments. Out: tables and pages, exit codes.
Leaves out: training, which a study does in processes of its own.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tdspec.command import FINE, WRONG, Arguments, Command, declare_overrides
from tdspec.errors import TdspecError, UsageError

if TYPE_CHECKING:
    from tdspec.run.run_dir import RunFolder


def _declare_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="a YAML file: a spec, and what varies")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on with a study that was stopped, or was changed")
    parser.add_argument("--runs", default="runs", metavar="ROOT", help="the folder of all runs (default: runs)")
    declare_overrides(parser)


def _study(arguments: Arguments) -> int:
    from tdspec.run.run_dir import write_text
    from tdspec.study.runner import run_study
    from tdspec.study.study_file import load_study
    from tdspec.study.table_text import as_markdown

    if arguments.jobs < 1:
        raise UsageError(f"found --jobs {arguments.jobs}, expected at least 1")
    study = load_study(arguments.study, arguments.overrides)
    result = run_study(
        study, root=Path(arguments.runs), jobs=arguments.jobs, resume=arguments.resume, stream=sys.stderr
    )
    write_text(result.folder / "table.html", _study_page(result.folder, None))
    print(as_markdown(result.table))
    for failure in result.failures:
        print(f"error: {failure}", file=sys.stderr)
    print(result.folder)
    return WRONG if result.failures else FINE


def _declare_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="a YAML file")
    parser.add_argument("--trials", type=int, metavar="N", help="trials in all (default: 20)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time (default: 1)")
    space = "a YAML file: keys, each {low, high} or a list (default: the losses' weights, around those of the spec)"
    parser.add_argument("--space", metavar="FILE", help=space)
    parser.add_argument("--seeds", metavar="N,...", help="seeds of every trial (default: 1000)")
    parser.add_argument("--sampler", choices=("tpe", "random"), help="how trials are proposed (default: tpe)")
    parser.add_argument("--pruner", choices=("none", "median"), help="whether trials end early (default: none)")
    parser.add_argument("--storage", metavar="URL", help="a database that several machines share (default: a file)")
    parser.add_argument("-o", "--output", metavar="FILE", help="the tuned spec (default: SPEC.tuned.yaml beside SPEC)")
    parser.add_argument("--runs", default="runs", metavar="ROOT", help="the folder of all runs (default: runs)")
    declare_overrides(parser)


def _tune(arguments: Arguments) -> int:
    from tdspec.report.tune_page import tune_page
    from tdspec.run.run_dir import write_text
    from tdspec.study.outcomes import in_one_sentence
    from tdspec.study.tune import prepare, tune, tune_folder, write_tuned

    if arguments.jobs < 1:
        raise UsageError(f"found --jobs {arguments.jobs}, expected at least 1")
    given = {key: getattr(arguments, key) for key in ("trials", "sampler", "pruner", "storage")}
    options = {key: value for key, value in given.items() if value is not None}
    if arguments.seeds is not None:
        options["seeds"] = _numbers(arguments.seeds)
    spec = Path(arguments.spec)
    target = Path(arguments.output) if arguments.output else spec.with_name(f"{spec.stem}.tuned.yaml")
    if not target.parent.is_dir():
        raise UsageError(f"found no folder {target.parent} for --output", "make it first")
    if target.is_dir():
        raise UsageError(f"found the folder {target} for --output, expected a file", "name a file in it")
    tuning = prepare(arguments.spec, arguments.overrides, options, arguments.space)
    root = Path(arguments.runs)
    outcome = tune(tuning, root=root, jobs=arguments.jobs, stream=sys.stderr)
    folder = tune_folder(root, tuning.document)
    write_text(folder / "report.html", tune_page(folder))
    write_tuned(tuning, outcome, target, _call(arguments))
    print(in_one_sentence(outcome))
    print(target)
    return FINE


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"found --seeds {text}, expected whole numbers with commas between") from None


def _call(arguments: Arguments) -> str:
    """The words of the call that decide what comes out."""
    words = [arguments.spec]
    for name in ("trials", "space", "seeds", "sampler", "pruner"):
        value = getattr(arguments, name)
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join([*words, *(word for text in arguments.overrides for word in ("--set", text))])


def _declare_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN|STUDY", help="the folder of a run, or of a study")
    parser.add_argument("-o", "--output", metavar="FILE", help="the page to write (default: report.html in the folder)")
    parser.add_argument("--runs", default="runs", metavar="ROOT", help="where the teacher's run is (default: runs)")
    parser.add_argument("--no-similarity", action="store_true", help="do not compare teacher and student of a run")
    parser.add_argument("--similarity", action="store_true", help="compare them in every run of a study (seconds each)")
    parser.add_argument(
        "--against", metavar="ROW", help="print a row of a study beside each other, and add it to the page"
    )


def _report(arguments: Arguments) -> int:
    from tdspec.report.page import run_page
    from tdspec.report.tune_page import is_tuning, tune_page
    from tdspec.run.run_dir import open_run, write_text
    from tdspec.study.results import is_study

    folder = Path(arguments.folder)
    if arguments.against is not None and not is_study(folder):
        raise UsageError(f"{folder} is no study's folder, and --against names a row of a study")
    if is_study(folder):
        if arguments.similarity:
            _compare_all(folder, Path(arguments.runs))
        page = _study_page(folder, arguments.against)
    elif is_tuning(folder):
        page = tune_page(folder)
    else:
        run = open_run(folder)
        page = run_page(run, "" if arguments.no_similarity else _compare(run, Path(arguments.runs)))
    target = Path(arguments.output) if arguments.output else folder / "report.html"
    write_text(target, page)
    print(target)
    return FINE


def _study_page(folder: Path, against: str | None) -> str:
    """The page of a study as far as it is complete; a row that is named is printed beside the others, and shown."""
    from tdspec.report.study_page import study_page
    from tdspec.study.beside import beside
    from tdspec.study.results import read_results
    from tdspec.study.table import tabulate
    from tdspec.study.table_text import beside_as_markdown

    results = read_results(folder)
    table = tabulate(results)
    found = None if against is None else beside(table, against)
    if found is not None:
        print(beside_as_markdown(found))
    return study_page(folder, results, table, found)


def _compare(run: RunFolder, root: Path) -> str:
    """Measure how alike teacher and student are, once; why that was not possible, or ""."""
    from tdspec.report.similarity_file import is_measured, key_of
    from tdspec.run.run_dir import read_record
    from tdspec.run.teachers import COMPLETE

    record = read_record(run)
    if record["status"] != COMPLETE or record["teacher_sha256"] is None or is_measured(run, key_of(record)):
        return ""
    reason = _measure(run, root)
    if reason:
        print(f"warning: teacher and student are not compared: {reason}", file=sys.stderr)
    return reason


def _compare_all(folder: Path, root: Path) -> None:
    """Measure how alike teacher and student are in every complete run of a study, each once."""
    from tdspec.report.study_similarity import unmeasured
    from tdspec.study.results import read_results

    runs = unmeasured(folder, read_results(folder))
    for number, run in enumerate(runs, 1):
        reason = _measure(run, root)
        outcome = f"not compared: {reason}" if reason else "teacher and student are compared"
        print(f"{number} of {len(runs)}: {run.path.name}: {outcome}", file=sys.stderr, flush=True)


def _measure(run: RunFolder, root: Path) -> str:
    """Measure a run and keep what was found; why that was not possible, or ""."""
    from tdspec.report.similarity_file import key_of, write_similarity
    from tdspec.run.run_dir import read_record

    if not run.student.is_file():
        return f"{run.student.name} is missing"
    from tdspec.starting import start_tensorflow

    start_tensorflow()
    from tdspec.report.similarity import measure

    try:
        write_similarity(run, measure(run, root), key_of(read_record(run)))
    except TdspecError as error:
        return error.message
    return ""


STUDY_COMMANDS: dict[str, Command] = {
    "study": Command(
        "train a matrix of runs, and compare them in a table with errors",
        "tdspec study specs/studies/digits_methods.yaml --jobs 2\n"
        "tdspec study specs/studies/digits_methods.yaml --resume",
        _declare_study,
        _study,
    ),
    "tune": Command(
        "search a spec's weights, or any of its keys, on the validation split, and write the tuned spec",
        "tdspec tune specs/digits.yaml --trials 20 --jobs 2\n"
        "tdspec tune specs/digits.yaml --space space.yaml -o specs/digits_tuned.yaml",
        _declare_tune,
        _tune,
    ),
    "report": Command(
        "write one self-contained HTML page about a run or a study",
        "tdspec report runs/digits/20260101-120000-0\n"
        "tdspec report runs/studies/digits_methods -o methods.html --against talking",
        _declare_report,
        _report,
    ),
}
