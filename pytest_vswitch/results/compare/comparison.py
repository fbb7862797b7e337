"""Two sides held against each other, case by case."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, get_args

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.compare import environments
from pytest_vswitch.results.compare.environments import Difference
from pytest_vswitch.results.compare.sides import Side
from pytest_vswitch.results.sample import Better, Sample
from pytest_vswitch.results.statistics.pair import Judgement, Measured, Options, Pair, Verdict

GroupBy = Literal["suite", "frame size", "hop"]
GROUPINGS: tuple[GroupBy, ...] = get_args(GroupBy)

WORST_FIRST: tuple[Verdict, ...] = ("worse", "can't tell", "better", "same")
UNKNOWN_HOP = "no hop known"

ENOUGH_RUNS = 3
"""So many runs show how runs differ from one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of one case, on both sides."""

    suite: str
    case: str
    metric: str
    unit: str
    better: Better
    before: tuple[Sample, ...]
    after: tuple[Sample, ...]
    counted: tuple[int, int]
    """How many values of each side were judged: of runs, or of measurements, see `pair`."""
    judgement: Judgement

    @property
    def median_before(self) -> float:
        return median(sample.value for sample in self.before)

    @property
    def median_after(self) -> float:
        return median(sample.value for sample in self.after)

    @property
    def hop_before(self) -> str:
        """Where frames were lost first, in most of the measurements; empty if nobody knows."""
        return _hop(self.before)

    @property
    def hop_after(self) -> str:
        return _hop(self.after)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that have something in common."""

    name: str
    rows: tuple[Row, ...]
    """The worst first."""

    @property
    def tally(self) -> Mapping[Verdict, int]:
        """How many of each verdict; those that there are."""
        return tally(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of two sides."""

    before: Side
    after: Side
    options: Options
    differences: tuple[Difference, ...]
    """Between the environments of the cases that both have."""
    despite: tuple[str, ...]
    """Why the two do not really compare; empty when they do."""
    doubts: tuple[str, ...]
    """What the numbers do not show, a sentence each."""
    group_by: GroupBy
    groups: tuple[Group, ...]
    only_before: tuple[str, ...]
    """`case metric` of what the other side lacks."""
    only_after: tuple[str, ...]

    @property
    def usual(self) -> Mapping[str, int]:
        """Notes of more than half of the rows, and of how many: to be told once only."""
        rows = self.rows
        counts = Counter(note for row in rows for note in row.judgement.notes)
        return {note: count for note, count in counts.items() if 2 * count > len(rows) > 1}

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def tally(self) -> Mapping[Verdict, int]:
        return tally(self.rows)

    @property
    def simulated(self) -> bool:
        return any(
            sample.simulated for side in (self.before, self.after) for sample in side.samples
        )


def compare(
    before: Side,
    after: Side,
    options: Options,
    *,
    group_by: GroupBy = "suite",
    anyway: bool = False,
) -> Comparison:
    """Judge every metric of every case that both sides have.

    Raises InputError, with the reasons, for sides that do not compare, unless `anyway`; and
    for sides that have nothing in common.
    """
    ones, others = _by_number(before.samples), _by_number(after.samples)
    both = [key for key in ones if key in others]
    if not both:
        raise InputError(_nothing_common(before, after))
    common = [[s for key in both for s in side[key]] for side in (ones, others)]
    reasons = environments.refusals(*common)
    if reasons and not anyway:
        listed = "\n".join(f"- {reason}" for reason in reasons)
        raise InputError(
            f"{before.name} and {after.name} do not compare:\n{listed}\n"
            "--lab LAB takes the runs of one lab; --anyway compares them all the same"
        )
    rows = judged([(ones[key], others[key]) for key in both], options)
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(_group(row, group_by), []).append(row)
    return Comparison(
        before=before,
        after=after,
        options=options,
        differences=environments.differences(*common),
        despite=reasons,
        doubts=tuple(_doubts(before, after)),
        group_by=group_by,
        groups=tuple(
            Group(name, tuple(sorted(grouped[name], key=_worst_first)))
            for name in sorted(grouped, key=_in_order)
        ),
        only_before=tuple(" ".join(key) for key in ones if key not in others),
        only_after=tuple(" ".join(key) for key in others if key not in ones),
    )


def pair(before: Sequence[Sample], after: Sequence[Sample], noise: float | None = None) -> Pair:
    """Two sides' values of one number, for the statistics. Cases of a suite are alike.

    Repeats within a run know nothing of what differs from run to run. So once a side has
    `ENOUGH_RUNS`, a run of either side counts once, by the median of its repeats.
    """
    one = (*before, *after)[0]
    runs = (len({sample.run for sample in side}) for side in (before, after))
    by_run = max(runs) >= ENOUGH_RUNS
    return Pair(
        case=one.case,
        metric=one.metric,
        better=one.better,
        group=one.suite,
        before=_measured(before, by_run=by_run),
        after=_measured(after, by_run=by_run),
        noise=noise,
    )


def judged(
    sides: Sequence[tuple[Sequence[Sample], Sequence[Sample]]],
    options: Options,
    noise: Mapping[Number, float] | None = None,
) -> list[Row]:
    """A row for each two sides of one number, whose noise may be known from earlier runs."""
    from pytest_vswitch.results.statistics.judge import judge  # scipy: only once it is needed

    known = noise or {}
    pairs = [
        pair(before, after, known.get((after[0].case, after[0].metric))) for before, after in sides
    ]
    return [
        Row(
            suite=after[-1].suite,
            case=after[-1].case,
            metric=after[-1].metric,
            unit=after[-1].unit,
            better=after[-1].better,
            before=tuple(before),
            after=tuple(after),
            counted=(len(one.before), len(one.after)),
            judgement=judgement,
        )
        for (before, after), one, judgement in zip(sides, pairs, judge(pairs, options), strict=True)
    ]


def tally(rows: Sequence[Row]) -> dict[Verdict, int]:
    counts = Counter(row.judgement.verdict for row in rows)
    return {verdict: counts[verdict] for verdict in WORST_FIRST if counts[verdict]}


Number = tuple[str, str]
"""Case and metric."""


def _by_number(samples: Sequence[Sample]) -> dict[Number, list[Sample]]:
    found: dict[Number, list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.case, sample.metric), []).append(sample)
    return found


def _measured(side: Sequence[Sample], *, by_run: bool) -> tuple[Measured, ...]:
    units: dict[object, list[Sample]] = {}
    for place, sample in enumerate(side):
        units.setdefault(sample.run if by_run else place, []).append(sample)
    return tuple(map(_middle, units.values()))


def _middle(repeats: Sequence[Sample]) -> Measured:
    lows, highs = ([getattr(s, name) for s in repeats] for name in ("low", "high"))
    return Measured(
        value=median(sample.value for sample in repeats),
        low=None if None in lows else median(lows),
        high=None if None in highs else median(highs),
        censored=2 * sum(sample.censored for sample in repeats) > len(repeats),
        at_s=repeats[0].at_s,
        order=repeats[0].order,
    )


def _doubts(before: Side, after: Side) -> list[str]:
    told = [*before.left_out, *after.left_out]
    ones, others = ({(s.run, s.order) for s in side.samples} for side in (before, after))
    if ones & others:
        told.append("both sides have measurements of the same run in common")
    elif before.runs != after.runs and 1 in (len(before.runs), len(after.runs)):
        told.append(
            "a side is one run: what changes from one start of the programs to the next, or "
            "from one hour to the next, shows as a difference of the two"
        )
    return told


def _nothing_common(before: Side, after: Side) -> str:
    def some(side: Side) -> str:
        cases = list(dict.fromkeys(f"{s.case} {s.metric}" for s in side.samples))
        return ", ".join(cases[:3]) + (f" and {len(cases) - 3} more" if len(cases) > 3 else "")

    return (
        f"{before.name} and {after.name} have no case in common; {before.name} has "
        f"{some(before)}, and {after.name} has {some(after)}"
    )


def _hop(samples: Sequence[Sample]) -> str:
    known = Counter(sample.lossy_hop for sample in samples if sample.lossy_hop)
    return known.most_common(1)[0][0] if known else ""


def _group(row: Row, group_by: GroupBy) -> str:
    match group_by:
        case "suite":
            return row.suite
        case "frame size":
            found = re.search(r"[:,]frame_bytes=(\d+)", row.case)
            return f"{found[1]} bytes" if found else "no frame size"
        case "hop":
            return row.hop_after or row.hop_before or UNKNOWN_HOP


def _in_order(name: str) -> tuple[int, str]:
    """Sizes by size; what is not known stands last."""
    first = name.split()[0] if name else ""
    return (int(first) if first.isdecimal() else 2**31, name)


def _worst_first(row: Row) -> tuple[int, float]:
    change = row.judgement.change
    return (WORST_FIRST.index(row.judgement.verdict), -abs(change) if change is not None else 0.0)
