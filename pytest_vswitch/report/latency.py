"""Latency by load, for the report: each direction's figures, and all delays of each load."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results.record import Case
from pytest_vswitch.traffic.generator import DirectionCounts, Latency
from pytest_vswitch.traffic.latency import Histogram


@dataclass(frozen=True, slots=True)
class Row:
    """One direction at one load, over all its trials: of several figures the worst."""

    load_pps: float
    tx_port: int
    rx_port: int
    latency: Latency
    lost: int


@dataclass(frozen=True, slots=True)
class Loads:
    """What a latency measurement has seen."""

    rows: tuple[Row, ...]
    delays: tuple[tuple[float, Histogram], ...]
    """All delays at each load [frames/s]; none if the generator keeps no histogram."""


def by_load(case: Case) -> Loads | None:
    """Of the case's last latency measurement that came to its end; None without one."""
    ended = [m for m in case.measurements if m.search == "latency" and m.outcome]
    if not ended or not ended[-1].outcome:
        return None
    # The load of the warm-up is none of those that were measured.
    loads = {x for curve in ended[-1].outcome.curves for x, _ in curve.points}
    trials = sorted(
        (t for t in ended[-1].trials if t.intended_pps in loads), key=lambda t: t.intended_pps
    )
    rows: list[Row] = []
    delays = []
    for load_pps, several in itertools.groupby(trials, key=lambda t: t.intended_pps):
        same = list(several)
        rows += _rows(load_pps, same)
        seen = [d.latency for t in same for d in t.directions if d.latency]
        if seen and all(one.histogram for one in seen):
            delays.append((load_pps, merged(seen)))
    return Loads(tuple(rows), tuple(delays))


def merged(seen: Sequence[Latency]) -> Histogram:
    """All their delays."""
    together = Histogram()
    for one in seen:
        together.include(Histogram.decode(one.histogram))
    return together


def _rows(load_pps: float, trials: Sequence[Trial]) -> list[Row]:
    rows = []
    for counts in zip(*(trial.directions for trial in trials), strict=True):
        seen = [direction.latency for direction in counts if direction.latency]
        if seen:
            rows.append(_row(load_pps, counts, seen))
    return rows


def _row(load_pps: float, counts: Sequence[DirectionCounts], seen: Sequence[Latency]) -> Row:
    def worst(value: Callable[[Latency], float | None]) -> float | None:
        return max((v for one in seen if (v := value(one)) is not None), default=None)

    whole = Latency(
        samples=sum(one.samples for one in seen),
        min_us=min(one.min_us for one in seen),
        p50_us=max(one.p50_us for one in seen),
        p90_us=max(one.p90_us for one in seen),
        p99_us=max(one.p99_us for one in seen),
        p999_us=max(one.p999_us for one in seen),
        max_us=max(one.max_us for one in seen),
        p9999_us=worst(lambda one: one.p9999_us),
        ipdv_p50_us=worst(lambda one: one.ipdv_p50_us),
        ipdv_p999_us=worst(lambda one: one.ipdv_p999_us),
        late=sum(one.late for one in seen),
    )
    lost = sum(direction.lost for direction in counts)
    return Row(load_pps, counts[0].tx_port, counts[0].rx_port, whole, lost)
