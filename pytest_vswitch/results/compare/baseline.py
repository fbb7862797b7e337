"""A run under way, held case by case against earlier ones (`--baseline`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import NormalDist, median

from pytest_vswitch.results import units
from pytest_vswitch.results.compare import environments, wording
from pytest_vswitch.results.compare.comparison import Number, Row, judged
from pytest_vswitch.results.compare.sides import Side, Where, find
from pytest_vswitch.results.findings import finding, limiter
from pytest_vswitch.results.record import BaselineCheck, Case, Record
from pytest_vswitch.results.sample import Sample, comparable, samples
from pytest_vswitch.results.statistics.pair import Options
from pytest_vswitch.results.store.history import Selection

RUNS_OF_NOISE = 40
"""So many of the lab's newest runs show how much results differ from run to run."""
ENOUGH_STEPS = 5
"""From so many steps from one run to the next on, they are believed."""
LEAST_NOISE = 0.001
"""No DUT is quieter than this; one that seems so has not been looked at long enough."""
TAIL = 1.4
"""Of an exponential tail's scale, to noise that is told by the median of steps."""
STEP = NormalDist().inv_cdf(0.75) * 2**0.5
"""Median distance of two values, of normal noise with a standard deviation of 1."""

ALARMS = 0.05
"""Of runs in which nothing changed, so many at most may call a case worse."""


@dataclass(frozen=True, slots=True)
class _Past:
    """How much one number differs from run to run; both as part of it."""

    noise: float
    """Standard deviation of a run."""
    farthest: float
    """The worst run, from the median of its environment's runs."""


class Baseline:
    """What each case of the run under way is held against."""

    def __init__(self, name: str, where: Where, drop: float) -> None:
        """`drop` is the relative change that is allowed.

        Raises InputError, with what there is, when `name` means nothing.
        """
        self.side: Side = find(name, where)
        self.cases_to_come = 1
        """How many cases the run is about to hold against it: each is a chance of an alarm."""
        self._drop = drop
        self._before: dict[Number, list[Sample]] = {}
        for sample in self.side.samples:
            self._before.setdefault((sample.case, sample.metric), []).append(sample)
        self._past = _past(where)

    def hold(self, record: Record) -> tuple[BaselineCheck, ...]:
        """`record` is the run under way with the one case that has just been measured.

        A case that the baseline lacks, or that does not compare, is told so, and is no miss.
        """
        (case,) = record.cases
        now: dict[str, list[Sample]] = {}
        for sample in samples(record):
            now.setdefault(sample.metric, []).append(sample)
        name = comparable(case)
        before = {metric: found for (of, metric), found in self._before.items() if of == name}
        if not before:
            return (self._untold(f"the baseline {self.side.name} has no case {name}"),)
        lost = [
            self._lost(case, metric, before[metric])
            for metric in before
            if metric not in now and any(goal.name == metric for goal in case.goals)
        ]
        both = {metric: (before[metric], now[metric]) for metric in now if metric in before}
        if not both:
            return tuple(lost) or (
                self._untold(f"the baseline {self.side.name} has no number of this kind"),
            )
        sides = [[s for pair in both.values() for s in pair[place]] for place in (0, 1)]
        if reasons := environments.refusals(*sides):
            why = "; ".join(reasons)
            return (self._untold(f"the baseline {self.side.name} does not compare: {why}"),)
        return (*lost, *map(self._check, self.rows(list(both.values()))))

    def rows(self, both: Sequence[tuple[Sequence[Sample], Sequence[Sample]]]) -> list[Row]:
        # Bonferroni's correction: the cases of the run are judged one by one, as they come.
        alarms = ALARMS / max(1, self.cases_to_come)
        options = Options(self._drop, max(0.99, 1 - alarms), family_confidence=1 - alarms)
        noise = {number: known.noise for number, known in self._past.items()}
        return [self._confirmed(row) for row in judged(both, options, noise)]

    def _confirmed(self, row: Row) -> Row:
        """One value alone is no drop while single runs have been about as far off before.

        Beyond the worst of m runs lies one of m + 1; with an exponential tail, which is as skewed
        as noise gets here, the logarithm of the number of cases makes it one in all of them.
        """
        known, judgement = self._past.get((row.case, row.metric)), row.judgement
        if known is None or judgement.verdict != "worse" or row.counted[1] > 1:
            return row
        beyond = TAIL * known.noise * math.log(max(1, self.cases_to_come))
        if abs(judgement.change or 0.0) >= known.farthest + beyond:
            return row
        note = f"single runs have been {units.percent(known.farthest)} off before"
        untold = replace(judgement, verdict="can't tell", notes=(*judgement.notes, note))
        return replace(row, judgement=untold)

    def _check(self, row: Row) -> BaselineCheck:
        judgement = row.judgement
        reference, measured = wording.medians(row)
        what = {
            "worse": "worse than",
            "better": "better than",
            "same": "the same as",
            "can't tell": "can't tell it from",
        }[judgement.verdict]
        runs = dict.fromkeys(sample.run for sample in row.before)
        of = f"run {next(iter(runs))}" if len(runs) == 1 else f"median of {len(runs)} runs"
        where = "" if self.side.runs == (self.side.name,) else f" ({of})"
        message = (
            f"{row.metric} {measured}: {what} the baseline {self.side.name}, {reference}{where}, "
            f"change {wording.change(judgement)}"
        )
        return BaselineCheck(
            baseline=self.side.name,
            runs=tuple(runs),
            metric=row.metric,
            verdict=judgement.verdict,
            met=judgement.verdict != "worse" or abs(judgement.change or 0.0) < self._drop,
            message="; ".join([message, *wording.remarks(row)]),
            unit=row.unit,
            measured=row.median_after,
            reference=row.median_before,
            change=judgement.change,
            low=judgement.low,
            high=judgement.high,
            p_value=judgement.p_value,
        )

    def _lost(self, case: Case, metric: str, before: Sequence[Sample]) -> BaselineCheck:
        """The baseline has a rate, and now every load loses frames."""
        reference = sorted(sample.value for sample in before)[len(before) // 2]
        found = finding(case.measurements, metric)
        cause = f"; limited by {limiter(found)}" if found else ""
        return BaselineCheck(
            baseline=self.side.name,
            runs=tuple(dict.fromkeys(sample.run for sample in before)),
            metric=metric,
            verdict="worse",
            met=False,
            message=(
                f"no {metric} was found; the baseline {self.side.name} has "
                f"{units.quantity(reference, before[0].unit)}{cause}"
            ),
            unit=before[0].unit,
            reference=reference,
        )

    def _untold(self, why: str) -> BaselineCheck:
        return BaselineCheck(self.side.name, (), "", "can't tell", True, why)


def _past(where: Where) -> Mapping[Number, _Past]:
    """Of the numbers of which the history tells it.

    Noise is taken from the steps between neighbouring runs of one environment: drift and changes
    add little to those, and their median heeds no outliers.
    """
    runs = [run.run for run in where.history.runs(where.lab) if run.run != where.but]
    if not runs:
        return {}
    values: dict[tuple[Number, object], dict[str, list[float]]] = {}
    worse_is_more: dict[Number, bool] = {}
    labs = () if where.lab is None else (where.lab,)
    newest = Selection(labs=labs, runs=tuple(runs[-RUNS_OF_NOISE:]))
    for sample in where.history.samples(newest):
        alike = sample.environment.digest, *sorted(sample.versions.items())
        key = (sample.case, sample.metric), alike
        values.setdefault(key, {}).setdefault(sample.run, []).append(sample.value)
        worse_is_more[key[0]] = sample.better == "less"
    steps: dict[Number, list[float]] = {}
    farthest: dict[Number, float] = {}
    for (number, _), by_run in values.items():
        medians = [median(repeats) for repeats in by_run.values()]
        if (middle := median(medians)) <= 0:
            continue
        found = [abs(other - one) / middle for one, other in pairwise(medians)]
        steps.setdefault(number, []).extend(found)
        worst = max(medians) if worse_is_more[number] else min(medians)
        off = abs(worst - middle) / middle
        farthest[number] = max(off, farthest.get(number, 0.0))
    return {
        number: _Past(max(LEAST_NOISE, median(found) / STEP), farthest[number])
        for number, found in steps.items()
        if len(found) >= ENOUGH_STEPS
    }
