"""`vswitch threshold`: a lab's thresholds from what a run measured."""

from __future__ import annotations

import argparse
import sys

from pytest_vswitch.cli.command import Commands, add_run, command, painted
from pytest_vswitch.percentage import percentage


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    threshold = command(
        commands,
        "threshold",
        "set a lab's thresholds from what a run measured",
        "Writes thresholds into a lab file: for each case of the run, the median NDR and PDR\n"
        "less a margin. All else in the file stays as it is, comments too. Shows what it\n"
        "changes.",
        "vswitch threshold --from-run latest --margin 5% --dry-run",
    )
    add_run(threshold, "--from-run")
    threshold.add_argument(
        "--margin",
        default="5%",
        metavar="PERCENT",
        help="how far a later run may fall behind (default: 5%%)",
    )
    threshold.add_argument(
        "--latency", action="store_true", help="also limit p99 latency, with the margin added"
    )
    threshold.add_argument(
        "--lab", metavar="LAB", help="name or file of the lab to change (default: the run's)"
    )
    threshold.add_argument(
        "--dry-run", action="store_true", help="show the change without making it"
    )
    threshold.set_defaults(command=_threshold)


def _threshold(arguments: argparse.Namespace) -> None:
    from difflib import unified_diff

    from pytest_vswitch.errors import InputError
    from pytest_vswitch.lab import loader, thresholds
    from pytest_vswitch.lab.document import read_text
    from pytest_vswitch.lab.schema import shown
    from pytest_vswitch.results import run_directory
    from pytest_vswitch.results.thresholds import derive, refuse_mixing

    margin = 100 * percentage(arguments.margin, "--margin")
    record = run_directory.find(arguments.reports, arguments.run).read()
    name = arguments.lab or record.lab.get("name")
    if not name:
        raise InputError(f"run {record.run.id} does not name its lab; give it with --lab")
    path = loader.find(str(name), loader.search_path())
    refuse_mixing(record, loader.load(str(path.absolute())))
    limits = derive(record, margin, latency=arguments.latency)
    old, new = read_text(path), thresholds.updated(path, limits)
    if old == new:
        print(f"{shown(path)} has these thresholds already")
        return
    if not arguments.dry_run:
        thresholds.write(path, limits)
    before, after = old.splitlines(), new.splitlines()
    for line in list(unified_diff(before, after, lineterm="", n=1))[2:]:
        print(painted(line, {"+": "32", "-": "31"}.get(line[0], ""), sys.stdout))
    print(f"{shown(path)} {'is left as it was (--dry-run)' if arguments.dry_run else 'changed'}")
