"""How probable each revision is to have changed a measured value, given noisy measurements.

A revision has one of two levels: that of the good end, or, when it contains the guilty one,
that of the bad end. Nothing else is known: not the two levels, not the noise, not how the machine
drifts meanwhile. Each is a grid, and is summed over (Bayes with nuisance parameters), so that
a verdict does not lean on an estimate from three values. Noise has heavy tails: a value far
off says little, wherever it lies.

After Burnashev and Zigangirov, An interval estimation problem for controlled observations, 1974;
Waeber, Frazier, Henderson, Bisection search with noisy responses, 2013, whose answers are yes
or no; these are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]

TAILS = ((0.94, 1.0), (0.03, 3.0), (0.03, 12.0))
"""The noise: so much of it is normal with so many times its standard deviation."""
SKEWS = ((0.6, 1.0, 1.0), (0.2, 1.4, 0.35), (0.2, 0.35, 1.4))
"""Prior, and how wide it is below and above the level. What is not alike on both sides is
exponential (Laplace), and not normal."""
NOISES = np.geomspace(0.001, 0.1, 9)
"""Standard deviations that are thought of, as parts of the value."""
USUAL_NOISE, NOISE_FACTOR = 0.01, 3.0
"""Log-normal prior: median, and the factor that is one standard deviation."""
DRIFTS = np.linspace(-0.06, 0.06, 13)
"""Of the machine, from the first measurement to the last, as parts of the value."""
USUAL_DRIFT = 0.005
"""Half of all drifts are smaller (Cauchy)."""
USUAL_CHANGE = 0.05
"""Half of all changes that are looked for are smaller, as parts of the value (Cauchy)."""
LEVELS = 41
"""Points of the grid for each of the two levels."""
LEVELS_WIDTH = 4.0
"""How far it reaches from the median of an end, in robust standard deviations."""
NEGLIGIBLE = 12.0
"""What is less likely than the best by more than this (natural logarithm) is left out."""
NO_VALUE = 0.01
"""Of the median: what stands for a value of 0, whose logarithm there is not."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """What the measurements say."""

    guilty: Numbers
    """By revision: the probability that it is the guilty one."""
    none: float
    """The probability that none is: both ends are alike."""
    change: float
    """Expected change from the good end's level to the bad one's, e.g. -0.03; if there is one."""
    noise: float
    """Expected standard deviation of one measurement, as a part of the value."""


def posterior(
    contains: Flags, measured: Sequence[tuple[int | None, float]], minimum_effect: float
) -> Posterior:
    """`contains[i, k]`: whether revision i is k or comes from it; the last revision is bad.

    `measured`: revision (None: the good end, which contains none of them) and value, in the
    order of measuring; at least one of each end. Changes below half of `minimum_effect` are not
    looked for.
    """
    values = np.array([value for _, value in measured], dtype=float)
    logs = np.log(np.maximum(values, NO_VALUE * max(float(np.median(values)), 1e-300)))
    last = len(contains) - 1
    good = np.array([at is None for at, _ in measured])
    bad = np.array([at == last for at, _ in measured])
    befores, afters = _levels(logs, good, bad)
    changes = afters[None, :] - befores[:, None]
    effect = max(-np.log1p(-minimum_effect / 2), 1e-6)
    # As a density over both levels: what the grid covers of it must not depend on the grid.
    step = befores[1] - befores[0]
    cauchy = step**2 / (np.pi * USUAL_CHANGE * (1 + (changes / USUAL_CHANGE) ** 2))
    prior = cauchy * (np.abs(changes) >= effect)

    with_it = np.array(
        [np.zeros(len(contains), bool) if at is None else contains[at] for at, _ in measured]
    )
    # Revisions that no measurement tells apart are as one.
    kinds, kind_of = np.unique(with_it.T, axis=0, return_inverse=True)
    kind_of = kind_of.ravel()
    count = contains.shape[1]
    share_of_kind = np.bincount(kind_of, minlength=len(kinds)) / count

    nuisance = _nuisances()
    at_before = _log_density(logs, befores, nuisance)
    at_after = _log_density(logs, afters, nuisance)
    alike = [nuisance.log_prior + _log_sum(at.sum(axis=1)) for at in (at_before, at_after)]
    alike_log = np.logaddexp(*alike) - np.log(2) + np.log(step)
    before_log = (~kinds).astype(float) @ at_before
    after_log = kinds.astype(float) @ at_after
    tops = before_log.max(axis=2), after_log.max(axis=2)
    scale = tops[0] + tops[1] + nuisance.log_prior[:, None]
    top = max(float(scale.max()), float(alike_log.max()))
    told = scale.max(axis=1) > top - NEGLIGIBLE
    scaled = np.exp(scale[told] - top)
    before = np.exp(before_log[told] - tops[0][told, :, None])
    after = np.exp(after_log[told] - tops[1][told, :, None])
    by_kind = np.einsum("nkl,nkl->nk", before @ prior, after) * scaled * share_of_kind
    moments = np.einsum("nkl,nkl->nk", before @ (prior * changes), after) * scaled * share_of_kind

    alike_by = np.exp(alike_log - top)
    none = float(alike_by.sum())
    changed = float(by_kind.sum())
    of_noise = (alike_by @ nuisance.noise) + float(by_kind.sum(axis=1) @ nuisance.noise[told])
    each = by_kind.sum(axis=0) / (share_of_kind * count)
    return Posterior(
        guilty=each[kind_of] / (changed + none),
        none=none / (changed + none),
        change=float(np.expm1(moments.sum() / changed)) if changed else 0.0,
        noise=float(of_noise) / (changed + none),
    )


@dataclass(frozen=True, slots=True)
class _Nuisances:
    """Each combination of drift, noise and skew that is thought of: the first axis below."""

    drift: Numbers
    noise: Numbers
    below: Numbers
    above: Numbers
    skewed: Flags
    log_prior: Numbers


@cache
def _nuisances() -> _Nuisances:
    every = [(drift, noise, *skew) for drift in DRIFTS for noise in NOISES for skew in SKEWS]
    drift, noise, shares, below, above = np.array(every, dtype=float).T
    off = np.log(noise / USUAL_NOISE) / np.log(NOISE_FACTOR)
    prior = shares * np.exp(-0.5 * off**2) / (1 + (drift / USUAL_DRIFT) ** 2)
    return _Nuisances(
        drift, noise, noise * below, noise * above, below != above, np.log(prior / prior.sum())
    )


def _levels(logs: Numbers, good: Flags, bad: Flags) -> tuple[Numbers, Numbers]:
    """Around the median of each end, as far as that may be off: equal steps."""
    middles = float(np.median(logs[good])), float(np.median(logs[bad]))
    off = np.abs(np.concatenate([logs[good] - middles[0], logs[bad] - middles[1]]))
    off = off[off > 0]
    spread = max(1.48 * float(np.median(off)) if len(off) else 0.0, float(NOISES[0]))
    grid = LEVELS_WIDTH * spread * np.linspace(-1, 1, LEVELS)
    return middles[0] + grid, middles[1] + grid


def _log_density(logs: Numbers, levels: Numbers, nuisance: _Nuisances) -> Numbers:
    """[nuisance, measurement, level]: heavy tails included; less the constant of the normal."""
    times = np.arange(len(logs)) / max(1, len(logs) - 1) - 0.5
    off = (logs - nuisance.drift[:, None] * times)[:, :, None] - levels
    below, above = nuisance.below[:, None, None], nuisance.above[:, None, None]
    widths: Singles = (off / np.where(off < 0, -below, above)).astype(np.float32)
    density = np.empty_like(widths)
    skewed = nuisance.skewed
    density[~skewed] = _tailed(-0.5 * widths[~skewed] ** 2, 2)
    density[skewed] = _tailed(-widths[skewed], 1) * np.sqrt(np.pi / 2)
    return np.asarray(np.log(density + 1e-30) - np.log((below + above) / 2))


def _tailed(exponent: Singles, power: int) -> Singles:
    """Single precision is enough for a density, and twice as quick."""
    total = np.zeros_like(exponent)
    for share, times in TAILS:
        total += share / times * np.exp(exponent / times**power)
    return total


def _log_sum(logs: Numbers) -> Numbers:
    """Over the last axis."""
    top = logs.max(axis=-1)
    return np.asarray(top + np.log(np.exp(logs - top[..., None]).sum(axis=-1)))
