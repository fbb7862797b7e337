"""Changes over time as a table for the terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from pytest_vswitch.results import units
from pytest_vswitch.results.compare import wording
from pytest_vswitch.results.trend.trends import Event, SeriesChange, Trend

FORMAT = "pytest-vswitch trend"
VERSION = 1
"""Grows when a field goes or changes its meaning; new fields may come at any time."""
SIMULATED = "SIMULATED: no frame of some of these runs ever existed."
UNEXPLAINED = "nothing that is known of the environment changed with it"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What a file's content must not do to the reader's terminal."""
_SHOWN = 10
"""Cases of one event that the terminal names; the files name all."""

Paint = Callable[[str], str]


def terminal(trends: Sequence[Trend], events: Sequence[Event], paint: Paint = str) -> str:
    """A paragraph for each event, newest first; `paint` colours `worse` and `better`."""
    lines = [SIMULATED] if any(one.series.simulated for one in trends) else []
    for event in events:
        lines += [_safe(f"{day(event.at_s)}  {headline(event)}")]
        rows = [_cells(change) for change in event.changes[:_SHOWN]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            verdict, *cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            text = "  ".join([paint(row[0]) + " " * (len(verdict) - len(row[0])), *cells])
            lines.append(f"  {text.rstrip()}")
        if len(event.changes) > _SHOWN:
            lines.append(f"  and {len(event.changes) - _SHOWN} more")
        lines.append("")
    return "\n".join([*lines, summary(trends, events)]) + "\n"


def summary(trends: Sequence[Trend], events: Sequence[Event]) -> str:
    """E.g. `2 changes in 1 event; 12 series of 4 cases, 365 nights`."""
    changes = sum(len(event.changes) for event in events)
    cases = len({one.series.case for one in trends})
    nights = max((len(one.series.nights) for one in trends), default=0)
    told = _count(changes, "change")
    if changes:
        told += f" in {_count(len(events), 'event')}"
    text = f"{told}; {_count(len(trends), 'series', 'series')} of {_count(cases, 'case')}"
    few = sum(one.state == "too few" for one in trends)
    text += f", up to {_count(nights, 'night')}"
    return f"{text}; {few} with too few nights to tell" if few else text


def headline(event: Event) -> str:
    """E.g. `lab: 12 cases worse, 1 better: host dpdk: 24.11 → 25.03`."""
    better = len(event.changes) - event.worse
    parts = [
        f"{_count(count, 'series', 'series')} {verdict}"
        for verdict, count in (("worse", event.worse), ("better", better))
        if count
    ]
    reasons = "; ".join(map(str, event.differences)) or UNEXPLAINED
    return f"{event.lab}: {', '.join(parts)}: {reasons}"


def as_json(trends: Sequence[Trend], events: Sequence[Event]) -> str:
    """One JSON object; changes are ratios, values are in the series' unit."""
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "events": [
            {
                "began": moment(event.at_s),
                "lab": event.lab,
                "differences": [asdict(one) for one in event.differences],
                "changes": [_fields(change) for change in event.changes],
            }
            for event in events
        ],
        "series": [_standing(one) for one in trends],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(events: Sequence[Event]) -> str:
    """A line for each change, newest first."""
    text = io.StringIO()
    rows = list(_rows(events))
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def day(at_s: float) -> str:
    """E.g. `2026-11-21` (UTC)."""
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d}"


def moment(at_s: float) -> str:
    """In ISO 8601, UTC."""
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def ratio(change: SeriesChange) -> str:
    """E.g. `-3.01 %`."""
    return "from zero" if change.ratio is None else wording.percent(change.ratio)


def values(change: SeriesChange) -> tuple[str, str]:
    """The medians before and after, with as many digits as tell them apart."""
    unit = change.series.unit
    if unit == "frames/s":
        return units.rates_apart(change.before, change.after)
    return units.quantity(change.before, unit), units.quantity(change.after, unit)


_COLUMNS = (
    *("began", "found", "lab", "suite", "case", "version", "metric", "unit", "verdict"),
    *("change", "before", "after", "first_run", "differences"),
)


def _rows(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    for event in events:
        for change in event.changes:
            yield {
                **_fields(change),
                "lab": event.lab,
                "differences": "; ".join(map(str, event.differences)),
            }


def _fields(change: SeriesChange) -> dict[str, Any]:
    series = change.series
    return {
        "began": moment(change.at_s),
        "found": moment(series.nights[change.found].at_s),
        "suite": series.suite,
        "case": series.case,
        "version": series.version,
        "metric": series.metric,
        "unit": series.unit,
        "verdict": verdict(change),
        "change": change.ratio,
        "before": change.before,
        "after": change.after,
        "first_run": series.nights[change.began].runs[0],
    }


def _standing(one: Trend) -> dict[str, Any]:
    series = one.series
    return {
        "lab": series.lab,
        "suite": series.suite,
        "case": series.case,
        "version": series.version,
        "metric": series.metric,
        "unit": series.unit,
        "simulated": series.simulated,
        "state": one.state,
        "drift": one.drift,
        "changes": len(one.changes),
        "nights": len(series.nights),
        "from": moment(series.nights[0].at_s),
        "to": moment(series.nights[-1].at_s),
        "value": series.nights[-1].value,
    }


def verdict(change: SeriesChange) -> str:
    return "worse" if change.worse else "better"


def _cells(change: SeriesChange) -> list[str]:
    before, after = values(change)
    series = change.series
    cells = [verdict(change), ratio(change), series.name, series.metric, f"{before} → {after}"]
    return [_safe(cell) for cell in [*cells, f"run {series.nights[change.began].runs[0]}"]]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _safe(text: str) -> str:
    return _CONTROL.sub("?", text)
