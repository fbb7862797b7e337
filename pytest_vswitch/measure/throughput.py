"""Throughput: the highest loads at which no more than a given part of the frames is lost.

RFC 2544 section 26.1 and RFC 1242 section 3.17 define it for a loss of none (NDR).

What a result promises, and how `benchmarks/search.py` measures it on 10,000 simulated DUTs
(precision 5 %, trials of 1 s; precision 1 %, trials of 5 s; all figures in docs/search.md):

- At `lower_pps` the goal was met and at `upper_pps` it was missed, in trials of this search:
  by one each (binary, nfvbench), by the majority of up to three (mlrsearch). With a hint of
  the same case, one trial is enough at `lower_pps` if it agrees (see `hinted`).
- The two are no further apart than the precision, unless the generator is the limit; with
  nfvbench, than 0.1 % of the line rate.
- On a DUT for which a load either always meets a goal or never does, the true rate
  lies between them, always: all searches, with right and wrong hints, 100 %.
- On a noisy DUT no search can promise that, because near its limit the same load
  meets the goal in one trial and misses it in the next. What mlrsearch promises there
  is an interval that reaches into that range of loads in at least 95 % of the searches
  (measured: 99 %) and, at a precision of 5 %, one that contains the load which half of
  all trials pass in at least 90 % (measured: 96 %). The others promise nothing there.
- A hint from an earlier run saves at least 30 % of the trial time (measured: 40 %), one that
  is wrong by three times costs at most 20 % more than none (measured: 16 %): over all DUTs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pytest_vswitch.errors import HostError
from pytest_vswitch.measure import binary, hinted, nfvbench
from pytest_vswitch.measure.goals import Goal, GoalResult
from pytest_vswitch.measure.hint import Hint
from pytest_vswitch.measure.interval import Interval, known
from pytest_vswitch.measure.options import SearchOptions
from pytest_vswitch.measure.runner import Focus, TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.topology import Port

SHORTFALL = 0.001
"""A generator that sends less than this part below what it was asked for keeps up."""
ATTEMPTS = 3
"""How often a trial is tried in which the generator did not keep up."""
MARGINS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
"""How far below what the generator offered the search starts again, each time it has to."""
FIRST_LOADS = 8
"""How many loads are tried until an interval is narrow, if nothing is known yet."""
FRAME_OVERHEAD_BYTES = 20
"""Preamble, start-of-frame delimiter and inter-frame gap of Ethernet."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one search found, and the trials it made."""

    results: tuple[GoalResult, ...]
    """One of each goal, in the order they were asked for."""
    trials: tuple[Trial, ...]


def line_rate_pps(ports: Iterable[Port], frame_bytes: float) -> float:
    """The most frames per second that the wires into all ports can carry together.

    Of several sizes, `frame_bytes` is the mean.
    """
    wire_bits = (frame_bytes + FRAME_OVERHEAD_BYTES) * 8
    return sum(port.line_rate_bps for port in ports) / wire_bits


def find_throughput(
    runner: TrialRunner, options: SearchOptions, hint: Hint | None = None
) -> Throughput:
    """Search for all goals between `options.lowest_pps` and the line rate of the ports.

    `hint` says where to look first; only mlrsearch heeds it (see `hinted`), the others
    are what their sources say. What is reported rests on the trials of this search.

    Where the generator does not keep up, and the DUT does not fail either, nothing is
    known about the DUT: the search starts again below what the generator truly offered.
    All trials are kept. Raises HostError when the generator keeps up with no load, and
    whatever `TrialRunner.run` raises.
    """
    first = len(runner.trials)
    mean_bytes = runner.profile.mean_bytes(runner.frame_bytes)
    max_pps = line_rate_pps(runner.topology.ports, mean_bytes)
    limit: Literal["line rate", "generator"] = "line rate"
    shortfalls = []
    for margin in MARGINS:
        try:
            intervals = _search(runner, options, max_pps, hint)
        except _GeneratorTooSlow as slow:
            shortfalls.append(f"{slow.offered_pps:,.0f} of {slow.asked_pps:,.0f}")
            max_pps, limit = slow.offered_pps * (1 - margin), "generator"
            if max_pps <= options.lowest_pps:
                break
            continue
        trials = runner.trials[first:]
        results = (
            _result(goal, found, max_pps, limit, trials)
            for goal, found in zip(options.goals, intervals, strict=True)
        )
        return Throughput(tuple(results), trials)
    raise HostError(
        f"{runner.generator.description} does not keep up with the loads it is asked for: "
        f"it offered {', '.join(shortfalls)} frames/s, at {ATTEMPTS} tries each. "
        "Give it cores of its own, or a machine of its own"
    )


class _GeneratorTooSlow(Exception):
    def __init__(self, asked_pps: float, offered_pps: float) -> None:
        super().__init__(asked_pps, offered_pps)
        self.asked_pps = asked_pps
        self.offered_pps = offered_pps


def _search(
    runner: TrialRunner, options: SearchOptions, max_pps: float, hint: Hint | None
) -> list[Interval]:
    """One search, not above `max_pps`. Raises _GeneratorTooSlow."""
    conclusive: list[Trial] = []
    loosest = max(goal.loss_ratio for goal in options.goals)

    def measure(load_pps: float, duration_s: float) -> Trial:
        best_pps = 0.0
        for _ in range(ATTEMPTS):
            trial = runner.run(load_pps, duration_s, _focus(conclusive, options))
            kept_up = trial.sent >= trial.intended * (1 - SHORTFALL)
            # Loss among the frames truly sent is the DUT's, and more of them would not
            # make it less: such a load has failed, however many frames are missing.
            if kept_up or trial.loss_ratio > loosest:
                conclusive.append(trial)
                return trial
            best_pps = max(best_pps, trial.offered_pps)
        raise _GeneratorTooSlow(load_pps, best_pps)

    if options.search == "nfvbench":
        return nfvbench.search(measure, options, max_pps)
    if hint is not None and options.heeds_hints:
        return hinted.search(measure, options, max_pps, hint)
    if options.search == "mlrsearch":
        from pytest_vswitch.measure import mlrsearch

        return mlrsearch.search(measure, options, max_pps)
    return binary.search(measure, options, max_pps)


def _result(
    goal: Goal,
    found: Interval,
    max_pps: float,
    limit: Literal["line rate", "generator"],
    trials: Sequence[Trial],
) -> GoalResult:
    lower, upper = found
    if lower is None:
        return GoalResult(goal, None, upper, "lowest load")
    lost = statistics.median_high(t.loss_ratio for t in trials if t.intended_pps == lower)
    conditional = lower * (1 - lost)
    if upper is not None:
        return GoalResult(goal, lower, upper, "dut", conditional)
    # A load above may have failed before the search had to start again further down.
    failed = [t.intended_pps for t in trials if t.loss_ratio > goal.loss_ratio]
    above = min((load for load in failed if load > max_pps), default=None)
    return GoalResult(goal, lower, above, limit, conditional)


def _focus(trials: Sequence[Trial], options: SearchOptions) -> Focus:
    """The goal that is known least well, and how long the search may still take, roughly."""
    widest, most, left = Focus(options.goals[0].name), -1, 0
    for goal in options.goals:
        lower, upper = known(trials, goal)
        halvings = FIRST_LOADS
        if lower is not None and upper is not None:
            widths = math.log(upper / lower) / -math.log1p(-options.precision)
            halvings = max(0, math.ceil(math.log2(widths)))
        left += halvings
        if halvings > most:
            widest, most = Focus(goal.name, lower, upper), halvings
    return replace(widest, left_s=max(1, left) * options.trial_duration_s)
