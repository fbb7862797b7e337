"""What a reader has to know beside a verdict."""

from __future__ import annotations

from pytest_vswitch.results.statistics.comparison import Differences
from pytest_vswitch.results.statistics.sides import Sides


def notes(sides: Sides, found: Differences, row: int) -> tuple[str, ...]:
    """What makes the judgement of a pair weaker than it looks."""
    before, after = int(sides.before.counts[row]), int(sides.after.counts[row])
    dropped = int(sides.before.dropped[row] + sides.after.dropped[row])
    told = []
    if not before or not after:
        told.append(f"no number on the side {'after' if before else 'before'}")
    elif before + after == 2:
        told.append(
            "one run a side" + (": the noise is that of like cases" if found.shared[row] else "")
        )
    if dropped:
        told.append(f"{dropped} values are no numbers")
    if left_out := int(found.left_out[row]):
        told.append(f"{left_out} of {before + after} runs left out: far off their side's others")
    if found.modes[row]:
        told.append("the runs fall into two groups, and each side has been in both")
    if found.drift.found[row]:
        told.append("numbers drifted from run to run; that is taken out")
    elif not found.drift.in_turns[row]:
        told.append("one side was measured after the other: a drift would look like a change")
    if found.slack[row] > 0.1 * found.error[row]:
        told.append("the search intervals are wider than the noise")
    if found.unlimited_below[row] and found.unlimited_above[row]:
        told.append("both sides are at the end of what could be measured")
    elif found.unlimited_below[row] or found.unlimited_above[row]:
        told.append("one side is at the end of what could be measured: the change may be larger")
    return tuple(told)
