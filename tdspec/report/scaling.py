"""A model of the step's time on many devices: computed, never measured.

In: what a step computes and sends, and what a device and a link can do. Out: a `Scaled` for each number of devices.
The batch of a device stays the same. Every device computes its own step, then a ring all-reduce adds the gradients up:

    step       = compute + all_reduce
    compute    = FLOPs of a device's batch / (device's FLOP/s x efficiency)
    all_reduce = 2 (N - 1) / N x bytes of the gradients / bandwidth + 2 (N - 1) x latency

Leaves out: overlapping the two (which real systems do: this is the slower bound), the input pipeline, stragglers, the
sums of BatchNormalization and metrics, links that differ within and between machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FORMULA = (
    "step = FLOPs / (device FLOP/s x efficiency)"
    " + 2 (N - 1) / N x gradient bytes / link bandwidth + 2 (N - 1) x link latency"
)


@dataclass(frozen=True)
class Hardware:
    """What a device and its link can do.

    Attributes:
        device_flops: FLOP/s of a device.
        device_efficiency: the share of it that a step reaches, above 0, at most 1.
        link_bandwidth: bytes/s that a device sends.
        link_latency: seconds of one message.
    """

    device_flops: float
    device_efficiency: float
    link_bandwidth: float
    link_latency: float


@dataclass(frozen=True)
class Work:
    """What a device does in a step.

    Attributes:
        flops: of its batch.
        gradient_bytes: of all trained variables.
        batch_size: its examples.
    """

    flops: float
    gradient_bytes: float
    batch_size: int


@dataclass(frozen=True)
class Scaled:
    """The step on a number of devices.

    Attributes:
        devices: how many.
        compute_seconds, all_reduce_seconds: of a step.
        examples_per_second: of all devices together.
    """

    devices: int
    compute_seconds: float
    all_reduce_seconds: float
    examples_per_second: float

    @property
    def step_seconds(self) -> float:
        return self.compute_seconds + self.all_reduce_seconds

    @property
    def efficiency(self) -> float:
        """Throughput over that of as many devices which need not talk."""
        return self.compute_seconds / self.step_seconds


def scaled(work: Work, hardware: Hardware, numbers: Sequence[int]) -> tuple[Scaled, ...]:
    """The step's time for each number of devices, by the formula above.

    Args:
        work: of one device.
        hardware: of each device.
        numbers: of devices, at least 1.
    """
    return tuple(_scaled(work, hardware, devices) for devices in numbers)


def _scaled(work: Work, hardware: Hardware, devices: int) -> Scaled:
    compute = work.flops / (hardware.device_flops * hardware.device_efficiency)
    sent = 2 * (devices - 1) / devices * work.gradient_bytes
    all_reduce = sent / hardware.link_bandwidth + 2 * (devices - 1) * hardware.link_latency
    return Scaled(devices, compute, all_reduce, devices * work.batch_size / (compute + all_reduce))
