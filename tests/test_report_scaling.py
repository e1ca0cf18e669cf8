"""The model of the step's time on many devices, against the formula worked out by hand."""

from __future__ import annotations

import pytest

from tdspec.report.scaling import FORMULA, Hardware, Work, scaled

HARDWARE = Hardware(device_flops=1e12, device_efficiency=0.5, link_bandwidth=1e9, link_latency=1e-3)
WORK = Work(flops=1e11, gradient_bytes=8e6, batch_size=10)


def test_one_device_talks_to_nobody() -> None:
    (alone,) = scaled(WORK, HARDWARE, [1])
    # 1e11 / (1e12 x 0.5)
    assert alone.compute_seconds == pytest.approx(0.2)
    assert alone.all_reduce_seconds == 0.0
    assert alone.efficiency == 1.0
    assert alone.examples_per_second == pytest.approx(50.0)


def test_four_devices() -> None:
    (four,) = scaled(WORK, HARDWARE, [4])
    # 2 x 3/4 x 8e6 / 1e9 = 0.012, and 2 x 3 x 1e-3 = 0.006
    assert four.all_reduce_seconds == pytest.approx(0.018)
    assert four.step_seconds == pytest.approx(0.218)
    assert four.efficiency == pytest.approx(0.2 / 0.218)
    assert four.examples_per_second == pytest.approx(4 * 10 / 0.218)


def test_without_latency_the_all_reduce_approaches_twice_the_bytes() -> None:
    quick = Hardware(1e12, 0.5, 1e9, 0.0)
    rows = scaled(WORK, quick, [2, 8, 64, 1024, 10**6])
    seconds = [row.all_reduce_seconds for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] == pytest.approx(0.008) and seconds[-1] == pytest.approx(0.016, rel=1e-5)
    assert {row.compute_seconds for row in rows} == {0.2}


def test_the_formula_names_what_it_depends_on() -> None:
    for word in ("FLOPs", "efficiency", "gradient bytes", "bandwidth", "latency", "(N - 1) / N"):
        assert word in FORMULA
