"""The interval that trials leave for the rate that is searched: shared by both searches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.measure.trial import Trial

Measure = Callable[[float, float], Trial]
"""(load [frames/s], duration [s]) -> a trial that says something about the DUT."""
Interval = tuple[float | None, float | None]
"""(highest load that met the goal, lowest load that did not) [frames/s]."""


def known(trials: Iterable[Trial], goal: Goal) -> Interval:
    """The lowest load that missed the goal, and the highest below it that met it.

    Loads above the lowest that failed are not trusted, even if they met the goal
    (a DUT may lose less at a higher load; the claim must hold for all loads below).
    """
    failed = [t.intended_pps for t in trials if t.loss_ratio > goal.loss_ratio]
    upper = min(failed, default=None)
    met = [
        t.intended_pps
        for t in trials
        if t.loss_ratio <= goal.loss_ratio and (upper is None or t.intended_pps < upper)
    ]
    return max(met, default=None), upper
