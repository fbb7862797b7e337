"""`vswitch trend`: where cases changed over months, and what changed with them."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, add_selection, add_store, command, painted
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.percentage import percentage

if TYPE_CHECKING:
    from pytest_vswitch.results.trend.trends import Event, Trend

WORSE = 1
"""Exit status when something became worse within the time asked for."""
COLOURS = {"worse": "31", "better": "32"}
STDOUT = "-"
DAY_S = 86400.0
LEAD_S = 180 * DAY_S
"""What is read before `--since`: a case's usual scatter is learnt from it."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "trend",
        "show where cases changed over time, with a dashboard",
        "Finds the nights at which a case's results changed for good, newest first, with what\n"
        "changed in versions and environment at the same time. One bad night is no change.\n\n"
        "Exit status: 0, 1 with --fail-on-worse when something became worse, 4 on errors.",
        "vswitch trend --since 90d --html trend\n"
        "  vswitch trend --case 'pvp:*frame_bytes=64*' --metric NDR --fail-on-worse",
    )
    parser.add_argument(
        "--since",
        metavar="AGE",
        help="the time before the newest run, e.g. 90d, 12w (default: all)",
    )
    parser.add_argument(
        "--fail-on-worse",
        metavar="DAYS",
        type=float,
        nargs="?",
        const=14.0,
        help="exit with 1 if something became worse so many days before the newest run, or "
        "later (default: 14)",
    )
    parser.add_argument(
        "--html", metavar="DIR|FILE", help="write the dashboard; to index.html of a directory"
    )
    for option, what in (("--json", "JSON"), ("--csv", "CSV, a line for each change")):
        parser.add_argument(option, metavar="FILE", help=f"write {what}; `-`: to the output")
    add_selection(parser)
    add_store(parser)
    parser.set_defaults(command=_trend)


def _trend(arguments: argparse.Namespace) -> int:
    from pytest_vswitch.report import trend_text
    from pytest_vswitch.results.trend.trends import events

    if arguments.json == arguments.csv == STDOUT:
        raise InputError("--json - --csv -: only one of them can go to the output")
    trends = _read(arguments)
    found = events(trends)
    if STDOUT not in (arguments.json, arguments.csv):
        print(trend_text.terminal(trends, found, _painted), end="")
    for target, text in (
        (arguments.json, trend_text.as_json(trends, found) if arguments.json else ""),
        (arguments.csv, trend_text.as_csv(found) if arguments.csv else ""),
    ):
        if target == STDOUT:
            print(text, end="")
        elif target:
            _write(Path(target), text)
    if arguments.html:
        _dashboard(Path(arguments.html), arguments.reports, trends, found)
    return WORSE if _became_worse(arguments.fail_on_worse, trends) else 0


def _read(arguments: argparse.Namespace) -> list[Trend]:
    from pytest_vswitch.results.compare.opening import opened
    from pytest_vswitch.results.trend import series
    from pytest_vswitch.results.trend.trends import since, trend

    minimum = percentage(arguments.minimum_effect, "--minimum-effect")
    with opened(arguments.store, arguments.reports) as history:
        first_s = None
        if arguments.since is not None:
            age_s = _age_s(arguments.since)
            newest_s = max((run.at_s for run in history.runs(arguments.lab)), default=0.0)
            first_s = newest_s - age_s
        found = series.read(
            history,
            cases=arguments.case,
            metrics=arguments.metric,
            lab=arguments.lab,
            since_s=None if first_s is None else first_s - LEAD_S,
        )
    trends = [trend(one, minimum) for one in found]
    if first_s is None:
        return trends
    return [shown for one in trends if (shown := since(one, first_s))]


def _age_s(text: str) -> float:
    found = re.fullmatch(r"(\d{1,5})([dw])", text)
    if not found:
        raise InputError(f"--since {text}: give a number of days or weeks, e.g. 90d or 12w")
    return int(found[1]) * (7 if found[2] == "w" else 1) * DAY_S


def _became_worse(days: float | None, trends: list[Trend]) -> bool:
    if days is None:
        return False
    newest_s = max((one.series.nights[-1].at_s for one in trends), default=0.0)
    return any(
        change.worse and change.at_s >= newest_s - days * DAY_S
        for one in trends
        for change in one.changes
    )


def _dashboard(target: Path, reports: Path, trends: list[Trend], found: list[Event]) -> None:
    from pytest_vswitch.report import dashboard

    path = target if target.suffix == ".html" else target / "index.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"cannot create {path.parent}: {error.strerror}") from None
    _write(path, dashboard.render(trends, found, reports=reports, beside=path.parent))
    print(f"dashboard: {path}", file=sys.stderr)


def _painted(verdict: str) -> str:
    return painted(verdict, COLOURS[verdict], sys.stdout)


def _write(path: Path, text: str) -> None:
    from pytest_vswitch.results.schema import write_atomically

    write_atomically(path, text)
