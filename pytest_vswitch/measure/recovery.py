"""System recovery: how long a DUT still loses frames after an overload (RFC 2544 section 26.5).

The rate changes between two trials, not within one: on a real DUT a moment without frames
lies between them, in which it may recover unseen. That moment is measured and is part of the
stated interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_vswitch.measure import spread
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Bench
from pytest_vswitch.measure.trial import Trial

OVERLOAD = 1.1
"""Of the throughput."""
AFTERWARDS = 0.5
"""Of the overload."""
SHORTEST_S = 0.01
LONGEST_STEP_S = 0.1
"""The trials after the overload last this long [s]: the resolution."""
GROWTH = 0.25
"""Between the two, they last this part of the time since the overload."""
FEWEST_FRAMES = 20
"""Of such a trial."""
QUIET_S = 0.5
"""So long without loss ends the search for the last lost frame [s]."""
LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery after one overload [s since the overload's end]."""

    low_s: float
    """The last frame was lost at this time or later."""
    high_s: float
    """And not later than this."""
    steps: tuple[tuple[float, float], ...]
    """Loss ratio (0 to 1) over the time at which each trial began."""


@dataclass(frozen=True, slots=True)
class SystemRecovery:
    """All repeats."""

    recoveries: tuple[Recovery, ...]
    overload_pps: float
    afterwards_pps: float
    procedure: Mapping[str, str]
    doubts: tuple[str, ...]

    @property
    def recovered(self) -> bool:
        """Whether frames stopped being lost, each time."""
        return all(one.high_s <= LONGEST_S for one in self.recoveries)

    @property
    def outcome(self) -> Outcome:
        seen = self.recoveries
        middles = spread.of([(one.low_s + one.high_s) / 2 for one in seen], 0.0)
        half = max((one.high_s - one.low_s) / 2 for one in seen) + middles.error
        longest = max(seen, key=lambda one: one.high_s)
        return Outcome(
            source="RFC 2544 section 26.5",
            procedure=self.procedure,
            figures=(
                Figure(
                    "system recovery time",
                    middles.mean,
                    "s",
                    max(0.0, middles.mean - half),
                    middles.mean + half,
                ),
                Figure("longest of the repeats", longest.high_s, "s"),
                Figure("overload", self.overload_pps, "frames/s"),
                Figure("load afterwards", self.afterwards_pps, "frames/s"),
            ),
            curves=(
                Curve(
                    "Loss after the overload, the longest repeat",
                    *("time since its end", "s", "loss", "ratio"),
                    longest.steps,
                ),
            ),
            doubts=self.doubts,
        )


def system_recovery(bench: Bench, throughput_pps: float) -> SystemRecovery:
    """Overload the DUT, then offer half of that until nothing is lost any more.

    A loss that the DUT has at half load anyway is no sign of an overload: of such a DUT the
    search for the last lost frame ends after a minute. Raises what `TrialRunner.run` raises.
    """
    overload_s = bench.rules.overload_s
    overload_pps = min(OVERLOAD * throughput_pps, bench.line_rate_pps)
    afterwards_pps = AFTERWARDS * overload_pps
    recoveries, doubts = [], set()
    for _ in range(bench.rules.repeats):
        overload = bench.run(overload_pps, overload_s, phase="recovery: overload", pauses=False)
        if not overload.lost:
            doubts.add("the overload lost no frame: there was nothing to recover from")
        recoveries.append(_watched(bench, overload, afterwards_pps))
    if any(one.high_s > LONGEST_S for one in recoveries):
        doubts.add(f"frames were still lost {LONGEST_S:g} s after an overload")
    return SystemRecovery(
        recoveries=tuple(recoveries),
        overload_pps=overload_pps,
        afterwards_pps=afterwards_pps,
        procedure={
            **bench.procedure,
            "overload": f"{overload_s:g} s at {100 * OVERLOAD:.0f} % of the throughput, then "
            f"{100 * AFTERWARDS:.0f} % of that, without a pause",
            "resolution": f"trials of {SHORTEST_S:g} to {LONGEST_STEP_S:g} s, until nothing is "
            f"lost for {QUIET_S:g} s",
            "repeats": str(len(recoveries)),
        },
        doubts=tuple(sorted(doubts)),
    )


def _watched(bench: Bench, overload: Trial, rate_pps: float) -> Recovery:
    """Trials after the overload until it is quiet again."""
    now_s = overload.overhead_s
    low_s, high_s = 0.0, now_s  # nothing is known of the time before the first of them
    steps: list[tuple[float, float]] = []
    quiet_s = 0.0
    while quiet_s < QUIET_S and now_s < LONGEST_S:
        step_s = min(LONGEST_STEP_S, max(SHORTEST_S, GROWTH * now_s))
        step_s = max(step_s, FEWEST_FRAMES / rate_pps)
        trial = bench.run(rate_pps, step_s, phase="recovery: half load", pauses=False)
        steps.append((now_s, trial.loss_ratio))
        quiet_s = 0.0 if trial.lost else quiet_s + step_s
        if trial.lost:
            # Lost in a row from the beginning, at the earliest.
            low_s = now_s + (trial.lost - 1) / rate_pps
            high_s = now_s + step_s + trial.overhead_s
        now_s += step_s + trial.overhead_s
    bench.rest()
    return Recovery(low_s, high_s, tuple(steps))
