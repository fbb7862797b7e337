"""Rules that `benchmarks.verdicts` sets beside this project's: -1 worse, 1 better, 0 neither."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import jumpavg
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pytest_vswitch.results.statistics.judge import holm

Floats = NDArray[np.float64]
Signs = NDArray[np.float64]
Rule = Callable[[Floats, Floats], Signs]
"""Takes a row a case; more is better."""


def welch(before: Floats, after: Floats) -> Signs:
    """Welch's t-test, each case by itself at 1 %."""
    return np.where(_chances(before, after) <= 0.01, _sign(before, after), 0.0)


def welch_holm(before: Floats, after: Floats) -> Signs:
    """The same, corrected for all cases together after Holm at 5 %."""
    found = holm(_chances(before, after)) <= 0.05
    return np.where(found, _sign(before, after), 0.0)


def two_sigma(before: Floats, after: Floats) -> Signs:
    """The mean lies more than two standard deviations of the earlier runs from their mean."""
    far = np.abs(after.mean(1) - before.mean(1)) > 2 * before.std(1, ddof=1)
    return np.where(far, _sign(before, after), 0.0)


def percent(before: Floats, after: Floats) -> Signs:
    """pytest-benchmark's `--benchmark-compare-fail=mean:5%`: the mean is more than 5 % worse.

    To be fair to it, 5 % better counts as better, too.
    """
    far = np.abs(after.mean(1) / before.mean(1) - 1) > 0.05
    return np.where(far, _sign(before, after), 0.0)


def jump(before: Floats, after: Floats) -> Signs:
    """CSIT's jumpavg: it takes fewer bits to tell both sides as two groups than as one."""
    found = np.zeros(len(before))
    for row in range(len(before)):
        groups = jumpavg.classify([before[row].tolist(), after[row].tolist()])
        if len(groups) == 2:
            found[row] = {"regression": -1.0, "progression": 1.0}.get(groups[1].comment, 0.0)
    return found


RULES: dict[str, Rule] = {
    "jumpavg": jump,
    "2 sigma": two_sigma,
    "Welch": welch,
    "Welch, Holm": welch_holm,
    "mean:5%": percent,
}


def _chances(before: Floats, after: Floats) -> Floats:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, of runs that are all equal
        found = stats.ttest_ind(after, before, axis=1, equal_var=False).pvalue
    # Runs without any spread: equal sides are no change, others are one.
    return np.where(np.isfinite(found), found, np.where(_sign(before, after) == 0, 1.0, 0.0))


def _sign(before: Floats, after: Floats) -> Signs:
    return np.asarray(np.sign(after.mean(1) - before.mean(1)))
