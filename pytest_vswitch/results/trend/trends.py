"""Where cases changed, what changed with them, and how they stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from pytest_vswitch.results.compare.environments import Difference
from pytest_vswitch.results.trend import detect
from pytest_vswitch.results.trend.series import DAY_S, Series

State = Literal["worse", "better", "steady", "too few"]

NEAR = 2
"""Nights between a change and the version it is put down to: what was found may be off by one
or two."""
SAME_NIGHT_S = 1.5 * DAY_S
"""Changes of a lab's cases that began so close together are one event."""
_DRIFT_NIGHTS = 15


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """A change of one series."""

    series: Series
    began: int
    """Index of the first night at the new level."""
    found: int
    """Index of the night with which it was first reported."""
    before: float
    """Median of up to `detect.BEFORE` nights, since the change before this one."""
    after: float
    """Median of the nights up to the next change."""
    differences: tuple[Difference, ...]
    """What changed with it in the environment."""

    @property
    def at_s(self) -> float:
        """When it began [Unix time, s]."""
        return self.series.nights[self.began].at_s

    @property
    def ratio(self) -> float | None:
        """Relative change, e.g. -0.03; None when there was nothing before."""
        return self.after / self.before - 1 if self.before > 0 else None

    @property
    def worse(self) -> bool:
        return (self.after < self.before) == (self.series.better == "more")


@dataclass(frozen=True, slots=True)
class Trend:
    """A series with its changes."""

    series: Series
    changes: tuple[SeriesChange, ...]
    """Oldest first."""
    drift: float | None
    """By how much it crept since the last change [relative]; None: less than counts."""

    @property
    def state(self) -> State:
        """The direction of the last change."""
        if self.changes:
            return "worse" if self.changes[-1].worse else "better"
        enough = len(self.series.nights) >= detect.LEAST_BEFORE + detect.LEAST_AFTER
        return "steady" if enough else "too few"


@dataclass(frozen=True, slots=True)
class Event:
    """What changed in a lab at one time, in one case or in many."""

    lab: str
    at_s: float
    """When it began [Unix time, s]."""
    differences: tuple[Difference, ...]
    changes: tuple[SeriesChange, ...]
    """The worst first."""

    @property
    def worse(self) -> int:
        return sum(change.worse for change in self.changes)


def trend(series: Series, minimum: float = detect.MINIMUM_EFFECT) -> Trend:
    """Its changes, with what changed in the environment within `NEAR` nights."""
    values = [night.value for night in series.nights]
    found = detect.changes(values, minimum)
    boundaries = series.changed_environments()
    starts: list[int] = []
    for change in found:
        starts.append(_put_down(change, boundaries, starts[-1] if starts else 0))
    edges = [0, *starts, len(values)]
    changes = tuple(
        SeriesChange(
            series=series,
            began=start,
            found=change.found,
            before=median(values[max(edges[index], start - detect.BEFORE) : start]),
            after=median(values[start : edges[index + 2]]),
            differences=series.differences(start) if start in boundaries else (),
        )
        for index, (change, start) in enumerate(zip(found, starts, strict=True))
    )
    return Trend(series, changes, _drift(values[edges[-2] :], minimum))


def since(one: Trend, first_s: float) -> Trend | None:
    """What of it lies at that time [Unix time, s] or later; None if nothing does."""
    nights = one.series.nights
    gone = sum(night.at_s < first_s for night in nights)
    if gone == len(nights):
        return None
    series = replace(one.series, nights=nights[gone:])
    kept = tuple(
        replace(change, series=series, began=change.began - gone, found=change.found - gone)
        for change in one.changes
        if change.began >= gone
    )
    return replace(one, series=series, changes=kept)


def events(trends: Iterable[Trend]) -> list[Event]:
    """The changes of all, those of one lab and night together, newest first."""
    changes = [change for one in trends for change in one.changes]
    changes.sort(key=lambda change: (change.series.lab, change.at_s))
    groups: list[list[SeriesChange]] = []
    for change in changes:
        first = groups[-1][0] if groups else None
        if (
            first
            and first.series.lab == change.series.lab
            and first.series.simulated == change.series.simulated
            and change.at_s - first.at_s <= SAME_NIGHT_S
        ):
            groups[-1].append(change)
        else:
            groups.append([change])
    return sorted(map(_event, groups), key=lambda event: -event.at_s)


def _event(group: Sequence[SeriesChange]) -> Event:
    # The environment is known to have changed then; a change alone may be off by a night.
    known = [change.at_s for change in group if change.differences]
    return Event(
        lab=group[0].series.lab,
        at_s=min(known or [change.at_s for change in group]),
        differences=tuple(dict.fromkeys(one for change in group for one in change.differences)),
        changes=tuple(sorted(group, key=_goodness)),
    )


def _goodness(change: SeriesChange) -> float:
    size = abs(change.ratio) if change.ratio is not None else float("inf")
    return -size if change.worse else size


def _put_down(change: detect.Change, boundaries: Sequence[int], after: int) -> int:
    """Where the change began: at the environment's change, if there was one close by."""
    near = [
        at for at in boundaries if abs(at - change.began) <= NEAR and after < at <= change.found
    ]
    return min(near, key=lambda at: abs(at - change.began), default=change.began)


def _drift(segment: Sequence[float], minimum: float) -> float | None:
    if len(segment) < 2 * _DRIFT_NIGHTS:
        return None
    first, last = median(segment[:_DRIFT_NIGHTS]), median(segment[-_DRIFT_NIGHTS:])
    drift = last / first - 1 if first > 0 else 0.0
    return drift if abs(drift) >= minimum else None
