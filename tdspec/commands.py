"""The work of the commands that need TensorFlow: one function a command, which calls the stages and prints.

In: parsed arguments. Out: text or JSON on stdout, messages on stderr, exit codes.
Leaves out: what the calls look like (`heavy_commands.py`).
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from tdspec.command import FINE, WRONG, Arguments
from tdspec.errors import RunError, UsageError
from tdspec.starting import start_tensorflow

start_tensorflow()

from tdspec import fetching, pipeline  # noqa: E402
from tdspec.doctor import lines_about_machine, lines_about_spec  # noqa: E402
from tdspec.graph import summary  # noqa: E402
from tdspec.graph.differences import describe as describe_plans  # noqa: E402
from tdspec.graph.differences import describe_specs  # noqa: E402
from tdspec.graph.invariants import check_invariants, reason_not_to_try  # noqa: E402
from tdspec.graph.plan import plan_of  # noqa: E402
from tdspec.run import build_dir, run_dir  # noqa: E402
from tdspec.run.cluster import is_clustered, read_cluster  # noqa: E402
from tdspec.run.outcome import Interrupted  # noqa: E402
from tdspec.run.prepare import compile_without_weights, describe  # noqa: E402
from tdspec.run.strategy import make_strategy  # noqa: E402
from tdspec.run.team import Team, team_of  # noqa: E402
from tdspec.spec.bundle import SPEC  # noqa: E402
from tdspec.spec.load import Document, load  # noqa: E402


def _loaded(spec: str | Path, overrides: list[str]) -> Document:
    document = load(spec, overrides)
    for warning in document.warnings:
        print(warning, file=sys.stderr)
    return document


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def layers(arguments: Arguments) -> int:
    """`tdspec layers`."""
    document = _loaded(arguments.spec, arguments.overrides)
    sides = pipeline.cut_points(document, arguments.side)
    if arguments.format == "json":
        _print_json(sides)
        return FINE
    for side, (kind, rows) in sides.items():
        print(f"{side}: {kind}")
        print("\n".join(summary.cut_table(rows)))
    return FINE


def compile_spec(arguments: Arguments) -> int:
    """`tdspec compile`."""
    document = _loaded(arguments.spec, arguments.overrides)
    folder = Path(arguments.output) if arguments.output else build_dir.BUILD_ROOT / document.spec.name
    compiled = compile_without_weights(document)
    if arguments.check:
        differences = build_dir.check_build(compiled, folder)
        for line in differences:
            print(line)
        state = "is stale" if differences else "is up to date"
        print(f"{folder / build_dir.PLAN} {state}", file=sys.stderr)
        return WRONG if differences else FINE
    untried = reason_not_to_try(compiled)
    if untried:
        print(f"note: not tried on random weights, since {untried}", file=sys.stderr)
    else:
        check_invariants(document, describe)
    plan = build_dir.write_build(compiled, folder)
    if arguments.format == "json":
        _print_json(plan)
    else:
        print("\n".join(summary.plan_lines(plan)))
        print(f"wrote {folder}/ ({SPEC}, {build_dir.PLAN}, {build_dir.PICTURE})")
    return FINE


def fetch(arguments: Arguments) -> int:
    """`tdspec fetch`."""
    for line in fetching.fetch_all(_loaded(arguments.spec, arguments.overrides)):
        print(line, flush=True)
    return FINE


def cache(arguments: Arguments) -> int:
    """`tdspec cache`."""
    files = pipeline.cache_states(_loaded(arguments.spec, arguments.overrides), Path(arguments.runs))
    rows = f"{files.spec.num_rows:,} x {', '.join(files.arrays)} in {files.spec.dtype}"
    print(f"{rows}: {files.spec.num_bytes:,} bytes")
    print(files.folder)
    return FINE


def diff(arguments: Arguments) -> int:
    """`tdspec diff`."""
    before, after = (_comparable(Path(path)) for path in (arguments.before, arguments.after))
    if isinstance(before, Document) and isinstance(after, Document):
        lines = describe_specs(before.values, after.values)
    else:
        lines = describe_plans(_as_plan(before), _as_plan(after))
    if arguments.format == "json":
        _print_json(list(lines))
    else:
        print("\n".join(lines) or "no difference")
    return FINE


def _comparable(path: Path) -> Document | dict[str, Any]:
    """A spec, or a plan: that of a folder, or of a JSON file."""
    if path.is_dir():
        return build_dir.read_plan(path / build_dir.PLAN)
    return build_dir.read_plan(path) if path.suffix == ".json" else load(path)


def _as_plan(either: Document | dict[str, Any]) -> dict[str, Any]:
    if isinstance(either, Document):
        return plan_of(compile_without_weights(either))
    return either


def train(arguments: Arguments) -> int:
    """`tdspec train`."""
    folder = Path(arguments.run_dir) if arguments.run_dir else None
    if arguments.resume and arguments.target is None and folder is not None:
        spec = run_dir.open_run(folder).spec
    else:
        spec = build_dir.spec_of(arguments.target)
    document = _loaded(spec, arguments.overrides)
    if arguments.trial + arguments.bare + arguments.control > 1:
        raise UsageError("found several of --trial, --bare and --control, expected one of them")
    # Before anything else: TensorFlow fixes its devices, and with whom it talks, at the first operation.
    team = _connected(document)
    if not arguments.resume:
        compiled = compile_without_weights(document)
        if team.is_chief and arguments.target is not None and Path(arguments.target).is_file():
            build_dir.write_build(compiled, build_dir.BUILD_ROOT / document.spec.name)
    control = load(spec, [*arguments.overrides, "method=scratch"]) if arguments.control else None
    root = Path(arguments.runs)
    try:
        with team.lost_is_an_error():
            if arguments.trial:
                run = pipeline.try_out(document, root, folder=folder, resume=arguments.resume)
            elif arguments.bare:
                run = pipeline.train_bare(document, root, folder=folder, resume=arguments.resume)
            else:
                run = pipeline.train(document, root, folder=folder, resume=arguments.resume, control=control)
    except Interrupted as stop:
        if team.is_chief:
            print(_to_go_on(stop.run, document, arguments, team), file=sys.stderr)
        raise
    if team.is_chief:
        print("\n".join(pipeline.result_lines(run)))
        print(run.path)
    return FINE


def _connected(document: Document) -> Team:
    """The workers that train a spec, which comes back when all are there.

    Raises:
        RunError: TF_CONFIG and the spec do not agree on whether there are several.
    """
    chosen = document.spec.train
    if chosen.strategy != "multi_worker" and is_clustered(os.environ):
        message = f"--workers or TF_CONFIG asks for several workers, but train.strategy is {chosen.strategy}"
        raise RunError(message, "add --set train.strategy=multi_worker, or leave out --workers and unset TF_CONFIG")
    if chosen.strategy == "multi_worker":
        cluster = read_cluster(os.environ)
        words = f"worker {cluster.index} of {len(cluster.addresses)}: waiting for the others"
        print(words, file=sys.stderr, flush=True)
    return team_of(make_strategy(chosen.strategy, chosen.replicas))


def _to_go_on(run: run_dir.RunFolder, document: Document, arguments: Arguments, team: Team) -> str:
    """The call that resumes a run that was stopped; its folder holds the spec, so neither SPEC nor --set is needed."""
    resume = ["tdspec", "train", "--resume", "--run-dir", str(run.path)]
    if arguments.runs != "runs":
        resume += ["--runs", arguments.runs]
    if team.size > 1:
        return f"to go on: on all {team.size} workers {shlex.join(resume)}"
    if run_dir.read_record(run)["name"] != document.spec.name:
        return f"to go on: {shlex.join(resume)}, then the same call again"
    resume += [word for word in ("--control", "--trial", "--bare") if getattr(arguments, word.removeprefix("--"))]
    return f"to go on: {shlex.join(resume)}"


def evaluate(arguments: Arguments) -> int:
    """`tdspec evaluate`."""
    _print_json(pipeline.evaluate(run_dir.open_run(Path(arguments.run_dir)), arguments.split))
    return FINE


def export(arguments: Arguments) -> int:
    """`tdspec export`."""
    run = run_dir.open_run(Path(arguments.run_dir))
    formats = tuple(arguments.formats.split(",")) if arguments.formats else None
    unknown = sorted(set(formats or ()) - set(pipeline.EXPORT_FORMATS))
    if unknown:
        raise UsageError(f"unknown format '{unknown[0]}'", f"expected one of {', '.join(pipeline.EXPORT_FORMATS)}")
    output = Path(arguments.output) if arguments.output else run.path / "export"
    for artefact in pipeline.export(run, output, formats):
        print(pipeline.artefact_line(artefact))
    return FINE


def bench(arguments: Arguments) -> int:
    """`tdspec bench`."""
    # Here, since it draws: no other command starts slower for it.
    from tdspec import benching
    from tdspec.report.bench_record import lines_of, scaling_lines

    benching.check_call(arguments)
    document = _loaded(arguments.spec, arguments.overrides)
    root = Path(arguments.runs)
    folder = Path(arguments.output) if arguments.output else root / "bench" / document.spec.name
    if arguments.scale is not None:
        record = benching.computed(document, arguments, folder)
        lines, files = scaling_lines(record), [benching.SCALING]
    else:
        record = benching.measured(document, root=root, folder=folder, steps=arguments.steps)
        lines, files = lines_of(record), [benching.RECORD, benching.PICTURE]
    if arguments.format == "json":
        _print_json(record)
    else:
        print("\n".join([*lines, f"wrote {folder}/ ({', '.join(files)})"]))
    return FINE


def doctor(arguments: Arguments) -> int:
    """`tdspec doctor`."""
    for line in lines_about_machine():
        print(line)
    if arguments.spec is None:
        return FINE
    missing = list(lines_about_spec(_loaded(arguments.spec, []), Path(arguments.runs)))
    print("\n".join(missing) or f"{arguments.spec}: nothing is missing")
    return WRONG if missing else FINE
