"""The values of many pairs as arrays in which a relative change is a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from pytest_vswitch.results.sample import Better
from pytest_vswitch.results.statistics.pair import Measured, Pair

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """One row a pair; rows are filled up with NaN."""

    values: Floats
    """Logarithms, or values as parts of `Sides.reference` where logarithms are impossible."""
    open_above: Bools
    """The true value may be higher."""
    open_below: Bools
    time: Floats
    """When each was measured; one unit for both sides of a pair."""
    width: Floats
    """Mean width of a pair's intervals, in units of `values`; 0 for points."""
    dropped: NDArray[np.int64]
    """Values that were no numbers."""

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        return np.asarray(np.isfinite(self.values).sum(axis=1), np.int64)


@dataclass(frozen=True)
class Sides:
    """Both sides of all pairs."""

    before: Side
    after: Side
    logarithmic: Bools
    """Per pair: all values are above 0."""
    referenced: Bools
    """Per pair: its changes can be told as part of what was before."""


def arrays(pairs: Sequence[Pair]) -> Sides:
    """Intervals are taken at their middle: a search says no more than that it lies within."""
    most = max([1, *(max(len(pair.before), len(pair.after)) for pair in pairs)])
    rows = len(pairs)
    sides = [_empty(rows, most) for _ in range(2)]
    logarithmic, referenced = np.ones(rows, bool), np.ones(rows, bool)
    for row, pair in enumerate(pairs):
        known = [[m for m in side if math.isfinite(m.value)] for side in (pair.before, pair.after)]
        numbers = [[_middle(m) for m in side] for side in known]
        together = numbers[0] + numbers[1]
        logarithmic[row] = bool(together) and min(together) > 0
        before, both = (_size(numbers[0]), _size(together))
        referenced[row] = bool(before)
        reference = before or both or 1.0
        times = _times(known)
        for side, measured, middles, when, given in zip(
            sides, known, numbers, times, (pair.before, pair.after), strict=True
        ):
            count = len(measured)
            value = np.array(middles)
            side.values[row, :count] = np.log(value) if logarithmic[row] else value / reference
            side.time[row, :count] = when
            side.width[row] = _width(measured, reference, logarithmic=bool(logarithmic[row]))
            side.dropped[row] = len(given) - count
            for column, one in enumerate(measured):
                above, below = _open(one, pair.better)
                side.open_above[row, column] = above
                side.open_below[row, column] = below
    return Sides(sides[0], sides[1], logarithmic, referenced)


def _empty(rows: int, columns: int) -> Side:
    return Side(
        np.full((rows, columns), np.nan),
        np.zeros((rows, columns), bool),
        np.zeros((rows, columns), bool),
        np.zeros((rows, columns)),
        np.zeros(rows),
        np.zeros(rows, np.int64),
    )


def _bounded(one: Measured) -> tuple[float, float] | None:
    if one.low is None or one.high is None or not one.low <= one.high:
        return None
    return (one.low, one.high) if math.isfinite(one.high - one.low) else None


def _middle(one: Measured) -> float:
    bounds = _bounded(one)
    return (bounds[0] + bounds[1]) / 2 if bounds and not one.censored else one.value


def _width(measured: Sequence[Measured], reference: float, *, logarithmic: bool) -> float:
    widths = []
    for one in measured:
        bounds = None if one.censored else _bounded(one)
        scale = abs(_middle(one)) if logarithmic else reference
        widths.append((bounds[1] - bounds[0]) / scale if bounds else 0.0)
    return fmean(widths) if widths else 0.0


def _open(one: Measured, better: Better) -> tuple[bool, bool]:
    unlimited = one.low is not None and one.high is None
    return (one.censored and better == "more") or unlimited, one.censored and better == "less"


def _size(values: Sequence[float]) -> float:
    return median(map(abs, values)) if values else 0.0


def _times(sides: Sequence[Sequence[Measured]]) -> tuple[Floats, Floats]:
    """By the clock where runs tell it, else in the order of the one run's measurements."""
    every = [one for side in sides for one in side]
    clock = np.array([one.at_s for one in every])
    if len(set(clock.tolist())) < 2:
        clock = np.array([float(one.order) for one in every])
    if clock.size > 1 and np.ptp(clock) > 0:
        clock = (clock - clock.min()) / (np.ptp(clock) / (clock.size - 1))
    return clock[: len(sides[0])], clock[len(sides[0]) :]
