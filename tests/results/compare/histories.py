"""Histories of runs that never were: seeded noise around rates that a test plants."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.history import RunSummary, Selection

NOISE = 0.01
"""Standard deviation of the planted rates, as part of them."""

MACHINE = {"CPU model": "Xeon 6338N", "kernel": "6.1.0-18-amd64", "memory": "8 GiB"}
SETUP = {
    "NIC": "net_memif (shared memory)",
    "accelerator": "tcg",
    "traffic generator": "pytest-vswitch memif 0.1.0 on CPU 1",
}
CASES = ("pvp:frame_bytes=64", "pvp:frame_bytes=1518", "memif:frame_bytes=64")
NIGHT_S = 86_400.0
BEGAN_S = 1_790_000_000.0


def environment(dpdk: str = "DPDK 22.11.7", **machine: str) -> Environment:
    return Environment({**MACHINE, **machine}, {"host dpdk": dpdk, "qemu": "QEMU 7.2.11"}, SETUP)


@dataclass
class Histories:
    """Keeps samples in a list: what a store does, without one."""

    all: list[Sample] = field(default_factory=list)
    asked: list[Selection] = field(default_factory=list)
    """Every selection that was read."""

    def runs(self, lab: str | None = None) -> list[RunSummary]:
        found: dict[str, list[Sample]] = {}
        for sample in self.all:
            if lab in (None, sample.lab):
                found.setdefault(sample.run, []).append(sample)
        runs = [_summary(samples) for samples in found.values()]
        return sorted(runs, key=lambda run: (run.at_s, run.run))

    def samples(self, selection: Selection) -> Iterator[Sample]:
        self.asked.append(selection)
        chosen = (
            sample
            for sample in self.all
            if (not selection.labs or sample.lab in selection.labs)
            and (not selection.runs or sample.run in selection.runs)
            and (not selection.cases or sample.case in selection.cases)
            and (not selection.metrics or sample.metric in selection.metrics)
            and (selection.simulated in (None, sample.simulated))
            and (selection.since_s is None or sample.at_s >= selection.since_s)
            and (selection.until_s is None or sample.at_s < selection.until_s)
        )
        return iter(sorted(chosen, key=lambda s: (s.at_s, s.run, s.order)))


def nights(
    *,
    rates: Mapping[str, float],
    count: int = 5,
    first: int = 1,
    where: Environment | None = None,
    seed: int = 1,
    **fields: object,
) -> list[Sample]:
    """One run a night, `first` the number of the first; the rate of each case, with noise."""
    draw = random.Random(seed)
    where = where or environment()
    return [
        replace(
            Sample(
                run=f"night-{night:03}",
                lab="bench",
                at_s=BEGAN_S + night * NIGHT_S,
                order=order,
                suite=case.partition(":")[0],
                case=case,
                metric="NDR",
                unit="frames/s",
                better="more",
                value=rate * draw.gauss(1, NOISE),
                lossy_hop="guest testpmd: virtio0 -> virtio1",
                environment=where,
            ),
            **fields,  # type: ignore[arg-type]
        )
        for night in range(first, first + count)
        for order, (case, rate) in enumerate(rates.items())
    ]


def steady(rate: float = 1e6, cases: Sequence[str] = CASES) -> dict[str, float]:
    return dict.fromkeys(cases, rate)


def _summary(samples: Sequence[Sample]) -> RunSummary:
    software: dict[str, dict[str, None]] = {}
    for sample in samples:
        for role, version in sample.environment.software.items():
            software.setdefault(role, {})[version] = None
    return RunSummary(
        run=samples[0].run,
        lab=samples[0].lab,
        at_s=samples[0].at_s,
        software={role: " / ".join(versions) for role, versions in software.items()},
        simulated=any(sample.simulated for sample in samples),
        samples=len(samples),
    )
