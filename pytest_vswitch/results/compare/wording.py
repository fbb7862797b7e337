"""A judgement in words and numbers, the same in the terminal, the reports and the messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timezone

from pytest_vswitch.results import units
from pytest_vswitch.results.compare.comparison import Comparison, Row
from pytest_vswitch.results.compare.sides import Side
from pytest_vswitch.results.statistics.pair import Judgement, Verdict


def change(judgement: Judgement) -> str:
    """The relative change with its interval, e.g. `-5.00 % (-5.62 to -4.41 %)`."""
    bounds = interval(judgement)
    if judgement.change is None:
        return f"not known ({bounds})" if bounds else "not known"
    return f"{percent(judgement.change)} ({bounds})" if bounds else percent(judgement.change)


def interval(judgement: Judgement) -> str:
    """Empty when nothing limits the change."""
    low, high = judgement.low, judgement.high
    if low is None:
        return "" if high is None else f"at most {percent(high)}"
    if high is None:
        return f"at least {percent(low)}"
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def percent(ratio: float) -> str:
    """A change with its sign, to a hundredth of a percent below ten, e.g. `-0.51 %`."""
    value = 100 * ratio
    digits = 2 if abs(value) < 9.995 else 1
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f} %" if float(text) == 0 else f"{text} %"


def probability(p_value: float | None) -> str:
    """E.g. `0.034`, `< 0.0001`; `n/a` when nothing could be tested."""
    if p_value is None:
        return units.UNKNOWN
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.2g}"


def more_runs(judgement: Judgement) -> str:
    """What would tell; empty when it is told already, or runs cannot."""
    if judgement.verdict != "can't tell" or judgement.more_runs is None:
        return ""
    runs = "1 more run" if judgement.more_runs == 1 else f"{judgement.more_runs} more runs"
    return f"about {runs} of each side would tell"


def counts(tally: Mapping[Verdict, int]) -> str:
    """E.g. `1 worse, 3 same`."""
    return ", ".join(f"{count} {verdict}" for verdict, count in tally.items())


def medians(row: Row) -> tuple[str, str]:
    """Of both sides, with as many digits as it takes to tell them apart."""
    if row.unit == "frames/s":
        return units.rates_apart(row.median_before, row.median_after)
    return units.quantity(row.median_before, row.unit), units.quantity(row.median_after, row.unit)


def remarks(row: Row, told_before: Collection[str] = ()) -> tuple[str, ...]:
    """What a reader of the row has to know beside its numbers, a sentence each."""
    notes = (note for note in row.judgement.notes if note not in told_before)
    told = [more_runs(row.judgement), *notes]
    before, after = row.hop_before, row.hop_after
    if before and after and before != after:
        told.append(f"frames are lost first in {after}; before, in {before}")
    elif row.judgement.verdict == "worse" and after:
        told.append(f"frames are lost first in {after}")
    return tuple(filter(None, told))


def usual(comparison: Comparison) -> tuple[str, ...]:
    """What `remarks` need not say of each row."""
    rows = len(comparison.rows)
    return tuple(f"{count} of {rows} numbers: {note}" for note, count in comparison.usual.items())


def side(one: Side) -> str:
    """E.g. `5 runs, 2026-11-16 to 2026-11-20`."""
    runs = "1 run" if len(one.runs) == 1 else f"{len(one.runs)} runs"
    first, last = (
        f"{datetime.fromtimestamp(sample.at_s, timezone.utc):%Y-%m-%d %H:%M}"
        for sample in (one.samples[0], one.samples[-1])
    )
    labs = ", ".join(dict.fromkeys(sample.lab for sample in one.samples))
    return f"{runs} in lab {labs}, {first if first == last else f'{first} to {last}'} UTC"
