"""What a case's measurements say: the reported value, its interval, the trials behind it.

The template, the thresholds, the terminal summary and the report all read the
measurements through this module, so that they can never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pytest_vswitch.measure.goals import Goal, GoalResult
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import units
from pytest_vswitch.results.record import Case, Measurement


@dataclass(frozen=True, slots=True)
class Finding:
    """One goal over all repeats of a case. Rates are totals over all directions."""

    goal: Goal
    value_pps: float | None
    """The reported value: the median of the repeats [frames/s]; a repeat that found
    none counts as below all others. None when the median repeat found none."""
    lowest_pps: float | None
    """Smallest value of the repeats that found one."""
    highest_pps: float | None
    """Largest value of the repeats that found one."""
    repeats: int
    found: int
    """Repeats that found a value."""
    measurement: Measurement
    """The repeat whose value is nearest to the reported one: its trials are the evidence."""
    result: GoalResult
    """That repeat's result."""

    @property
    def interval(self) -> str:
        """How sure the value is, for a reader."""
        if self.value_pps is None:
            return f"not found in {self.repeats - self.found} of {self.repeats} searches"
        if self.repeats > 1:
            low, high = self.lowest_pps or 0.0, self.highest_pps or 0.0
            spread = units.rate(low) + " each" if low == high else units.rate_span(low, high)
            missed = "" if self.found == self.repeats else f", {self.found} of which found one"
            return f"median of {self.repeats} searches{missed}: {spread}"
        if self.result.upper_pps is None:
            return "no higher load was tried"
        return f"between {units.rate_span(self.value_pps, self.result.upper_pps, 'and')}"


def outcomes(case: Case) -> tuple[Measurement, ...]:
    """The measurements that are no search and came to their end."""
    return tuple(m for m in case.measurements if m.outcome is not None)


def event_facts(case: Case) -> Mapping[str, str]:
    """What was seen of the events that were measured in place of a search, e.g. a migration.

    The last of them, if there are several; it stands at the first hop of its trial.
    """
    ended = [
        m
        for m in case.measurements
        if m.elapsed_s is not None and not m.results and m.outcome is None
    ]
    first = [path[0] for m in ended for trial in m.trials for path in trial.paths[:1]]
    return first[-1].facts if first else {}


def finding(measurements: Sequence[Measurement], goal: str) -> Finding | None:
    """The goal of that name (`NDR`, `PDR`) over all repeats; None if none has its result."""
    pairs = [(m, r) for m in measurements for r in m.results if r.goal.name == goal]
    if not pairs:
        return None
    values = [-math.inf if r.lower_pps is None else r.lower_pps for _, r in pairs]
    middle = median(values)
    found = [value for value in values if math.isfinite(value)]
    nearest = min(
        range(len(pairs)),
        key=lambda i: 0.0 if values[i] == middle else abs(values[i] - middle),
    )
    return Finding(
        goal=pairs[0][1].goal,
        value_pps=middle if math.isfinite(middle) else None,
        lowest_pps=min(found, default=None),
        highest_pps=max(found, default=None),
        repeats=len(pairs),
        found=len(found),
        measurement=pairs[nearest][0],
        result=pairs[nearest][1],
    )


def headline(case: Case) -> Finding | None:
    """The case's reported number: its NDR, or its first goal if NDR is not among them."""
    names = [goal.name for goal in case.goals]
    if not names:
        return None
    return finding(case.measurements, "NDR" if "NDR" in names else names[0])


def trials_at(measurement: Measurement, result: GoalResult) -> tuple[Trial, ...]:
    """The trials at the reported load that met the goal.

    When the search reports a load between those it tried, the ones at the
    highest load below it.
    """
    if result.lower_pps is None:
        return ()
    ceiling = result.lower_pps * (1 + 1e-6)
    good = [
        t
        for t in measurement.trials
        if t.intended_pps <= ceiling and t.loss_ratio <= result.goal.loss_ratio
    ]
    highest = max((t.intended_pps for t in good), default=0.0)
    return tuple(t for t in good if math.isclose(t.intended_pps, highest, rel_tol=1e-6))


def first_failing(measurement: Measurement, result: GoalResult) -> Trial | None:
    """The trial at the lowest load above the reported one that missed the goal.

    Of several at that load, the one that lost most. None when none missed it.
    """
    floor = (result.lower_pps or 0.0) * (1 + 1e-6)
    failed = [
        t
        for t in measurement.trials
        if t.intended_pps > floor and t.loss_ratio > result.goal.loss_ratio
    ]
    return min(failed, key=lambda t: (t.intended_pps, -t.loss_ratio), default=None)


def limiter(found: Finding) -> str:
    """What kept the number from being higher, for a reader."""
    match found.result.limited_by:
        case "line rate":
            return "line rate: there is no higher load"
        case "generator":
            return "the traffic generator, not the DUT: it could not offer more"
        case "lowest load" | "dut":
            trial = first_failing(found.measurement, found.result)
            return "the DUT" if trial is None else losses(trial)


def losses(trial: Trial) -> str:
    """Where a trial lost its frames, e.g. `guest testpmd: ... (120 of 130 lost frames)`."""
    lost = f"{units.frames(trial.lost)} lost frames at {units.rate(trial.intended_pps)}"
    hop = trial.lossy_hop
    if hop is None:
        return f"no hop of the DUT ({lost})"
    return f"{hop.name} ({units.frames(hop.lost)} of {lost})"
