"""Declarations of the commands that build graphs, read data or train; their work is in `commands.py`.

In: nothing. Out: `HEAVY_COMMANDS`.
Leaves out: heavy imports, so that `tdspec --help` and `tdspec validate` stay quick.
"""

from __future__ import annotations

import argparse

from tdspec.command import Arguments, Command, declare_overrides, later


def _text_or_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text", help="(default: text)")


def _layers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="a YAML file")
    parser.add_argument(
        "--side", metavar="SIDE", help="student, teacher, or the name of one of several teachers (default: all)"
    )
    _text_or_json(parser)
    declare_overrides(parser)


def _compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="a YAML file")
    parser.add_argument("-o", "--output", metavar="DIR", help="the build folder (default: build/<name>)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the plan in DIR is stale")
    _text_or_json(parser)
    declare_overrides(parser)


def _fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="a YAML file")
    declare_overrides(parser)


def _cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="a YAML file")
    _runs(parser)
    declare_overrides(parser)


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help="a spec, a plan.json, or a build or run folder")
    parser.add_argument("after", metavar="B", help="another")
    _text_or_json(parser)


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", metavar="ROOT", default="runs", help="the folder of all runs (default: runs)")


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", metavar="BUILD|SPEC", help="(default: what was compiled last)")
    parser.add_argument("--run-dir", metavar="DIR", help="the run folder (default: ROOT/<name>/<time>-<seed>)")
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished run")
    parser.add_argument("--control", action="store_true", help="then train the same student without a teacher")
    parser.add_argument("--trial", action="store_true", help="measure on validation only, read no test, export nothing")
    parser.add_argument(
        "--bare", action="store_true", help="no exports, no page, no TensorBoard: student.keras, record and checkpoints"
    )
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="try train.strategy multi_worker with N processes on this machine",
    )
    _runs(parser)
    declare_overrides(parser)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number from 1")
    return int(text)


def _train_here(arguments: Arguments) -> int:
    """Train in this process, or start those that do."""
    if arguments.workers is None:
        return later("train")(arguments)
    from tdspec.run.local_workers import train_locally

    return train_locally(_words(arguments), arguments.workers)


def _words(arguments: Arguments) -> list[str]:
    """The words that each worker is called with."""
    words = [] if arguments.target is None else [arguments.target]
    words += [] if arguments.run_dir is None else ["--run-dir", arguments.run_dir]
    words += [f"--{word}" for word in ("resume", "control", "trial", "bare") if getattr(arguments, word)]
    return [*words, "--runs", arguments.runs, *(word for change in arguments.overrides for word in ("--set", change))]


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", help="a run folder")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test", help="(default: test)")


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", help="a run folder")
    parser.add_argument("-o", "--output", metavar="DIR", help="where to (default: RUN/export)")
    parser.add_argument("--formats", metavar="F,...", help="saved_model, litert, onnx (default: those of the spec)")


# What `benching.py` takes for each that is not given stands there; the text is for people.
_HARDWARE = {
    "--device-flops": ("FLOPS", "FLOP/s of a device (default: 312e12, an A100 in bfloat16)"),
    "--device-efficiency": ("SHARE", "of it that a step reaches (default: 0.4)"),
    "--link-bandwidth": ("BYTES", "bytes/s that a device sends (default: 25e9)"),
    "--link-latency": ("SECONDS", "seconds of a message (default: 5e-6)"),
}


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="a YAML file")
    parser.add_argument("--steps", type=int, metavar="N", help="steps to time in a round (default: what takes 0.25 s)")
    parser.add_argument("-o", "--output", metavar="DIR", help="the folder of the files (default: ROOT/bench/<name>)")
    parser.add_argument(
        "--scale", metavar="N,...", help="measure nothing: compute the step's time on N devices from the plan"
    )
    for option, (metavar, text) in _HARDWARE.items():
        parser.add_argument(option, type=float, metavar=metavar, help=f"with --scale: {text}")
    _text_or_json(parser)
    _runs(parser)
    declare_overrides(parser)


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", nargs="?", metavar="SPEC", help="also say what this spec still needs")
    _runs(parser)


HEAVY_COMMANDS: dict[str, Command] = {
    "layers": Command(
        "list where the backbones of a spec can be cut",
        "tdspec layers digits.yaml --side student",
        _layers,
        later("layers"),
    ),
    "compile": Command(
        "build and verify the graph, without weights or data, and write its plan and picture",
        "tdspec compile digits.yaml\ntdspec compile digits.yaml -o plans/digits --check",
        _compile,
        later("compile_spec"),
    ),
    "fetch": Command(
        "download the presets and data that a spec needs", "tdspec fetch vit_imagenet.yaml", _fetch, later("fetch")
    ),
    "cache": Command(
        "compute the teacher's states on the training examples once, for `train` to use (data.teacher_cache)",
        "tdspec cache digits.yaml\ntdspec cache digits.yaml --set data.teacher_cache=true",
        _cache,
        later("cache"),
    ),
    "diff": Command(
        "say what differs between two specs or plans", "tdspec diff old.yaml new.yaml", _diff, later("diff")
    ),
    "train": Command(
        "train what was compiled, choose the best epoch, export the student",
        "tdspec train digits.yaml --control\ntdspec train --resume --run-dir runs/digits/20260101-120000-0\n"
        "tdspec train digits.yaml --set train.strategy=multi_worker --workers 2",
        _train,
        _train_here,
    ),
    "evaluate": Command(
        "measure the student of a run on a split, as JSON",
        "tdspec evaluate runs/digits/20260101-120000-0 --split test",
        _evaluate,
        later("evaluate"),
    ),
    "export": Command(
        "write the student of a run as SavedModel, LiteRT or ONNX, each checked against it",
        "tdspec export runs/digits/20260101-120000-0 --formats saved_model,litert",
        _export,
        later("export"),
    ),
    "bench": Command(
        "measure a spec's training step on this machine: where its time goes, its memory and rates",
        "tdspec bench digits.yaml\ntdspec bench digits.yaml --scale 8,64,1024",
        _bench,
        later("bench"),
    ),
    "doctor": Command(
        "say what is installed, which devices there are, and what a spec still needs",
        "tdspec doctor digits.yaml",
        _doctor,
        later("doctor"),
    ),
}
