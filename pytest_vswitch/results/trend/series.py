"""The nights of one case and metric, out of a history's samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median

from pytest_vswitch.results.compare.environments import Difference, differences
from pytest_vswitch.results.sample import Better, Sample
from pytest_vswitch.results.store.history import History, Selection

DAY_S = 86400.0
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Night:
    """What was measured from one noon (UTC) to the next, on and with the same environment."""

    at_s: float
    """When its first run began [Unix time, s]."""
    value: float
    """Median of its samples."""
    runs: tuple[str, ...]
    """Ids, in the order they began."""
    last: Sample
    """The last of its samples; all have its environment."""

    @property
    def environment(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        return self.last.environment.digest, tuple(sorted(self.last.versions.items()))


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one case in one lab over time."""

    lab: str
    suite: str
    case: str
    version: str
    """E.g. `dpdk=24.11`, where the lab's runs measured several side by side; else empty."""
    metric: str
    unit: str
    better: Better
    simulated: bool
    nights: tuple[Night, ...]
    """Oldest first."""

    @property
    def name(self) -> str:
        return f"{self.case} ({self.version})" if self.version else self.case

    def changed_environments(self) -> list[int]:
        """Indices of the nights that were not measured as the night before them."""
        return [
            index
            for index in range(1, len(self.nights))
            if self.nights[index].environment != self.nights[index - 1].environment
        ]

    def differences(self, index: int) -> tuple[Difference, ...]:
        """Between that night's environment and the one of the night before it."""
        return differences([self.nights[index - 1].last], [self.nights[index].last])


def read(
    history: History,
    *,
    cases: str = "*",
    metrics: Sequence[str] = (),
    lab: str | None = None,
    since_s: float | None = None,
) -> list[Series]:
    """The series of the cases that match the pattern, ordered by lab, case and metric."""
    exact = not _WILD & set(cases)
    selection = Selection(
        labs=(lab,) if lab else (),
        cases=(cases,) if exact else (),
        metrics=tuple(metrics),
        since_s=since_s,
    )
    found = history.samples(selection)
    return series(one for one in found if exact or fnmatchcase(one.case, cases))


def series(samples: Iterable[Sample]) -> list[Series]:
    """As `read`, of these samples, which come oldest first; what is not a number is left out."""
    groups: dict[tuple[str, str, str, bool], list[Sample]] = {}
    for one in samples:
        if math.isfinite(one.value):
            key = one.lab, one.case, one.metric, one.simulated
            groups.setdefault(key, []).append(one)
    return [
        _series(version, part)
        for _, group in sorted(groups.items())
        for version, part in sorted(_side_by_side(group).items())
    ]


def _side_by_side(group: list[Sample]) -> dict[str, list[Sample]]:
    """By version when runs measured several; a lab that moved on to another is one series."""
    versions: dict[str, list[Sample]] = {}
    of_run: dict[str, str] = {}
    several = False
    for one in group:
        version = ", ".join(f"{name}={value}" for name, value in sorted(one.versions.items()))
        several |= of_run.setdefault(one.run, version) != version
        versions.setdefault(version, []).append(one)
    return versions if several else {"": group}


def _series(version: str, samples: list[Sample]) -> Series:
    nights: list[list[Sample]] = []
    key: object = None
    for one in samples:
        night = (one.at_s - DAY_S / 2) // DAY_S
        its = night, one.environment.digest, one.versions
        if its != key:
            nights.append([])
            key = its
        nights[-1].append(one)
    last = samples[-1]
    return Series(
        lab=last.lab,
        suite=last.suite,
        case=last.case,
        version=version,
        metric=last.metric,
        unit=last.unit,
        better=last.better,
        simulated=last.simulated,
        nights=tuple(
            Night(
                night[0].at_s,
                median(one.value for one in night),
                tuple(dict.fromkeys(one.run for one in night)),
                night[-1],
            )
            for night in nights
        ),
    )
