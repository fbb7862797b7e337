"""Samples of histories that never were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pytest_vswitch.results.sample import Environment, Sample

NIGHT_S = 86_400.0
FIRST_S = 1_700_000_000.0

OLD = Environment(
    {"CPU model": "Xeon <b>&amp;", "kernel": "6.1.0"},
    {"host dpdk": "DPDK 22.11.5", "qemu": "QEMU 7.2.11"},
    {"NIC": "net_memif (shared memory)"},
)
NEW = replace(OLD, software={"host dpdk": "DPDK 24.11.1", "qemu": "QEMU 7.2.11"})

SAMPLE = Sample(
    run="20231114-221320-1",
    lab="lab1",
    at_s=FIRST_S,
    order=0,
    suite="pvp",
    case="pvp:frame_bytes=64",
    metric="NDR",
    unit="frames/s",
    better="more",
    value=1e6,
    low=1e6,
    high=1.005e6,
    lossy_hop="vhost0 -> virtio0",
    versions={"dpdk": "22.11"},
    environment=OLD,
)


def night(
    number: int, *, lab: str = "lab1", cases: int = 3, environment: Environment = OLD
) -> list[Sample]:
    """One run: of each case, an NDR and a latency."""
    made: list[Sample] = []
    for order in range(cases):
        common = replace(
            SAMPLE,
            run=f"night-{number:04}",
            lab=lab,
            at_s=FIRST_S + number * NIGHT_S,
            order=order,
            case=f"pvp:frame_bytes={64 * (order + 1)}",
            environment=environment,
        )
        rate = 1e6 + 1000.0 * number + order
        made.append(replace(common, value=rate, low=rate, high=None, censored=order == 2))
        made.append(
            replace(
                common,
                metric="latency p99 at NDR",
                unit="s",
                better="less",
                value=1e-5 + 1e-9 * number,
                low=None,
                high=None,
                lossy_hop="",
            )
        )
    return made


def nights(count: int) -> Iterator[Sample]:
    for number in range(count):
        yield from night(number)


def in_order(samples: list[Sample]) -> list[Sample]:
    """As a history gives them; where the order says nothing, by metric."""
    return sorted(samples, key=lambda s: (s.at_s, s.run, s.lab, s.order, s.metric))
