"""Change points of one series, night by night, using no later night than the one it is at.

Each night the last 3 to 15 nights are tried as "after" against up to 60 nights before them: a
generalised likelihood ratio of two levels against one, with the scatter learnt from the case's
own settled nights (`noise`). A change is reported when the ratio is beyond `THRESHOLD` and the
medians differ by the minimum effect, give or take what so few nights leave open; from there a
new segment begins. What was reported stays: more nights add changes, they take none back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pytest_vswitch.results.trend.noise import Floats, Noise

MINIMUM_EFFECT = 0.02
"""Smaller changes are not reported [relative], as in `vswitch compare`."""
THRESHOLD = 12.5
"""Of the log likelihood ratio; benchmarks/trend.py shows what it gives."""
_NEARLY = 0.75
"""Of the minimum effect: medians that differ by less are not looked into."""
_UNSURE = 60.0
"""Over the nights the scatter is learnt from: added to the threshold."""
LEAST_AFTER = 3
"""Nights a change must have lasted: one bad night, or two, are no change."""
MOST_AFTER = 15
"""What has not shown after so many nights is drift."""
BEFORE = 60
"""Nights before that are compared with: few enough that slow drift does not add up."""
LEAST_BEFORE = 8
"""Nights of the first segment before anything can be said."""
_LEAST_BEFORE_LATER = 4
"""In later segments, whose scatter is known from the earlier ones."""
_SETTLED = 10
"""Nights this long ago count as the case's usual scatter; later ones may be after a change."""
_POOL = 240
"""Nights the scatter is learnt from."""
_BLOCK = 128
"""Nights that are looked through at once."""
_SMALLEST = 1e-3
"""Of the first value above zero: less than that, and zero, counts as that."""


@dataclass(frozen=True, slots=True)
class Change:
    """A series' level changed."""

    began: int
    """Index of the first night at the new level."""
    found: int
    """Index of the night with which it was first reported."""
    evidence: float
    """Log likelihood ratio of two levels against one."""


def changes(values: Sequence[float] | Floats, minimum: float = MINIMUM_EFFECT) -> list[Change]:
    """The changes of a series of finite values, one a night, oldest first."""
    nights = _logarithms(np.asarray(values, dtype=np.float64))
    found: list[Change] = []
    start = 0
    settled = np.empty(0)  # residuals of the segments before this one
    while change := _next(nights, start, settled, found[-1].found if found else 0, minimum):
        found.append(change)
        segment = nights[start : change.began]
        settled = np.concatenate([settled, segment - np.median(segment)])[-_POOL:]
        start = change.began
    return found


def _logarithms(values: Floats) -> Floats:
    """Relative changes become differences, alike for better and worse."""
    positive = values[values > 0]
    if not len(positive):
        return np.zeros(len(values))
    logarithms: Floats = np.log(np.maximum(values, positive[0] * _SMALLEST))
    return logarithms


def _next(nights: Floats, start: int, settled: Floats, after: int, minimum: float) -> Change | None:
    """The first change of the segment from `start` that is found later than at night `after`."""
    least_before = LEAST_BEFORE if start == 0 else _LEAST_BEFORE_LATER
    first_known = LEAST_BEFORE if start == 0 else 0
    first = max(after + 1, start + least_before + LEAST_AFTER - 1)
    for low in range(first, len(nights), _BLOCK):
        high = min(low + _BLOCK, len(nights))
        candidates = _candidates(nights, start, low, high, least_before, _NEARLY * minimum)
        noise, noise_of = None, -1
        for night in np.flatnonzero(candidates.any(axis=1)) + low:
            known = max((night - start - _SETTLED) // _SETTLED * _SETTLED, first_known) + start
            if noise is None or known != noise_of:
                noise, noise_of = _noise(nights[start:known], settled), known
            lengths = np.flatnonzero(candidates[night - low]) + LEAST_AFTER
            evidence, length = _evidence(nights[start : night + 1], lengths, noise)
            began = int(night) - length + 1
            size = np.median(nights[began : night + 1]) - np.median(
                nights[max(start, began - BEFORE) : began]
            )
            large = abs(float(size)) + noise.median_error(length) >= np.log1p(minimum)
            if large and evidence >= THRESHOLD + _UNSURE / noise.nights:
                return Change(began, int(night), evidence)
    return None


def _candidates(
    nights: Floats, start: int, low: int, high: int, least_before: int, minimum: float
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """[night - low, length - LEAST_AFTER]: do the medians differ by the minimum effect?"""
    lengths = range(LEAST_AFTER, MOST_AFTER + 1)
    ends = np.arange(low, high) + 1
    # The first night stands for nights before it; what it takes part in is not usable.
    padded = np.concatenate([np.full(MOST_AFTER, nights[0]), nights[:high]])
    befores = _medians_before(nights, start, low + 1 - MOST_AFTER, high)
    found = np.zeros((high - low, len(lengths)), dtype=np.bool_)
    for column, length in enumerate(lengths):
        after = padded[MOST_AFTER + low + 1 - length :]
        afters = np.median(sliding_window_view(after, length), axis=1)
        differ = np.abs(afters - befores[ends - length - (low + 1 - MOST_AFTER)])
        usable = ends - length - start >= least_before
        found[:, column] = usable & (differ >= np.log1p(minimum))
    return found


def _medians_before(nights: Floats, start: int, low: int, high: int) -> Floats:
    """Of up to `BEFORE` nights of the segment before each from `low` to `high`; NaN: no night."""
    padded = np.full(high - low + BEFORE, np.nan)
    first = max(start, low - BEFORE)
    padded[first - (low - BEFORE) :] = nights[first:high]
    # NaN stands for nights before the segment; it sorts last.
    windows = np.sort(sliding_window_view(padded, BEFORE), axis=1)
    counts = BEFORE - np.isnan(windows).sum(axis=1)
    rows = np.arange(len(windows))
    medians: Floats = windows[rows, np.maximum(counts - 1, 0) // 2] / 2
    medians += windows[rows, np.minimum(counts // 2, np.maximum(counts - 1, 0))] / 2
    return medians


def _noise(segment: Floats, settled: Floats) -> Noise:
    segment = segment[-_POOL:]
    own = segment - np.median(segment) if len(segment) else segment
    return Noise(np.concatenate([settled, own])[-_POOL:])


def _evidence(
    segment: Floats, lengths: np.ndarray[tuple[int], np.dtype[np.intp]], noise: Noise
) -> tuple[float, int]:
    """The greatest log likelihood ratio, and the number of nights after the change there."""
    window = segment[-(BEFORE + int(lengths.max())) :]
    # The levels tried are the nights' own values.
    likelihood = noise.log_density(window[:, None] - window[None, :]).cumsum(axis=0)
    whole = likelihood[-1]
    before = likelihood[len(window) - lengths - 1]
    ratios = before.max(axis=1) + (whole - before).max(axis=1) - whole.max()
    best = int(ratios.argmax())
    return float(ratios[best]), int(lengths[best])
