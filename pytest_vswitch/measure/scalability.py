"""Throughput over something that grows: flows, frame sizes, cores, queues, guests.

RFC 8204 section 3 asks how a vSwitch scales. The knee of the curve is where the throughput has
fallen to a given part of what it is at the beginning; it lies between two points at which
that is certain, by the intervals of their searches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.measure.options import NDR, SearchOptions
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.throughput import find_throughput

KNEE = 0.9
"""Part of the first point's throughput at which the knee lies, of all or of each."""
MOST = 12
"""So many points around a knee are tried."""
FINE = 1.25
"""The two points around a knee lie no further apart than this ratio, if they can be told."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What grows."""

    name: str
    unit: str
    """As in `outcome.Figure`."""
    whole: bool = True
    """Whether points between two others must be whole numbers."""
    each: bool = False
    """Whether more of it should bring more: then the knee is where the throughput of each, e.g.
    of each core, has fallen. Else where that of all has."""


@dataclass(frozen=True, slots=True)
class Point:
    """The NDR at one point of the axis."""

    x: float
    result: GoalResult

    @property
    def low_pps(self) -> float:
        return self.result.lower_pps or 0.0

    @property
    def high_pps(self) -> float:
        """Without an upper end, nothing but the wire or the generator kept it."""
        return self.result.upper_pps or math.inf


@dataclass(frozen=True, slots=True)
class Scalability:
    """Points in the order of the axis."""

    axis: Axis
    points: tuple[Point, ...]
    again: Point
    """The first one, searched once more."""
    procedure: Mapping[str, str]

    @property
    def knee(self) -> tuple[float, float | None]:
        """The highest x before the knee, and the lowest after it; None if there is none."""
        first = self.points[0]
        low_pps = min(first.low_pps, self.again.low_pps)
        high_pps = max(first.high_pps, self.again.high_pps)
        before, after = first.x, None
        for point in self.points[1:]:
            more = point.x / first.x if self.axis.each else 1.0
            if point.high_pps < KNEE * low_pps * more:
                after = point.x
                break
            if point.low_pps >= KNEE * high_pps * more:
                before = point.x
        return before, after

    @property
    def doubts(self) -> tuple[str, ...]:
        one, other = sorted((self.points[0], self.again), key=lambda point: point.low_pps)
        if other.low_pps <= one.high_pps:
            return ()
        return (
            f"at {one.x:,.0f} {self.axis.unit} one search found {one.low_pps:,.0f} frames/s and "
            f"another {other.low_pps:,.0f}: what looks like a knee may be noise",
        )

    @property
    def outcome(self) -> Outcome:
        before, after = self.knee
        first, last = self.points[0], self.points[-1]
        middle = None if after is None else math.sqrt(before * after)
        kept = last.low_pps / first.low_pps if first.low_pps else None
        of_what = "throughput of each" if self.axis.each else "throughput"
        return Outcome(
            source="RFC 8204 section 3",
            procedure=self.procedure,
            figures=(
                Figure(f"knee: {KNEE:.0%} of the {of_what}", middle, self.axis.unit, before, after),
                Figure(f"throughput at {last.x:,.0f} {self.axis.unit}", last.low_pps, "frames/s"),
                Figure(f"throughput at {first.x:,.0f} {self.axis.unit}", first.low_pps, "frames/s"),
                Figure("last over first", kept, "ratio"),
            ),
            curves=(
                Curve(
                    f"NDR over {self.axis.name}",
                    *(self.axis.name, self.axis.unit, "NDR", "frames/s"),
                    tuple((point.x, point.low_pps) for point in self.points),
                    middle,
                ),
            ),
            doubts=self.doubts,
        )


def scalability(
    axis: Axis,
    at: Sequence[float],
    runner: Callable[[float], TrialRunner],
    options: SearchOptions,
) -> Scalability:
    """Search the NDR at each point, then between the two around the knee.

    `runner` gives the trials of one point. Raises what `find_throughput` raises.
    """
    options = replace(options, goals=(NDR,))
    points: dict[float, Point] = {}

    def look(x: float) -> Point:
        return Point(x, find_throughput(runner(x), options).results[0])

    def so_far() -> Scalability:
        return Scalability(
            axis,
            tuple(points[x] for x in sorted(points)),
            again,
            {
                "points": f"{len(points)}, those around the knee up to {FINE:g} times apart",
                **options.procedure,
            },
        )

    for x in sorted(at):
        points[x] = look(x)
    again = look(min(at))
    for _ in range(MOST):
        middle = _nearer(sorted(points), *so_far().knee, axis)
        if middle is None:
            break
        points[middle] = look(middle)
    return so_far()


def of_flows(
    flows: Sequence[int],
    runner: Callable[[int], TrialRunner],
    options: SearchOptions,
    directions: int,
) -> Scalability:
    """Over so many flows of each direction; the axis counts those of all."""
    return scalability(
        Axis("flows", "flows"),
        [count * directions for count in flows],
        lambda x: runner(max(1, round(x / directions))),
        options,
    )


def of_each(
    axis: Axis,
    at: Sequence[int],
    runner: Callable[[int], TrialRunner],
    options: SearchOptions,
) -> Scalability:
    """Over cores, queues or guests; `runner` brings the topology up with so many."""
    return scalability(axis, at, lambda x: runner(round(x)), options)


def _nearer(
    points: Sequence[float], before: float, after: float | None, axis: Axis
) -> float | None:
    """A point that tells more of the knee; None if it is known well enough, or not at all.

    At a point between the two, the intervals overlap: nearer to either end more may be told.
    """
    if after is None:
        return None
    first, last = points.index(before), points.index(after)
    gaps = [(points[first], points[first + 1]), (points[last - 1], points[last])]
    low, high = max(gaps, key=lambda gap: gap[1] / gap[0])
    middle = math.sqrt(low * high)
    middle = float(round(middle)) if axis.whole else middle
    return middle if high > low * FINE and low < middle < high else None
