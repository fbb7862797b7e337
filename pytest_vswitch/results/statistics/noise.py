"""How noisy each of many cases is, as told by its own runs and by those of cases like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from pytest_vswitch.results.statistics.sides import Bools, Floats

STRAY = 5.0
"""A run so many standard deviations from its side's others is a mishap, not noise."""
OWN_WEIGHT = 0.6
"""Of a case's own few differences in the scale that strays are judged by."""
ENOUGH_CASES = 10
"""From so many cases on their spread tells how alike their noise is."""
MOST = 2 / 3
"""Of a group's cases must be able to tell the noise."""
DEFAULT_WEIGHT = 8.0
"""Of the noise that is expected where there are no like cases, in degrees of freedom."""
_HALF = float(stats.chi2.ppf(0.5, 1))
DOUBTFUL = 0.2
"""A variance that is so seldom exceeded takes weight from what is expected of it."""
ODD = 6.0
"""A variance so many times the usual one is left out of the mean of a group's."""
_WEIGHTS = np.geomspace(0.5, 1e4, 60)


@dataclass(frozen=True)
class Prior:
    """What is known of each case's variance before its own runs are looked at."""

    variance: Floats
    weight: Floats
    """In degrees of freedom."""
    shared: Bools
    """It was learnt from like cases."""
    chance: Floats
    """Of a variance as large as the case's own, were this right."""


def strays(
    before: Floats, after: Floats, groups: Sequence[str], expected: Floats
) -> tuple[Bools, Bools]:
    """Runs far off their side's others, on either end; never more than a quarter of a side."""
    own = medians(_differences(before, after) ** 2) / (2 * _HALF)
    common = expected**2
    for rows in members(groups):
        known = own[rows][np.isfinite(own[rows])]
        if known.size >= ENOUGH_CASES:
            common[rows] = np.median(known)
    own = np.where(np.isfinite(own), own, common)
    scale = np.sqrt(OWN_WEIGHT * own + (1 - OWN_WEIGHT) * common)[:, None]
    limit = np.maximum(STRAY * scale, 2 * expected[:, None])
    found = []
    for side in (before, after):
        apart = np.abs(side - medians(side)[:, None]) > limit
        count = np.isfinite(side).sum(axis=1)
        few = apart.sum(axis=1) <= (count - 1) // 4
        found.append(apart & few[:, None])
    return found[0], found[1]


def prior(
    variances: Floats,
    freedom: Floats,
    by_side: tuple[Floats, Floats],
    groups: Sequence[str],
    expected: Floats,
) -> Prior:
    """Empirical Bayes after Smyth (2004): variances of like cases are s0² F(freedom, weight).

    A case whose variance is too large for its group's is believed by itself, as in Phipson et
    al. (2016).
    """
    center = expected**2
    weight = np.full(len(variances), DEFAULT_WEIGHT)
    shared = np.zeros(len(variances), bool)
    able = np.isfinite(variances) & (freedom > 0)
    for rows in members(groups):
        told = rows[able[rows]]
        # Where many runs ended at the line rate, those that did not are a biased choice.
        if told.size >= max(ENOUGH_CASES, MOST * (freedom[rows] > 0).sum()):
            weight[rows] = _alike(by_side[0][told], by_side[1][told], freedom[told])
            center[rows] = _usual(variances[told], freedom[told], weight[rows[0]])
            shared[rows] = True
    chance = stats.f.sf(np.where(able, variances, 0) / center, np.where(able, freedom, 1), weight)
    return Prior(center, weight * np.minimum(1, chance / DOUBTFUL), shared, chance)


def _alike(before: Floats, after: Floats, freedom: Floats) -> float:
    """How much a group's variance says of a case's, in degrees of freedom.

    Cases that differ in noise do so on both sides, so that their sides' variances go together;
    skew, heavy tails and mishaps scatter variances, too, but each side's by itself.
    """
    most = float(freedom.sum())
    both = (before > 0) & (after > 0)
    if both.sum() < ENOUGH_CASES:
        return min(DEFAULT_WEIGHT, most)
    one, other = np.log(before[both]), np.log(after[both])
    rank = float(stats.spearmanr(one, other).statistic)
    scales = [float(stats.median_abs_deviation(side, scale="normal")) for side in (one, other)]
    covariance = 2 * np.sin(np.pi * rank / 6) * scales[0] * scales[1]
    expected = special.polygamma(1, _WEIGHTS / 2)
    if not covariance > expected[-1]:
        return most
    return min(float(_WEIGHTS[np.argmin(np.abs(np.log(expected / covariance)))]), most)


def _usual(variances: Floats, freedom: Floats, weight: float) -> float:
    """s0²: from the median, or the mean where skew or heavy tails make that larger."""
    middle = float(np.median(variances))
    center = middle / float(stats.f.ppf(0.5, float(np.median(freedom)), weight))
    if weight > 4:
        mean = float(np.mean(variances[variances <= ODD * middle]))
        center = max(center, mean * (weight - 2) / weight)
    return max(center, 1e-12)


def medians(values: Floats) -> Floats:
    """Of each row's numbers; NaN where there are none."""
    count = np.isfinite(values).sum(axis=1)
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf), axis=1)
    rows, last = np.arange(len(values)), np.maximum(count - 1, 0)
    middle = (ordered[rows, last // 2] + ordered[rows, (last + 1) // 2]) / 2
    return np.where(count > 0, middle, np.nan)


def _differences(before: Floats, after: Floats) -> Floats:
    """Between the runs of each side: free of what the sides' true values are."""
    found = [np.full((len(before), 1), np.nan)]
    for side in (before, after):
        one, other = np.triu_indices(min(side.shape[1], 40), 1)
        found.append(side[:, one] - side[:, other])
    return np.concatenate(found, axis=1)


def members(groups: Sequence[str]) -> list[NDArray[np.int64]]:
    """The rows of each group."""
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return [np.array(members, np.int64) for members in rows.values()]
