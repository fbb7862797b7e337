"""Samples of many nights, made up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pytest_vswitch.results.sample import Better, Environment, Sample
from pytest_vswitch.results.store.history import RunSummary, Selection

BEGAN_S = 1764554400.0  # 2025-12-01 02:00 UTC
DAY_S = 86400.0


def environment(dpdk: str = "24.11", kernel: str = "6.1.0") -> Environment:
    return Environment({"kernel": kernel}, {"host dpdk": dpdk})


def sample(
    night: float,
    value: float,
    *,
    case: str = "pvp:frame_bytes=64",
    metric: str = "NDR",
    unit: str = "frames/s",
    better: Better = "more",
    lab: str = "bench-7",
    run: str = "",
    on: Environment | None = None,
    versions: Mapping[str, str] | None = None,
    censored: bool = False,
    simulated: bool = False,
) -> Sample:
    return Sample(
        run=run or f"run-{night:g}",
        lab=lab,
        at_s=BEGAN_S + DAY_S * night,
        order=0,
        suite=case.split(":")[0],
        case=case,
        metric=metric,
        unit=unit,
        better=better,
        value=value,
        versions=versions or {},
        environment=on or environment(),
        censored=censored,
        simulated=simulated,
    )


def step(
    at: int = 30, size: float = -0.1, nights: int = 50, case: str = "pvp:frame_bytes=64"
) -> list[Sample]:
    """A case that changes, with a new DPDK, after nights that scatter by 1 %."""
    return [
        sample(
            night,
            1e6 * (1 + 0.01 * (night * 7 % 5 - 2) / 2) * (1 + size * (night >= at)),
            case=case,
            on=environment("25.03" if night >= at else "24.11"),
        )
        for night in range(nights)
    ]


class Kept:
    """A `History` of these samples."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = sorted(samples, key=lambda one: (one.at_s, one.run, one.order))
        self.asked: list[Selection] = []

    def runs(self, lab: str | None = None) -> list[RunSummary]:
        raise NotImplementedError

    def samples(self, selection: Selection) -> Iterator[Sample]:
        self.asked.append(selection)
        for one in self._samples:
            if not selection.cases or one.case in selection.cases:
                yield one
