"""The difference of both sides of many pairs, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pytest_vswitch.results.statistics import drift as drifts
from pytest_vswitch.results.statistics import noise
from pytest_vswitch.results.statistics.sides import Bools, Floats, Side, Sides

RANKS_SURE = 0.01
"""5 runs a side reach it when all of one are above all of the other."""
AGREE = 0.02
"""By ranks: with at most one pair of 5 runs a side in the wrong order."""
UNEXPECTED = 0.05
"""Noise that so seldom is larger is not what was expected."""
UNEQUAL = 1.5
"""From this ratio of sizes on, each side's own variance is used."""


@dataclass(frozen=True)
class Differences:
    """One number a pair, in the units of `sides.Side.values`."""

    difference: Floats
    """After less before; NaN when a side is empty."""
    error: Floats
    """Its standard error; NaN when nothing tells the noise."""
    freedom: Floats
    """Degrees of freedom of the error."""
    slack: Floats
    """So much of the difference may come from intervals that are wider than the noise."""
    deviation: Floats
    """Of a single run."""
    chance: Floats
    """That no change shows a difference as large; NaN when untestable."""
    drift: drifts.Drift
    left_out: Floats
    """Runs that were taken for mishaps."""
    modes: Bools
    """A side has runs where the other's are."""
    shared: Bools
    """Cases like it told the noise."""
    unlimited_below: Bools
    """The change may be any less: a side's measurement came to its end."""
    unlimited_above: Bools


def differences(sides: Sides, groups: Sequence[str], expected: Floats, told: Bools) -> Differences:
    """`expected`: each pair's standard deviation of runs where no like cases tell it.

    One that earlier runs have `told` is believed also where this pair has no spread to see.
    """
    before, after = sides.before, sides.after
    whole = ~_censored(sides)
    apart, modes, odds = _mishaps(sides, groups, expected)
    values = (_without(before.values, apart[0]), _without(after.values, apart[1]))
    counts = [np.isfinite(value).sum(axis=1).astype(float) for value in values]
    closed = [
        _without(value, side.open_above | side.open_below)
        for value, side in zip(values, (before, after), strict=True)
    ]
    squares, free = zip(*(_squares(value) for value in closed), strict=True)
    found = drifts.drift(
        (closed[0], closed[1]),
        (before.time, after.time),
        squares[0] + squares[1],
        free[0] + free[1],
        groups,
    )
    freedom = free[0] + free[1] - found.freedom
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (squares[0] + squares[1] - found.squares) / freedom
        by_side = (squares[0] / free[0], squares[1] / free[1])
    usable = np.where(whole, variance, np.nan)
    known = noise.prior(usable, freedom, by_side, groups, expected)
    weight = np.where(known.shared | told | (freedom > 0), known.weight, 0.0)
    pooled = _moderated(variance, freedom, known.variance, weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.nansum(values[1], axis=1) / counts[1]
        difference = difference - np.nansum(values[0], axis=1) / counts[0] - found.difference
        error2 = pooled * (1 / counts[0] + 1 / counts[1]) * found.inflation
        apiece = [
            _moderated(square / part, part, known.variance, weight) / count
            for square, part, count in zip(squares, free, counts, strict=True)
        ]
        satterthwaite = (apiece[0] + apiece[1]) ** 2 / (
            apiece[0] ** 2 / (free[0] + weight) + apiece[1] ** 2 / (free[1] + weight)
        )
        uneven = np.maximum(*counts) > UNEQUAL * np.minimum(*counts)
        # A side of one run has no variance of its own: it is taken to be as noisy as the other.
        separate = uneven & (free[0] > 0) & (free[1] > 0) & ~found.found
    error2 = np.where(separate, apiece[0] + apiece[1], error2)
    total = np.where(separate, satterthwaite, freedom + weight)
    error, deviation = np.sqrt(error2), np.sqrt(pooled)
    slack = _slack(before.width, deviation) + _slack(after.width, deviation)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.maximum(np.abs(difference) - slack, 0) / error
        unaided = score * error / np.sqrt(variance * (1 / counts[0] + 1 / counts[1]))
    chance = 2 * stats.t.sf(score, np.maximum(total, 1e-3))
    own = 2 * stats.t.sf(np.nan_to_num(unaided, nan=np.inf), np.maximum(freedom, 1))
    return Differences(
        difference,
        error,
        total,
        slack,
        deviation,
        np.maximum(np.maximum(chance, odds), _doubts(values, known, own, chance)),
        found,
        (apart[0].sum(axis=1) + apart[1].sum(axis=1)).astype(float),
        modes,
        known.shared,
        _mostly(before.open_above, before) | _mostly(after.open_below, after),
        _mostly(before.open_below, before) | _mostly(after.open_above, after),
    )


def _mishaps(
    sides: Sides, groups: Sequence[str], expected: Floats
) -> tuple[tuple[Bools, Bools], Bools, Floats]:
    """Runs to leave out, pairs whose runs have two modes instead, and the odds of these."""
    before, after = sides.before.values, sides.after.values
    apart = noise.strays(before, after, groups, expected)
    whole = ~_censored(sides)[:, None]
    apart = (apart[0] & whole, apart[1] & whole)
    modes, odds = _modes(before, after, apart)
    return (apart[0] & ~modes[:, None], apart[1] & ~modes[:, None]), modes, odds


def _doubts(
    values: tuple[Floats, Floats], known: noise.Prior, own: Floats, chance: Floats
) -> Floats:
    """A case alone must look changed without what is expected of its noise, too.

    Either its ranks say so (Mann and Whitney's exact test, true of any noise, as two modes),
    or its own variance does, which need not be as sure. Where the noise is far from what is
    expected, ranks have to agree.
    """
    doubts = np.zeros(len(chance))
    for row in np.flatnonzero(~known.shared & (chance <= AGREE)):
        one, other = (side[row][np.isfinite(side[row])] for side in values)
        if not 2 / math.comb(one.size + other.size, one.size) <= RANKS_SURE:
            continue
        ranks = float(stats.mannwhitneyu(one, other, method="exact").pvalue)
        agreed = ranks <= (AGREE if known.chance[row] < UNEXPECTED else 1)
        if not (ranks <= RANKS_SURE or (agreed and own[row] <= AGREE)):
            doubts[row] = max(ranks, own[row])
    return doubts


def _without(values: Floats, out: Bools) -> Floats:
    return np.where(out, np.nan, values)


def _squares(values: Floats) -> tuple[Floats, Floats]:
    """Sum of squares about each row's mean, and its degrees of freedom."""
    count = np.isfinite(values).sum(axis=1).astype(float)
    mean = np.nansum(values, axis=1) / np.maximum(count, 1)
    squares = np.nansum((values - mean[:, None]) ** 2, axis=1)
    return squares, np.maximum(count - 1, 0)


def _moderated(variance: Floats, freedom: Floats, center: Floats, weight: Floats) -> Floats:
    """Smyth (2004): a weighted mean of a case's own variance and that of cases like it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(freedom > 0, np.nan_to_num(variance) * freedom, 0.0)
        return np.asarray((weight * center + own) / (weight + freedom))


def _slack(width: Floats, deviation: Floats) -> Floats:
    """How far intervals of one grid can shift a mean: noise about as wide dithers it away.

    First term of the error of a rounded normal number (Widrow and Kollár, Quantization Noise,
    2008), with half an interval for no noise at all.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        dithered = np.exp(-2 * (np.pi * deviation / width) ** 2)
    return np.where(width > 0, width / 2 * np.nan_to_num(dithered), 0.0)


def _censored(sides: Sides) -> Bools:
    return np.asarray(
        (sides.before.open_above | sides.before.open_below).any(axis=1)
        | (sides.after.open_above | sides.after.open_below).any(axis=1)
    )


def _mostly(marked: Bools, side: Side) -> Bools:
    """At least half of a side's runs."""
    return np.asarray(marked.any(axis=1) & (2 * marked.sum(axis=1) >= side.counts))


def _modes(before: Floats, after: Floats, apart: tuple[Bools, Bools]) -> tuple[Bools, Floats]:
    """Rows in which a side's stray is no mishap, since it lies where the other side's runs are.

    Then the runs have two modes, and what counts is how often each side was in which: Fisher's
    exact test.
    """
    found, odds = np.zeros(len(before), bool), np.zeros(len(before))
    for row in np.flatnonzero((apart[0] | apart[1]).any(axis=1)):
        one, other = before[row], after[row]
        own, others = np.nanmedian(one), np.nanmedian(other)
        crossed = (3 * np.abs(one - others) < np.abs(one - own)) & apart[0][row]
        back = (3 * np.abs(other - own) < np.abs(other - others)) & apart[1][row]
        if crossed.any() or back.any():
            sides = [side[np.isfinite(side)] for side in (one, other)]
            nearer = [np.abs(side - others) < np.abs(side - own) for side in sides]
            table = [[int((~side).sum()), int(side.sum())] for side in nearer]
            found[row], odds[row] = True, stats.fisher_exact(table).pvalue
    return found, odds
