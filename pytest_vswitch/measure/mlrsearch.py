"""Finds all goals at once with the MLRsearch package (draft-ietf-bmwg-mlrsearch, FD.io).

Our loads are totals over all directions, and so are the counts: MLRsearch only
compares loads with each other and lost frames with sent ones, so that any unit
does that is used throughout.
"""

from __future__ import annotations

import sys

from MLRsearch import (
    AbstractMeasurer,
    Config,
    MeasurementResult,
    MultipleLossRatioSearch,
    SearchGoal,
)

from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.measure.interval import Interval, Measure
from pytest_vswitch.measure.options import SearchOptions


class _Measurer(AbstractMeasurer):  # type: ignore[misc]
    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def measure(self, intended_duration: float, intended_load: float) -> MeasurementResult:
        trial = self._measure(intended_load, intended_duration)
        return MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            # Without `intended_count`, frames that the generator did not send are not lost.
            offered_count=trial.sent,
            loss_count=trial.lost,
        )


def search(measure: Measure, options: SearchOptions, max_pps: float) -> list[Interval]:
    """The interval of each goal, not looking above `max_pps`."""
    wanted = [_search_goal(goal, options) for goal in options.goals]
    config = Config()
    config.goals = dict.fromkeys(wanted)  # two names may stand for one loss ratio
    config.min_load, config.max_load = options.lowest_pps, max_pps
    config.warmup_duration = None  # the functional check has warmed the DUT up
    # The search ends by itself; MLRsearch would throw everything away at its time limit.
    config.search_duration_max = sys.float_info.max
    found = MultipleLossRatioSearch(config).search(_Measurer(measure), debug=lambda text: None)
    bounds = [(found[g].relevant_lower_bound, found[g].relevant_upper_bound) for g in wanted]
    return [
        (None if lower is None else float(lower), None if upper is None else float(upper))
        for lower, upper in bounds
    ]


def _search_goal(goal: Goal, options: SearchOptions) -> SearchGoal:
    duration_s = options.trial_duration_s
    return SearchGoal(
        loss_ratio=goal.loss_ratio,
        relative_width=options.precision,
        # A load meets a goal when at least half of its trial time does. A machine that
        # loses a burst of frames now and then, at any load, has an NDR all the same;
        # were one bad trial enough (0.0), it would be found far too low.
        exceed_ratio=0.5,
        # Three trials have a majority; the third is run only if the first two disagree.
        # FD.io asks for 21 s of trials of 1 s, and takes that much longer.
        duration_sum=options.deciding_trials * duration_s,
        # All trials last equally long. MLRsearch could begin with shorter ones, but a
        # DUT that stalls every few seconds passes those, and on a DUT that forwards
        # thousands of frames a second they are too few to tell 0.5 % loss from none.
        initial_trial_duration=duration_s,
        final_trial_duration=duration_s,
        # One coarser target first: single trials, twice the width. More of them save
        # no trials, because the received rate of an overloaded DUT is a good first hint.
        preceding_targets=1,
        # Steps outwards double (in logarithmic terms): the package's default, and the
        # smallest that it takes.
        expansion_coefficient=2,
        # A DUT that fails at the lowest load is a result, not an exception.
        fail_fast=False,
    )
