"""A search that starts where the rate was last time, and decides loads by majority.

The hinted interval is tried first, its upper end before its lower one: that end tells at
once whether the hint is far off, whichever way. If it is, the search goes on without it:
to the rate that came back from an overloaded DUT, or one step up and then to the highest
load. Inwards it halves, on a logarithmic scale; down from a load that just failed it takes
growing steps.

At both ends of the interval that it reports, trials of this search agree by majority of
up to `deciding_trials`. At the lower end, a hint of the very same case has one voice among
them, if the first trial there agrees: what disturbs a DUT makes it lose frames, never
forward more, so that a load which passed last time and passes now needs no second trial.
A hint that most trials contradict anywhere below has no voice, and none has one alone.
"""

from __future__ import annotations

import math
from collections import defaultdict

from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.measure.hint import Hint
from pytest_vswitch.measure.interval import Interval, Measure
from pytest_vswitch.measure.options import SearchOptions
from pytest_vswitch.measure.trial import Trial

STEP_UP = 0.1
"""How far above a hint that is too low is looked first [part of it]; then at the highest load."""


def search(
    measure: Measure, options: SearchOptions, max_pps: float, hint: Hint | None
) -> list[Interval]:
    """The interval of each goal, not looking above `max_pps`."""
    trials: dict[float, list[Trial]] = defaultdict(list)
    seekers = [_Seeker(goal, options, max_pps, hint, trials) for goal in options.goals]
    # The loosest goal has the highest loads, and those say most about a wrong hint.
    for seeker in sorted(seekers, key=lambda s: -s.goal.loss_ratio):
        while (load := seeker.next_load()) is not None:
            trials[load].append(measure(load, options.trial_duration_s))
    return [seeker.bounds() for seeker in seekers]


class _Seeker:
    """Narrows the interval of one goal down, with the trials of all."""

    def __init__(
        self,
        goal: Goal,
        options: SearchOptions,
        max_pps: float,
        hint: Hint | None,
        trials: dict[float, list[Trial]],
    ) -> None:
        self.goal = goal
        self._lowest, self._highest = options.lowest_pps, max_pps
        self._precision = options.precision
        self._majority = (options.deciding_trials + 1) // 2
        self._trials = trials
        self._step = options.precision
        self._stepped_up = False
        self._low: float | None = None
        self._high: float | None = None
        interval = hint.interval(goal) if hint else None
        if interval:
            self._low = min(max(interval.lower_pps, self._lowest), max_pps)
            if interval.upper_pps is not None and interval.upper_pps < max_pps:
                self._high = max(interval.upper_pps, self._lowest)
        self._vouched_pps = self._low if self._low and hint and hint.same_case else 0.0

    def bounds(self) -> Interval:
        """The lowest load that most trials miss at, and the highest below where most meet."""
        votes = {load: self._votes(load) for load in self._trials}
        upper = min((load for load, (met, missed) in votes.items() if missed > met), default=None)
        lower = max(
            (
                load
                for load, (met, missed) in votes.items()
                if met > missed and (upper is None or load < upper)
            ),
            default=None,
        )
        return lower, upper

    def next_load(self) -> float | None:
        """Where the next trial is made; None when both ends are decided."""
        lower, upper = self.bounds()
        torn = [
            load
            for load in self._trials
            if self._is_torn(load) and (lower or 0.0) < load < (upper or math.inf)
        ]
        if torn:
            return max(torn)
        if lower is None and upper is None:
            return self._high or self._low or self._highest
        if upper is None:
            assert lower is not None
            return self._upwards(lower)
        if lower is None:
            return self._downwards(upper) if upper > self._lowest else self._undecided(upper)
        if upper - lower > self._precision * upper:
            return self._between(lower, upper)
        return self._undecided(lower) or self._undecided(upper)

    def _upwards(self, lower: float) -> float | None:
        if lower >= self._highest:
            return self._undecided(lower)
        if self._high and self._high > lower:
            return self._high
        if self._low and not self._stepped_up:
            # Far enough to overload a DUT that is not much faster: what comes back says most.
            self._stepped_up = True
            return min(lower * (1 + max(STEP_UP, 2 * self._precision)), self._highest)
        return self._highest

    def _downwards(self, upper: float) -> float:
        carried = self._carried(upper)
        for hinted in (self._high, self._low):
            # One that is no better than what is known, or that the DUT cannot carry, is none.
            if hinted and hinted < upper / (1 + self._precision / 2) and hinted <= carried:
                return hinted
        if carried >= upper / (1 + self._step):
            step, self._step = self._step, 2 * self._step
            carried = upper / (1 + step)
        return max(self._lowest, carried)

    def _between(self, lower: float, upper: float) -> float:
        margin = 1 + self._precision / 2
        for hinted in (self._high, self._low):
            if hinted and lower * margin < hinted < upper / margin:
                return hinted
        middle = math.sqrt(lower * upper)
        carried = self._carried(upper)
        if carried > lower * margin and carried < upper / (1 + self._step):
            return carried
        if carried > middle:
            step, self._step = self._step, 2 * self._step
            return max(middle, upper / (1 + step))
        step, self._step = self._step, 2 * self._step
        return min(middle, lower * (1 + step))

    def _carried(self, upper: float) -> float:
        """The load that the DUT could carry when it was offered one that failed."""
        trial = self._trials[upper][-1]
        came_back = trial.received / trial.duration_s / (1 - self.goal.loss_ratio)
        # Not quite: at its very limit, trials of a DUT contradict each other.
        return came_back * (1 - self._precision / 2)

    def _undecided(self, load: float) -> float | None:
        """This load, unless a majority has decided it."""
        return None if max(self._votes(load)) >= self._majority else load

    def _is_torn(self, load: float) -> bool:
        met, missed = self._votes(load)
        return met == missed

    def _votes(self, load: float) -> tuple[int, int]:
        """(met, missed) at this load, with the hint's voice where the first trial agrees."""
        verdicts = self._verdicts(load)
        met = sum(verdicts)
        voice = verdicts[:1] == [True] and self._vouched_pps >= load and not self._is_contradicted()
        return met + voice, len(verdicts) - met

    def _is_contradicted(self) -> bool:
        """Whether most trials missed the goal at a load at which the hint says it was met."""
        return any(
            load <= self._vouched_pps and sum(verdicts := self._verdicts(load)) * 2 < len(verdicts)
            for load in self._trials
        )

    def _verdicts(self, load: float) -> list[bool]:
        """Whether each trial at this load met the goal."""
        return [trial.loss_ratio <= self.goal.loss_ratio for trial in self._trials[load]]
