"""A machine that gets slower or faster all the while: what of a difference is only that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pytest_vswitch.results.statistics.noise import ENOUGH_CASES, members
from pytest_vswitch.results.statistics.sides import Bools, Floats

OWN_DRIFT = 0.02
"""A case's own slope counts when chance makes one like it so seldom."""
SHARED_DRIFT = 4.0
"""The usual slope of many cases counts when it is so many standard errors from 0."""
INTERLEAVED = 1.3
"""Up to this variance inflation the sides were measured in turns."""


NEAR = 6.0
"""Beyond it, the sides lie too far apart in time for a line to be drawn from one to the other."""


@dataclass(frozen=True)
class Drift:
    """What to take off each case's difference and squares; nothing where `found` is not set."""

    found: Bools
    difference: Floats
    """Part of the difference of the sides that is drift."""
    squares: Floats
    """Part of the squares about the means of the sides that is drift."""
    freedom: Floats
    """Degrees of freedom that knowing it cost."""
    inflation: Floats
    """The variance of the difference is so much larger, since the slope is not known exactly."""
    in_turns: Bools
    """The sides were measured in turns, or nobody says when they were."""


def drift(
    values: tuple[Floats, Floats],
    times: tuple[Floats, Floats],
    squares: Floats,
    freedom: Floats,
    groups: Sequence[str],
) -> Drift:
    """A straight line through time, alike on both sides (analysis of covariance).

    A case's own line is used where it is plain to see. Where one side was measured after the
    other, that costs much of what the runs tell (`inflation`), and a drift that is not plain
    stays a change; what many cases have in common tells it then.
    """
    centered = [
        np.where(np.isfinite(value), when - _mean(when, value), 0.0)
        for value, when in zip(values, times, strict=True)
    ]
    across = sum((part**2).sum(axis=1) for part in centered)
    apart = _mean(times[1], values[1])[:, 0] - _mean(times[0], values[0])[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (
            sum(
                (part * np.nan_to_num(value)).sum(axis=1)
                for part, value in zip(centered, values, strict=True)
            )
            / across
        )
        counts = [np.isfinite(value).sum(axis=1) for value in values]
        inflation = 1 + apart**2 / across / (1 / counts[0] + 1 / counts[1])
        rest = np.maximum(squares - slope**2 * across, 0)
        ratio = np.abs(slope) / np.sqrt(rest / (freedom - 1) / across)
    timed = (across > 0) & np.isfinite(slope)
    in_turns = np.where(timed, inflation <= INTERLEAVED, ~(np.abs(apart) > 0))
    able = timed & (freedom >= 4) & (inflation <= NEAR)
    chance = 2 * stats.t.sf(np.nan_to_num(ratio), np.maximum(freedom - 1, 1))
    found = able & (chance < OWN_DRIFT)
    line, cost = slope.copy(), found.astype(float)
    for rows in members(groups):
        told = rows[able[rows]]
        if told.size >= ENOUGH_CASES and (common := _common(slope[told])):
            found[told], line[told], cost[told] = True, common, 0.0
    return Drift(
        found,
        np.where(found, line * apart, 0.0),
        np.where(found, (2 * slope - line) * line * across, 0.0),
        cost,
        np.where(cost > 0, inflation, 1.0),
        in_turns,
    )


def _common(slopes: Floats) -> float:
    """The usual slope of cases, 0 when chance explains it."""
    middle = float(np.median(slopes))
    spread = 1.4826 * float(np.median(np.abs(slopes - middle)))
    # The median's standard error is 1.25 times the mean's (normal noise).
    return middle if abs(middle) > SHARED_DRIFT * 1.25 * spread / np.sqrt(slopes.size) else 0.0


def _mean(when: Floats, values: Floats) -> Floats:
    """Of the times at which there is a value."""
    known = np.isfinite(values)
    total = np.where(known, when, 0.0).sum(axis=1, keepdims=True)
    return np.asarray(total / np.maximum(known.sum(axis=1, keepdims=True), 1))
