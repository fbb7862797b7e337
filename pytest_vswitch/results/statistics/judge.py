"""Which of two sides is better, for each of many cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from pytest_vswitch.results.statistics.comparison import Differences, differences
from pytest_vswitch.results.statistics.notes import notes
from pytest_vswitch.results.statistics.pair import Judgement, Options, Pair, Verdict
from pytest_vswitch.results.statistics.sides import Floats, Sides, arrays

EQUIVALENCE = 0.95
"""Confidence of each of the two one-sided tests that make a `same`."""
POWER = 0.8
"""`more_runs` tell with this probability, if the change is what it seems."""
MOST_RUNS = 1000
"""More runs than this are no advice."""
NOISE_PER_EFFECT = 0.5
"""Noise expected where nothing tells it, as part of the smallest change that matters."""


def judge(pairs: Sequence[Pair], options: Options | None = None) -> list[Judgement]:
    """The verdicts of one comparison, in the order of `pairs`; all of them are one family."""
    options = options or Options()
    if not pairs:
        return []
    sides = arrays(pairs)
    groups = [f"{pair.group}\0{pair.metric}" for pair in pairs]
    effect = math.log1p(options.minimum_effect)
    usual = effect * NOISE_PER_EFFECT
    expected = np.array([usual if pair.noise is None else pair.noise for pair in pairs])
    told = np.array([pair.noise is not None for pair in pairs])
    found = differences(sides, groups, expected, told)
    untold = np.where(found.difference < 0, found.unlimited_above, found.unlimited_below)
    testable = np.isfinite(found.chance) & ~untold
    adjusted = np.full(len(pairs), np.nan)
    if testable.any():
        adjusted[testable] = holm(found.chance[testable])
    alarm = (
        testable
        & (found.chance <= 1 - options.confidence)
        & ((adjusted <= 1 - options.family_confidence) | (int(testable.sum()) == 1))
    )
    half = stats.t.ppf(EQUIVALENCE, found.freedom) * found.error + found.slack
    with np.errstate(invalid="ignore"):
        same = np.abs(found.difference) + half <= effect
        alike = np.abs(found.difference) <= effect
    ended = found.unlimited_below & found.unlimited_above
    same = np.where(ended, alike, same & ~(found.unlimited_below | found.unlimited_above))
    more = _more_runs(found, sides, effect, options, int(testable.sum()))
    reach = stats.t.ppf((1 + options.confidence) / 2, found.freedom) * found.error + found.slack
    return [
        _judgement(
            pair,
            row,
            sides,
            found,
            alarm=bool(alarm[row]) and not bool(same[row]),
            same=bool(same[row]),
            reach=float(reach[row]),
            p_value=float(adjusted[row]) if testable[row] else None,
            more_runs=more[row],
        )
        for row, pair in enumerate(pairs)
    ]


def holm(chances: Floats) -> Floats:
    """Holm (1979): true of all together, however they depend on each other.

    The same as statsmodels' `multipletests`, which collects the program's garbage each time.
    """
    order = np.argsort(chances)
    stepped = np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1))
    adjusted = np.empty(len(chances))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _judgement(
    pair: Pair,
    row: int,
    sides: Sides,
    found: Differences,
    *,
    alarm: bool,
    same: bool,
    reach: float,
    p_value: float | None,
    more_runs: int | None,
) -> Judgement:
    difference = float(found.difference[row])
    verdict: Verdict = "can't tell"
    if alarm:
        verdict = "better" if (difference > 0) == (pair.better == "more") else "worse"
    elif same:
        verdict = "same"

    def relative(number: float, *, unlimited: bool = False) -> float | None:
        if not math.isfinite(number) or not sides.referenced[row] or unlimited:
            return None
        return math.expm1(number) if sides.logarithmic[row] else number

    return Judgement(
        verdict,
        relative(difference),
        relative(difference - reach, unlimited=bool(found.unlimited_below[row])),
        relative(difference + reach, unlimited=bool(found.unlimited_above[row])),
        p_value,
        more_runs if verdict == "can't tell" else None,
        notes(sides, found, row),
    )


def _more_runs(
    found: Differences, sides: Sides, effect: float, options: Options, tests: int
) -> list[int | None]:
    """From the usual formula for a sample's size, for the easier of both answers."""
    level = 1 - options.confidence if tests <= 1 else (1 - options.family_confidence) / tests
    freedom = np.where(found.freedom > 0, found.freedom, np.inf)
    power = stats.norm.ppf(POWER)
    size = np.abs(found.difference)
    deviation = np.where(np.isfinite(found.deviation), found.deviation, effect * NOISE_PER_EFFECT)
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = (stats.t.ppf(EQUIVALENCE, freedom) + power) / np.maximum(effect - size, 0)
        apart = (stats.t.ppf(1 - level / 2, freedom) + power) / size
        needed = 2 * (np.fmin(alike, apart) * deviation) ** 2
    had = np.minimum(sides.before.counts, sides.after.counts)
    ended = found.unlimited_below | found.unlimited_above
    more = np.ceil(np.maximum(needed - had, np.maximum(2 - had, 1)))
    told = np.isfinite(more) & (more <= MOST_RUNS) & ~ended
    return [int(number) if able else None for number, able in zip(more, told, strict=True)]
