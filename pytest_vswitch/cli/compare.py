"""`vswitch compare`: whether one side of a history is worse than the other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, add_selection, add_store, command, painted
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.percentage import percentage

if TYPE_CHECKING:
    from pytest_vswitch.results.compare.comparison import Comparison

WORSE = 1
"""Exit status when something is worse."""
COLOURS = {"worse": "31", "better": "32", "can't tell": "33"}
STDOUT = "-"
LEAST_CONFIDENCE = 0.5


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "compare",
        "compare two runs or versions: better, same, worse, can't tell",
        "Holds B against A, case by case: medians, the change with its confidence interval,\n"
        "and one of better, same, worse, can't tell. What differs between the environments\n"
        "is told first; machines that are not comparable are refused.\n\n"
        "A and B are each a run (id, directory, results.json, `latest`), several with commas,\n"
        "or a version: `dpdk=22.11`, `guest_dpdk=22.11`, `qemu=7.2`, or `22.11` for the DPDK\n"
        "of the host. The versions of one run are two sides, too.\n\n"
        "Exit status: 0 when nothing is worse, 1 when something is, 4 on errors.",
        "vswitch compare dpdk=22.11 dpdk=24.11 --html comparison.html\n"
        "  vswitch compare 20261120-024500-1234 latest --metric NDR --markdown -",
    )
    parser.add_argument("before", metavar="A", help="the side before: a run or a version")
    parser.add_argument("after", metavar="B", help="the side after, held against A")
    for option, what in (("--markdown", "Markdown"), ("--html", "one HTML file")):
        parser.add_argument(option, metavar="FILE", help=f"write it as {what}; `-`: to the output")
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; `-`: to the output")
    parser.add_argument(
        "--group-by",
        choices=("suite", "frame size", "hop"),
        default="suite",
        help="what the lines of a group have in common (default: suite)",
    )
    parser.add_argument(
        "--confidence",
        metavar="PERCENT",
        default="99%",
        help="of the intervals, and of a verdict by itself (default: 99%%)",
    )
    parser.add_argument(
        "--runs",
        metavar="N",
        type=int,
        default=20,
        help="a version is its newest N runs (default: 20)",
    )
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="compare what is not comparable; the report says so",
    )
    add_selection(parser)
    add_store(parser)
    parser.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from pytest_vswitch.report import comparison, comparison_json, comparison_text

    compared = _compared(arguments)
    formats: tuple[tuple[str | None, Callable[[Comparison], str]], ...] = (
        (arguments.markdown, comparison_text.markdown),
        (arguments.html, comparison.render),
        (arguments.json, comparison_json.render),
    )
    if STDOUT not in (arguments.markdown, arguments.html, arguments.json):
        print(comparison_text.terminal(compared, _painted), end="")
    for target, render in formats:
        if target == STDOUT:
            print(render(compared), end="")
        elif target:
            _write(Path(target), render(compared))
    return WORSE if "worse" in compared.tally else 0


def _compared(arguments: argparse.Namespace) -> Comparison:
    from pytest_vswitch.results.compare.comparison import compare
    from pytest_vswitch.results.compare.opening import opened
    from pytest_vswitch.results.compare.sides import Where, find
    from pytest_vswitch.results.statistics.pair import Options

    if arguments.runs < 1:
        raise InputError(f"--runs {arguments.runs}: must be at least 1")
    options = Options(
        minimum_effect=percentage(arguments.minimum_effect, "--minimum-effect"),
        confidence=percentage(arguments.confidence, "--confidence"),
    )
    if options.confidence < LEAST_CONFIDENCE:
        raise InputError(f"--confidence {arguments.confidence}: must be at least 50%")
    with opened(arguments.store, arguments.reports) as history:
        where = Where(
            history=history,
            reports=arguments.reports,
            lab=arguments.lab,
            cases=arguments.case,
            metrics=tuple(arguments.metric),
            runs_of_a_version=arguments.runs,
        )
        return compare(
            find(arguments.before, where),
            find(arguments.after, where),
            options,
            group_by=arguments.group_by,
            anyway=arguments.anyway,
        )


def _painted(text: str, verdict: str) -> str:
    return painted(text, COLOURS.get(verdict, ""), sys.stdout)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from None
