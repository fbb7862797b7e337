"""The dashboard: every case over time as one HTML file that needs no server and no network.

The page is drawn by its own script from the data in it, each chart when it comes into sight.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from pytest_vswitch import __version__
from pytest_vswitch.report import html, trend_text
from pytest_vswitch.results import units
from pytest_vswitch.results.run_directory import RunDirectory
from pytest_vswitch.results.trend.series import Night, Series
from pytest_vswitch.results.trend.trends import Event, Trend

_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""What could end the script element, or a line of it."""


def render(
    trends: Sequence[Trend],
    events: Sequence[Event],
    *,
    reports: Path | None = None,
    beside: Path = Path(),
) -> str:
    """The whole page, with links from `beside`, where it will be, to the runs in `reports`."""
    states = {state: sum(one.state == state for one in trends) for state in _STATES}
    times = [
        night.at_s for one in trends for night in (one.series.nights[0], one.series.nights[-1])
    ]
    return (
        html.environment()
        .get_template("dashboard.html.j2")
        .render(
            data=_embedded(_data(trends, reports, beside)),
            trends=trends,
            states=states,
            events=events,
            text=trend_text,
            key=key,
            summary=trend_text.summary(trends, events),
            first=trend_text.day(min(times)) if times else units.UNKNOWN,
            last=trend_text.day(max(times)) if times else units.UNKNOWN,
            simulated=any(one.series.simulated for one in trends),
            version=__version__,
            now=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        )
    )


def key(series: Series) -> str:
    """How the page's address calls a series: `index.html#KEY`."""
    return quote("|".join((series.lab, series.name, series.metric)), safe="")


_STATES = ("worse", "better", "steady", "too few")


def _data(trends: Sequence[Trend], reports: Path | None, beside: Path) -> Mapping[str, Any]:
    """What the page's script reads; names are short because there are many of them."""
    runs: dict[str, tuple[int, Night]] = {}
    texts: dict[str, int] = {}
    series = [_series(one, runs, texts) for one in trends]
    return {
        "runs": [
            [run, round(night.at_s), _link(run, reports, beside)]
            for run, (_, night) in runs.items()
        ],
        "texts": list(texts),
        "series": series,
    }


def _series(
    one: Trend, runs: dict[str, tuple[int, Night]], texts: dict[str, int]
) -> Mapping[str, Any]:
    series = one.series
    nights = series.nights
    return {
        "key": key(series),
        "lab": series.lab,
        "suite": series.suite,
        "name": series.name,
        "metric": series.metric,
        "unit": series.unit,
        "better": series.better,
        "state": one.state,
        "drift": one.drift,
        "values": [_short(night.value) for night in nights],
        "runs": [runs.setdefault(night.runs[0], (len(runs), night))[0] for night in nights],
        "several": {str(i): len(night.runs) for i, night in enumerate(nights) if night.runs[1:]},
        "censored": [i for i, night in enumerate(nights) if night.last.censored],
        "environments": [
            [index, texts.setdefault("; ".join(map(str, series.differences(index))), len(texts))]
            for index in series.changed_environments()
        ],
        "changes": [
            {
                "began": change.began,
                "found": change.found,
                "before": _short(change.before),
                "after": _short(change.after),
                "ratio": change.ratio,
                "worse": change.worse,
            }
            for change in one.changes
        ],
    }


def _short(value: float) -> float:
    """A chart has no more digits."""
    return float(f"{value:.6g}")


def _link(run: str, reports: Path | None, beside: Path) -> str | None:
    """To the run's report, if it is there."""
    if reports is None or Path(run).name != run:
        return None
    report = RunDirectory(reports / run).report
    return quote(os.path.relpath(report, beside)) if report.is_file() else None


def _embedded(data: Mapping[str, Any]) -> Markup:
    """JSON that nothing in it can break out of its script element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE))
