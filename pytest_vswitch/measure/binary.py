"""The classic search of RFC 2544 section 26.1: one goal at a time, one trial decides a load.

It bisects on a logarithmic scale, because the load that is looked for may be 500
times below the line rate that it starts from, and takes the rate that came back
from an overloaded DUT as the hint where to look next.

It promises what RFC 2544 does: at `lower` a trial met the goal, at `upper` one did
not. Each load is tried once, so a single burst of noise below the true rate moves
the interval down for good; nothing in the result shows it.
"""

from __future__ import annotations

import math

from pytest_vswitch.measure.interval import Interval, Measure, known
from pytest_vswitch.measure.options import SearchOptions
from pytest_vswitch.measure.trial import Trial


def search(measure: Measure, options: SearchOptions, max_pps: float) -> list[Interval]:
    """The interval of each goal, not looking above `max_pps`.

    A load that was tried for one goal is not tried again for the next.
    """
    trials: dict[float, Trial] = {}
    intervals = []
    for goal in options.goals:
        step = options.precision
        while True:
            lower, upper = known(trials.values(), goal)
            if lower is not None and upper is not None:
                if upper - lower <= options.precision * upper:
                    break
                # Outwards from what is known in growing steps, then inwards by halves.
                load = min(math.sqrt(lower * upper), lower * (1 + step))
                step *= 2
            elif upper is not None:
                if upper <= options.lowest_pps:
                    break
                came_back = trials[upper].received / trials[upper].duration_s
                hint = came_back / (1 - goal.loss_ratio)
                load = max(options.lowest_pps, min(hint, upper / (1 + step)))
                step *= 2
            elif lower != max_pps:
                load = max_pps
            else:
                break
            trials[load] = measure(load, options.trial_duration_s)
        intervals.append((lower, upper))
    return intervals
