"""Thresholds of the lab file, held against what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure import outage
from pytest_vswitch.measure.latency import P99
from pytest_vswitch.results import units
from pytest_vswitch.results.figure_limits import FIGURE_LIMITS, FigureLimit, held_against
from pytest_vswitch.results.findings import Finding, finding, first_failing, losses, trials_at
from pytest_vswitch.results.record import BaselineCheck, Measurement, ThresholdCheck, Verdict

_RATES = ("ndr_pps", "pdr_pps", "line_rate_percent")
_OTHERS = ("latency_p99_us", "loss_ratio", "outage_ms")
NAMES = (*_RATES, *_OTHERS, *FIGURE_LIMITS)
"""All thresholds that there are."""


def check(
    limits: Mapping[str, float], measurements: Sequence[Measurement], line_rate_pps: float
) -> tuple[ThresholdCheck, ...]:
    """Hold each limit against the median of the repeats.

    `ndr_pps`            at least; the NDR [frames/s, all directions].
    `pdr_pps`            at least; the PDR [frames/s, all directions].
    `line_rate_percent`  at least; the NDR in percent of `line_rate_pps`.
    `latency_p99_us`     at most; 99th percentile of the one-way delay at the NDR load, of
                         the worst direction of the longest trial there [µs]. Of a case that
                         measures latency at shares of the NDR: at the highest share.
    `loss_ratio`         at most; lost per sent over all trials at the highest load that
                         was tried (0 to 1), the frame loss rate of RFC 2544 section 26.3.
    `outage_ms`          at most; the longest time without a frame of any direction, less the
                         usual distance of two, while a guest moved [ms].

    All others are held against a figure of a measurement, see `figure_limits`.

    A repeat that lacks the value counts as worse than every other. Raises InputError
    for a limit of another name.
    """
    return tuple(_check(name, limit, measurements, line_rate_pps) for name, limit in limits.items())


def verdict(checks: Sequence[ThresholdCheck], baseline: Sequence[BaselineCheck] = ()) -> Verdict:
    """`passed` if all are met, `failed` if one is not, `measured` where nothing tells."""
    if not (all(one.met for one in checks) and all(one.met for one in baseline)):
        return "failed"
    told = [check for check in baseline if check.verdict != "can't tell"]
    return "passed" if checks or told else "measured"


def timed(measurements: Sequence[Measurement]) -> Sequence[Measurement]:
    """Those whose latency counts: of latency, if there is one, else the searches."""
    ended = [m for m in measurements if m.search == "latency" and m.outcome]
    return ended or [m for m in measurements if m.outcome is None]


def p99_us(measurement: Measurement) -> float | None:
    """What `latency_p99_us` is held against, of one repeat; None without NDR or samples."""
    if measurement.outcome:
        values = (f.value for f in measurement.outcome.figures if f.name.startswith(P99 + " "))
        highest_s = next(values, None)
        return None if highest_s is None else 1e6 * highest_s
    found = finding([measurement], "NDR")
    if found is None:
        return None
    worst = [
        (t.duration_s, max(d.latency.p99_us for d in t.directions if d.latency))
        for t in trials_at(measurement, found.result)
        if any(d.latency for d in t.directions)
    ]
    return max(worst, key=lambda pair: pair[0])[1] if worst else None


def loss_ratio(measurement: Measurement) -> float | None:
    """What `loss_ratio` is held against, of one repeat; None without trials."""
    highest = max((t.intended_pps for t in measurement.trials), default=None)
    trials = [t for t in measurement.trials if t.intended_pps == highest]
    sent = sum(t.sent for t in trials)
    return sum(t.lost for t in trials) / sent if sent else None


def outage_ms(measurement: Measurement) -> float | None:
    """What `outage_ms` is held against, of one event; None of a search."""
    if measurement.results or not measurement.trials:
        return None
    return max(seen.silence_ms for trial in measurement.trials for seen in outage.of(trial))


def _check(
    name: str, limit: float, measurements: Sequence[Measurement], line_rate_pps: float
) -> ThresholdCheck:
    if name not in NAMES:
        raise InputError(f"threshold `{name}` is unknown; there are {', '.join(NAMES)}")
    if name in FIGURE_LIMITS:
        return _of_figure(name, limit, FIGURE_LIMITS[name], measurements)
    if name in _RATES:
        found = finding(measurements, "PDR" if name == "pdr_pps" else "NDR")
        return _at_least(name, limit, found, line_rate_pps)
    if name == "latency_p99_us":
        return _at_most(name, limit, _median(p99_us, timed(measurements)))
    if name == "outage_ms":
        return _at_most(name, limit, _median(outage_ms, measurements))
    return _at_most(name, limit, _median(loss_ratio, _last(measurements)))


def _last(measurements: Sequence[Measurement]) -> Sequence[Measurement]:
    """What a case is about: a search that only chose its load is not."""
    return [m for m in measurements if m.outcome] or measurements


def _of_figure(
    name: str, limit: float, rule: FigureLimit, measurements: Sequence[Measurement]
) -> ThresholdCheck:
    held = held_against(rule, measurements)
    figure = rule.figure_of(held[0]) if held else None
    value = _median(rule.value_of, held, worst=-math.inf if rule.least else math.inf)
    what = figure.name if figure else rule.figure
    unit = figure.unit if figure else ""
    threshold = units.quantity(limit / rule.per_unit, unit) if unit else units.plain(limit)
    if value is None:
        lacking = "it was not found" if figure else f"no measurement `{rule.measurement}`"
        text = f"no {what}: {lacking}; the threshold is {threshold}"
        return ThresholdCheck(name, limit, None, False, text)
    measured = value * rule.per_unit
    met = measured >= limit if rule.least else measured <= limit
    apart = "exactly"
    if measured != limit:
        distance = units.quantity(abs(measured - limit) / rule.per_unit, unit)
        if unit == "ratio":
            distance = distance.replace("%", "percentage points")
        share = f" ({units.percent(abs(measured - limit) / limit)})" if limit else ""
        apart = f"{distance}{share} {'above' if measured > limit else 'below'}"
    text = f"{what} {units.quantity(value, unit)}: {apart} the threshold of {threshold}"
    return ThresholdCheck(name, limit, measured, met, text)


def _at_least(
    name: str, limit: float, found: Finding | None, line_rate_pps: float
) -> ThresholdCheck:
    goal = "PDR" if name == "pdr_pps" else "NDR"
    value = found.value_pps if found else None
    if value is None:
        text = f"no {goal} was found; the threshold is {_amount(name, limit)}"
        return ThresholdCheck(name, limit, None, False, text + _cause(found))
    measured = 100 * value / line_rate_pps if name == "line_rate_percent" else value
    met = measured >= limit
    if name == "line_rate_percent":
        number = f"{goal} {units.rate(value)} is {units.significant(measured)} % of line rate"
        number = f"{number}: {{}} the threshold of {_amount(name, limit)}"
    else:
        shown, wanted = units.rates_apart(measured, limit)
        number = f"{goal} {shown}: {{}} the threshold of {wanted}"
    return ThresholdCheck(
        name,
        limit,
        measured,
        met,
        number.format(_distance(name, measured, limit)) + ("" if met else _cause(found)),
    )


def _at_most(name: str, limit: float, measured: float | None) -> ThresholdCheck:
    what, lacking = {
        "latency_p99_us": ("p99 latency", "no latency was sampled at an NDR load"),
        "loss_ratio": ("loss at the highest load tried", "no trial"),
        "outage_ms": ("outage", "no guest was moved"),
    }[name]
    if measured is None:
        text = f"no {what}: {lacking}; the threshold is {_amount(name, limit)}"
        return ThresholdCheck(name, limit, None, False, text)
    text = (
        f"{what} {_amount(name, measured)}: {_distance(name, measured, limit)} "
        f"the threshold of {_amount(name, limit)}"
    )
    return ThresholdCheck(name, limit, measured, measured <= limit, text)


def _median(
    value: Callable[[Measurement], float | None],
    measurements: Sequence[Measurement],
    *,
    worst: float = math.inf,
) -> float | None:
    values = [value(m) for m in measurements]
    middle = median([worst if v is None else v for v in values]) if values else worst
    return middle if math.isfinite(middle) else None


def _distance(name: str, measured: float, limit: float) -> str:
    """E.g. `12.8 kpps (25.6 %) below`."""
    if measured == limit:
        return "exactly"
    share = f" ({units.percent(abs(measured - limit) / limit)})" if limit else ""
    side = "above" if measured > limit else "below"
    return f"{_amount(name, abs(measured - limit), difference=True)}{share} {side}"


def _amount(name: str, value: float, *, difference: bool = False) -> str:
    if name == "line_rate_percent":
        return f"{units.significant(value)} {'percentage points' if difference else '%'}"
    if name in ("latency_p99_us", "outage_ms"):
        return units.microseconds(value * (1e3 if name == "outage_ms" else 1))
    if name == "loss_ratio":
        points = units.percent(value)
        return points.replace("%", "percentage points") if difference else points
    return units.rate(value)


def _cause(found: Finding | None) -> str:
    if found is None:
        return ""
    if found.result.limited_by == "generator":
        return "; the traffic generator could not offer more, so this is not the DUT's limit"
    trial = first_failing(found.measurement, found.result)
    return "" if trial is None else f"; frames were lost first in {losses(trial)}"
