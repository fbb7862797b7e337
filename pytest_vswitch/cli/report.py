"""`vswitch report` and `vswitch validate`: a run's files."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vswitch.cli.command import Commands, add_run, command


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    report = command(
        commands,
        "report",
        "make a run's report and results again, from its journal",
        "Makes report.html and results.json of a run again, from its journal: of a run that\n"
        "was killed, too. A damaged journal is refused, unless --repair is given: it drops\n"
        "the damaged lines and keeps a copy of them.",
        "vswitch report latest\n  vswitch report 20261121-024500-1234 -o /tmp/report.html",
    )
    add_run(report)
    report.add_argument(
        "--repair", action="store_true", help="drop damaged lines of the journal; keeps a copy"
    )
    report.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="write the report there, and leave the run's directory as it is",
    )
    report.set_defaults(command=_report)
    validate = command(
        commands,
        "validate",
        "check a results.json against its schema",
        "Checks that a results.json is whole and follows its schema. Exit status 0 if so,\n"
        "4 if not, with the first fault.",
        "vswitch validate reports/latest/results.json",
    )
    validate.add_argument("file", metavar="FILE", type=Path, help="a results.json")
    validate.set_defaults(command=_validate)


def _report(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.lab.schema import shown
    from pytest_vswitch.report import html
    from pytest_vswitch.results import journal, run_directory

    run = run_directory.find(arguments.reports, arguments.run)
    if arguments.repair:
        for loss in journal.repair(run.journal):
            print(f"dropped: {loss}")
    record = run.read()
    if not arguments.output:
        run.write(record)
    target = arguments.output or run.report
    html.write(target, record)
    print(shown(target))


def _validate(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.results import schema

    record = schema.load(arguments.file)
    cases = "1 case" if len(record.cases) == 1 else f"{len(record.cases)} cases"
    simulated = ", simulated" if record.run.simulated else ""
    print(f"{arguments.file}: valid: run {record.run.id}, {cases}{simulated}")
