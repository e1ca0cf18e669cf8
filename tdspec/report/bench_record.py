"""A benchmark, or a computed scaling, as plain data for `bench.json` and as lines for people.

In: a `Measurement`; a plan and `Scaled`s. Out: JSON-ready data, lines of text.
Leaves out: measuring (`run/bench.py`), the formula (`scaling.py`), the picture (`bench_picture.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tdspec.graph.plan import versions
from tdspec.report.scaling import FORMULA, Hardware, Scaled, Work
from tdspec.run.bench import NOT_IN_GRAPH, STEP, Measurement, Share, median
from tdspec.run.compiling import AUTO
from tdspec.spec.quantities import quantity

FORMAT = 1
FLOAT32_BYTES = 4
LABELS = {
    "student_forward": "student forward",
    "student_backward": "student backward",
    "teacher": "teacher on the data",
    "interaction": "interaction",
    "codecs": "codecs",
    "optimizer": "optimizer, running means",
    "input": "input wait",
    "rest": "rest",
}
# Under which key the plan's cost has a part, and how much of that: a backward pass costs twice a forward one.
COSTS = {
    "student_forward": ("student", 1 / 3),
    "student_backward": ("student", 2 / 3),
    "teacher": ("teacher", 1.0),
    "interaction": ("interaction", 1.0),
    "codecs": ("codecs", 1.0),
}


def record_of(measured: Measurement) -> dict[str, Any]:
    """A benchmark as data.

    Returns:
        "name", "method", "spec_sha256", "versions"; "machine"; "device_batch_size", "precision", "jit", "xla";
        "weights": {"random": {model: why}}; "data": {"random": bool, "why": text};
        "examples_per_second"; "step_seconds" with the input, "step_seconds_without_input";
        "parts": [{"name", "seconds", "share" of step_seconds, "how", "flops" a step, null where the plan counts none}];
        the sum of their seconds less "overlap_seconds" is "step_seconds"; "clipped": {part: its difference below 0,
        taken for 0}; "first_step_seconds"; "peak_memory_bytes"; "flops": {"per_example", "per_step", "per_second"};
        "matrix_product_flops_per_second": {dtype: the highest}; "share_of_product", of that in the precision's dtype;
        "timed": {computation: {"steps" a round, "seconds" a step round by round}}.
    """
    plan, whole = measured.plan, measured.whole
    flops = int(plan["cost"]["total"])
    return {
        "format": FORMAT,
        "name": plan["name"],
        "method": plan["method"],
        "spec_sha256": plan["spec_sha256"],
        "versions": versions(),
        "machine": {"cores": os.cpu_count(), "replicas": 1},
        "device_batch_size": measured.batch_size,
        "precision": measured.precision,
        "jit": measured.jit,
        "xla": measured.xla,
        "weights": {"random": dict(measured.fresh_weights)},
        "data": {"random": bool(measured.why_random), "why": measured.why_random},
        "examples_per_second": measured.batch_size / whole,
        "step_seconds": whole,
        "step_seconds_without_input": median(measured.timed, STEP),
        "parts": [_part(share, measured) for share in measured.shares],
        "overlap_seconds": measured.overlap,
        "clipped": {
            share.name: share.difference
            for share in measured.shares
            if share.difference is not None and share.difference < 0
        },
        "first_step_seconds": measured.first_step_seconds,
        "peak_memory_bytes": measured.peak_memory_bytes,
        "flops": {
            "per_example": flops,
            "per_step": flops * measured.batch_size,
            "per_second": measured.flops_per_second,
        },
        "matrix_product_flops_per_second": dict(measured.products),
        "share_of_product": measured.flops_per_second / measured.products[product_dtype(measured.precision)],
        "timed": {name: asdict(timed) for name, timed in measured.timed.items()},
    }


def product_dtype(precision: str) -> str:
    """In which dtype a precision computes products."""
    return "bfloat16" if precision == "mixed_bfloat16" else "float32"


def _part(share: Share, measured: Measurement) -> dict[str, Any]:
    portion = None if share.seconds is None else share.seconds / measured.whole
    key, fraction = COSTS.get(share.name, (None, 0.0))
    flops = None if key is None else round(measured.plan["cost"][key] * fraction) * measured.batch_size
    return {"name": share.name, "seconds": share.seconds, "share": portion, "how": share.how, "flops": flops}


def lines_of(record: Mapping[str, Any]) -> list[str]:
    """A benchmark for people; `record` is what `record_of` gives."""
    xla, cores = "XLA" if record["xla"] else "no XLA", record["machine"]["cores"]
    lines = [
        f"{record['name']} ({record['method']}): {record['examples_per_second']:,.1f} examples/s,"
        f" {in_time(record['step_seconds'])} a step of {record['device_batch_size']}"
        f" ({record['precision']}, {xla}, one device, {cores} cores)"
    ]
    lines += notes_of(record)
    lines += ["", f"{'where the time goes'.ljust(26)}{'a step':>12}{'share':>9}{'of FLOPs':>10}"]
    lines += [_part_line(part, record["flops"]["per_step"]) for part in record["parts"]]
    lines += [f"note: {text}" for text in _about_differences(record)]
    product, step = product_dtype(record["precision"]), record["timed"][STEP]
    rates = record["matrix_product_flops_per_second"]
    peaks = ", ".join(f"{name} {quantity(rate, 'FLOP')}/s" for name, rate in rates.items())
    return [
        *lines,
        "",
        f"FLOPs of the plan  {quantity(record['flops']['per_step'], 'FLOP')} a step,"
        f" {quantity(record['flops']['per_example'], 'FLOP')} an example",
        f"achieved           {quantity(record['flops']['per_second'], 'FLOP')}/s without the input:"
        f" {record['share_of_product']:.1%} of this machine's {product} matrix product",
        f"matrix product     {peaks} (measured in this process)",
        f"rounds             {len(step['seconds'])}, medians of; the step without input took"
        f" {in_time(min(step['seconds']))} to {in_time(max(step['seconds']))}, {step['steps']} a round",
        f"peak memory        {quantity(record['peak_memory_bytes'], 'B')} of the process, compiling included",
        f"first step         {record['first_step_seconds']:.1f} s, compiling included",
    ]


def notes_of(record: Mapping[str, Any]) -> list[str]:
    """What the figures were measured on, where it is not what training would have."""
    random = record["weights"]["random"]
    notes = [f"note: the {name} has random weights: {why}" for name, why in random.items()]
    if record["data"]["random"]:
        why = record["data"]["why"]
        notes.append(f"note: random batches of the right shapes, and no input wait: {why}")
    if record["xla"] and record["jit"] == AUTO:
        notes.append(
            "note: with XLA, as in a long run; with jit: auto a run that is over before compiling pays has none"
        )
    return notes


def _part_line(part: Mapping[str, Any], flops: int) -> str:
    name = LABELS[part["name"]].ljust(26)
    portion = "" if part["flops"] is None else f"{part['flops'] / flops:.1%}"
    if part["seconds"] is None or part["how"] == NOT_IN_GRAPH:
        return f"{name}{'-':>12}{'-':>9}{portion:>10}  {part['how']}"
    return f"{name}{in_time(part['seconds']):>12}{part['share']:>9.1%}{portion:>10}  {part['how']}"


def _about_differences(record: Mapping[str, Any]) -> list[str]:
    said = [
        f"{LABELS[name]} came out at {in_time(-difference)} below 0, shown as 0"
        for name, difference in record["clipped"].items()
        if name != "rest"
    ]
    if record["overlap_seconds"] > 0:
        said.append(f"run alone, the parts take {in_time(record['overlap_seconds'])} more than the step as a whole")
    return said


def scaling_record(plan: Mapping[str, Any], work: Work, hardware: Hardware, rows: Sequence[Scaled]) -> dict[str, Any]:
    """A computed scaling as data.

    Returns:
        "name", "computed_not_measured": true, "formula", "hardware", "work": {"flops", "gradient_bytes", "batch_size"}
        of a device; "devices": [{"devices", "compute_seconds", "all_reduce_seconds", "step_seconds", "efficiency",
        "examples_per_second"}].
    """
    return {
        "format": FORMAT,
        "name": plan["name"],
        "computed_not_measured": True,
        "formula": FORMULA,
        "hardware": asdict(hardware),
        "work": asdict(work),
        "devices": [{**asdict(row), "step_seconds": row.step_seconds, "efficiency": row.efficiency} for row in rows],
    }


def work_of(plan: Mapping[str, Any], batch_size: int) -> Work:
    """What each device does: the plan's FLOPs on its batch, and float32 gradients of what is trained."""
    gradient_bytes = FLOAT32_BYTES * int(plan["totals"]["parameters"]["trained"])
    return Work(int(plan["cost"]["total"]) * batch_size, gradient_bytes, batch_size)


def scaling_lines(record: Mapping[str, Any]) -> list[str]:
    """A computed scaling for people; `record` is what `scaling_record` gives."""
    work, hardware = record["work"], record["hardware"]
    lines = [
        f"{record['name']}: computed, not measured",
        f"  {record['formula']}",
        f"  a device: batch {work['batch_size']}, {quantity(work['flops'], 'FLOP')} a step;"
        f" {quantity(hardware['device_flops'], 'FLOP')}/s x {hardware['device_efficiency']:g}",
        f"  the link: {quantity(work['gradient_bytes'], 'B')} of gradients;"
        f" {quantity(hardware['link_bandwidth'], 'B')}/s, {hardware['link_latency'] * 1e6:g} us;"
        " nothing overlaps",
        "",
        f"{'devices':>8}{'compute':>12}{'all-reduce':>12}{'step':>12}{'efficiency':>12}{'examples/s':>16}",
    ]
    return lines + [
        f"{row['devices']:>8,}{in_time(row['compute_seconds']):>12}{in_time(row['all_reduce_seconds']):>12}"
        f"{in_time(row['step_seconds']):>12}{row['efficiency']:>12.1%}{row['examples_per_second']:>16,.0f}"
        for row in record["devices"]
    ]


def in_time(seconds: float) -> str:
    """Seconds for people."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"
