"""The rule of NFVbench (OPNFV, `docs/developer/design/ndrpdr.rst`): halves on a linear scale.

It begins at line rate, halves the range that is left, one trial a load, for all goals
that still share the range, and ends when that is narrower than 0.1 % of the line rate.
So the number of trials does not depend on the DUT, but what they tell does: of a DUT
that carries 1 % of its line rate, the rate is known to a tenth. `precision` is not heeded.

NFVbench calls 0.001 % of loss NDR and 0.1 % PDR; here it looks for the goals it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.measure.interval import Interval, Measure, known
from pytest_vswitch.measure.options import SearchOptions
from pytest_vswitch.measure.trial import Trial

LOAD_EPSILON = 0.001
"""The range at which it ends, as part of the line rate: NFVbench's default."""


def search(measure: Measure, options: SearchOptions, max_pps: float) -> list[Interval]:
    """The interval of each goal, not looking above `max_pps` nor below `lowest_pps`."""
    trials: list[Trial] = []

    def halve(low: float, high: float, goals: Sequence[Goal]) -> None:
        if not goals or high - low < LOAD_EPSILON * max_pps or high <= options.lowest_pps:
            return
        load = max((low + high) / 2, options.lowest_pps)
        trial = measure(load, options.trial_duration_s)
        trials.append(trial)
        met = [goal for goal in goals if trial.loss_ratio <= goal.loss_ratio]
        halve(low, load, [goal for goal in goals if goal not in met])
        halve(load, high, met)

    first = measure(max_pps, options.trial_duration_s)
    trials.append(first)
    halve(0.0, max_pps, [goal for goal in options.goals if first.loss_ratio > goal.loss_ratio])
    return [known(trials, goal) for goal in options.goals]
