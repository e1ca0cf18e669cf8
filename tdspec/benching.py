"""The jobs of `tdspec bench`: measure a spec's step, or compute its time on many devices, and keep the figures.

In: documents, words of the call. Out: files in a folder, records for printing.
Leaves out: the call's declaration (`heavy_commands.py`), measuring (`run/bench.py`), the formula (`report/scaling.py`).
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from tdspec.command import Arguments
from tdspec.errors import UsageError
from tdspec.graph.plan import plan_of
from tdspec.report.bench_picture import draw
from tdspec.report.bench_record import record_of, scaling_record, work_of
from tdspec.report.scaling import Hardware, scaled
from tdspec.run.bench import measure
from tdspec.run.prepare import compile_without_weights
from tdspec.run.run_dir import write_json, write_text
from tdspec.spec.load import Document

RECORD, PICTURE, SCALING = "bench.json", "bench.svg", "scaling.json"
# An A100's bfloat16 peak, of which training commonly reaches 40 %; a link of 200 Gbit/s.
HARDWARE = {"device_flops": 312e12, "device_efficiency": 0.4, "link_bandwidth": 25e9, "link_latency": 5e-6}


def check_call(arguments: Arguments) -> None:
    """Refuse words of the call that make no sense, or no sense together.

    Raises:
        UsageError: at the first.
    """
    if arguments.steps is not None and arguments.steps < 1:
        raise UsageError(f"found --steps {arguments.steps}, expected at least 1")
    if arguments.output is not None and Path(arguments.output).is_file():
        raise UsageError(f"found the file {arguments.output} for --output, expected a folder")
    given = {key: getattr(arguments, key) for key in HARDWARE if getattr(arguments, key) is not None}
    if arguments.scale is None and given:
        raise UsageError(f"found {_option(next(iter(given)))} without --scale", "add --scale 8,64,1024")
    if arguments.scale is not None and arguments.steps is not None:
        raise UsageError("found --steps and --scale, expected one of them: with --scale nothing is measured")
    for key, value in given.items():
        if not (math.isfinite(value) and (value > 0 or (key == "link_latency" and value == 0))):
            raise UsageError(f"found {_option(key)} {value:g}, expected a number above 0")
    if given.get("device_efficiency", 1.0) > 1:
        raise UsageError(f"found --device-efficiency {given['device_efficiency']:g}, expected at most 1")


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def device_numbers(text: str) -> list[int]:
    """The numbers of devices in a text such as "8,64,1024".

    Raises:
        UsageError: it is none.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"found --scale {text}, expected numbers of devices with commas between, such as 8,64,1024")
    return [int(word) for word in words]


def measured(document: Document, *, root: Path, folder: Path, steps: int | None) -> dict[str, Any]:
    """Measure a spec's step; write the record and the picture.

    Args:
        document: the spec.
        root: the folder of all runs.
        folder: for the files.
        steps: timed in a round; None: as many as are worth it.
    """
    record = record_of(measure(document, root=root, steps=steps, stream=sys.stderr))
    write_json(folder / RECORD, record)
    write_text(folder / PICTURE, draw(record))
    return record


def computed(document: Document, arguments: Arguments, folder: Path) -> dict[str, Any]:
    """Compute the step's time on many devices from the plan; write the record.

    Raises:
        UsageError: the numbers of devices are none.
    """
    numbers = device_numbers(arguments.scale)
    words = {
        key: default if getattr(arguments, key) is None else getattr(arguments, key)
        for key, default in HARDWARE.items()
    }
    hardware = Hardware(**words)
    plan = plan_of(compile_without_weights(document))
    work = work_of(plan, document.spec.data.batch_size)
    record = scaling_record(plan, work, hardware, scaled(work, hardware, numbers))
    write_json(folder / SCALING, record)
    return record
