"""Thresholds made from what a run measured."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from statistics import median
from typing import TYPE_CHECKING

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.figure_limits import FIGURE_LIMITS, held_against
from pytest_vswitch.results.findings import finding, outcomes
from pytest_vswitch.results.record import Case, Record
from pytest_vswitch.results.verdict import p99_us, timed

if TYPE_CHECKING:
    from pytest_vswitch.lab.schema import Lab

DIGITS = 4
"""Significant digits of a threshold; finer than any search resolves."""


def derive(
    record: Record, margin_percent: float, *, latency: bool = False
) -> dict[str, dict[str, float]]:
    """Thresholds by case id: the median of the repeats, less the margin, rounded down.

    What must be small, like a time or a loss, gets the margin added and is rounded up. A
    case without a result is left out; of a case that was run again, the last results count.

    Args:
        record: the run.
        margin_percent: how far a later run may fall behind [%].
        latency: also ask for the 99th percentile of latency, with the margin added and
            rounded up.

    Raises:
        InputError: no case of the run has results.
    """
    found = {}
    for case in record.cases:
        if limits := dict(_limits(case, margin_percent / 100, latency)):
            found[case.id] = limits
    if not found:
        why = "; ".join(f"{case.id}: {case.error or case.verdict}" for case in record.cases[:3])
        raise InputError(
            f"run {record.run.id} has no results to make thresholds from"
            + (f" ({why})" if why else ": no case was begun")
        )
    return found


def refuse_mixing(record: Record, lab: Lab) -> None:
    """Raise InputError if simulated results would become a real lab's thresholds, or back."""
    simulated = lab.dut.host == "sim"
    if record.run.simulated == simulated:
        return
    of_run, of_lab = ("simulated", "real") if record.run.simulated else ("real", "simulated")
    raise InputError(
        f"run {record.run.id} is {of_run}, lab `{lab.name}` ({lab.where('dut', 'host')}) is "
        f"{of_lab}: thresholds of one say nothing about the other; choose another lab with --lab"
    )


def _limits(case: Case, margin: float, latency: bool) -> Iterator[tuple[str, float]]:
    if case.verdict in ("error", "incomplete"):
        return
    yield from _of_figures(case, margin)
    # Such a case searched the NDR only if no case before it had, to choose its load.
    goals = () if outcomes(case) else ("NDR", "PDR")
    for goal in goals:
        result = finding(case.measurements, goal)
        if result and result.value_pps:
            yield f"{goal.lower()}_pps", rounded(result.value_pps * (1 - margin), ROUND_FLOOR)
    delays = [delay for m in timed(case.measurements) if (delay := p99_us(m)) is not None]
    if latency and delays:
        yield "latency_p99_us", rounded(median(delays) * (1 + margin), ROUND_CEILING)


def _of_figures(case: Case, margin: float) -> Iterator[tuple[str, float]]:
    for name, rule in FIGURE_LIMITS.items():
        held = held_against(rule, case.measurements)
        found = [value for one in held if (value := rule.derived_from(one))]
        if found and rule.least:
            yield name, rounded(median(found) * (1 - margin) * rule.per_unit, ROUND_FLOOR)
        elif found:
            yield name, rounded(median(found) * (1 + margin) * rule.per_unit, ROUND_CEILING)


def rounded(value: float, rounding: str) -> float:
    """`value` to `DIGITS` significant digits: 35123.9 is 35120, rounded down."""
    exact = Decimal(f"{value:.12g}")  # 0.1 * 1.05 is no more than 0.105
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - DIGITS + 1), rounding))
