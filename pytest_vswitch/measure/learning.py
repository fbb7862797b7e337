"""How fast a DUT learns new flows, and how many it can hold (RFC 2889 sections 5.7 and 5.8).

RFC 2889 counts MAC addresses of a bridge; a flow here is whatever a `Profile` varies, so a DUT
with a table of flows is measured in the same way. Frames of a flow that is not known are lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Rules, pause_for
from pytest_vswitch.measure.runner import Focus, TrialRunner
from pytest_vswitch.measure.trial import Trial

LOWEST_PER_S = 50.0
"""RFC 2889 section 5.8: the slowest rate of learning worth a measurement."""
PRECISION = 0.05
AT_RATE = 100
"""Flows of each direction with which the rate is looked for."""
SAFE = 0.5
"""Part of the rate found at which the number of flows is looked for."""
FORGOTTEN_AFTER_S = 10.0
"""After so long a flow without frames is new again, to Open vSwitch (`max-idle`) [s]."""
LONGEST = 6
"""No trial takes longer than so many usual ones."""
TRIES = 2
"""A loss counts when frames are lost again: others than those of new flows may be lost."""
PASSES = 2
"""How often each flow has its turn in a trial, at least."""


@dataclass(frozen=True, slots=True)
class Learning:
    """Flows are those of all directions together."""

    low_per_s: float | None
    """New flows per second that were all learned; None if no rate was slow enough."""
    high_per_s: float | None
    """That were not; None if none was tried that fast."""
    low_flows: int
    """That were all held."""
    high_flows: int | None
    """That were not; None if no more could be sent."""
    tried: tuple[tuple[float, float], ...]
    """Loss ratio (0 to 1) by number of flows."""
    procedure: Mapping[str, str]

    @property
    def outcome(self) -> Outcome:
        return Outcome(
            source="RFC 2889 sections 5.7 and 5.8",
            procedure=self.procedure,
            figures=(
                Figure(
                    "flows learned per second",
                    self.low_per_s,
                    "flows/s",
                    self.low_per_s or 0.0,
                    self.high_per_s,
                ),
                Figure("flows held", self.low_flows, "flows", self.low_flows, self.high_flows),
            ),
            curves=(
                Curve(
                    "Loss over flows",
                    *("flows", "flows", "loss", "ratio"),
                    tuple(sorted(self.tried)),
                    float(self.low_flows),
                ),
            ),
        )


def learning(
    runner: Callable[[int], TrialRunner],
    rules: Rules,
    *,
    most_flows: int,
    throughput_pps: float,
    forgotten_after_s: float = FORGOTTEN_AFTER_S,
    longest_s: float | None = None,
) -> Learning:
    """`runner` gives trials of so many flows of each direction, `most_flows` at most.

    No trial takes more than `longest_s` (else `LONGEST`), so a slow DUT is not asked to hold
    them all. Between two trials the DUT is left alone for `forgotten_after_s`, its aging
    time, so that all flows are new to the next. Raises InputError when the generator sends
    too few flows.
    """
    if most_flows <= AT_RATE:
        raise InputError(
            f"the generator can send {most_flows} flows; learning is measured with more than "
            f"{AT_RATE}"
        )
    first = runner(AT_RATE)
    directions = len(first.topology.ports)
    pause = pause_for(first.generator)

    def trial(flows: int, rate_pps: float) -> Trial:
        duration_s = max(rules.trial_s, PASSES * flows * directions / rate_pps)
        made = runner(flows).run(rate_pps, duration_s, Focus(f"learning {flows:,} flows"))
        pause(forgotten_after_s)
        return made

    def learned(rate_pps: float) -> bool:
        return any(not trial(AT_RATE, rate_pps).lost for _ in range(TRIES))

    low, high = bisect(learned, LOWEST_PER_S, throughput_pps)
    rate_pps = SAFE * (low or LOWEST_PER_S)
    tried: list[tuple[float, float]] = []

    def held(flows: float) -> bool:
        for _ in range(TRIES):
            made = trial(round(flows), rate_pps)
            tried.append((float(round(flows) * directions), made.loss_ratio))
            if not made.lost:
                return True
        return False

    in_time = int((longest_s or LONGEST * rules.trial_s) * rate_pps / PASSES / directions)
    fewest, most = bisect(held, AT_RATE, max(AT_RATE, min(most_flows, in_time)))
    return Learning(
        low_per_s=low,
        high_per_s=high,
        low_flows=round(fewest or 0) * directions,
        high_flows=None if most is None else round(most) * directions,
        tried=tuple(tried),
        procedure={
            "rate": f"looked for with {AT_RATE * directions} flows, to {PRECISION:.0%}",
            "number": f"looked for at {rate_pps:,.0f} frames/s, to {PRECISION:.0%}",
            "pause for aging": f"{forgotten_after_s:g} s after each trial",
        },
    )


def bisect(
    good: Callable[[float], bool], lowest: float, highest: float
) -> tuple[float | None, float | None]:
    """The highest value that is good, and the lowest above that is not; None if none is."""
    if good(highest):
        return highest, None
    if not good(lowest):
        return None, lowest
    low, high = lowest, highest
    while high - low > max(1.0, PRECISION * high):
        middle = math.sqrt(low * high)
        if good(middle):
            low = middle
        else:
            high = middle
    return low, high
