"""The `vswitch` command: what can be done without a test run.

Whatever a command needs is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from pytest_vswitch import __version__
from pytest_vswitch.errors import VswitchError

OK = 0
ERROR = 4
"""A file, an option, a host or the wiring is at fault, as in pytest."""
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. Usage errors exit with 2, by argparse."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except VswitchError as error:
        message = str(error).replace("\n", "\n  ")
        print(f"vswitch: {_painted('error:', '31', sys.stderr)} {message}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vswitch",
        description="Labs, thresholds and reports of pytest-vswitch; to measure, run "
        "`pytest suites/pvp --dut local`.",
        epilog="`vswitch COMMAND --help` explains a command, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-vswitch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _lab_commands(commands)
    _report_command(commands)
    _threshold_command(commands)
    _validate_command(commands)
    _doctor_command(commands)
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for it


def _lab_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    lab = commands.add_parser("lab", help="show what a lab file says, or which labs there are")
    actions = lab.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = _command(
        actions,
        "show",
        "print a lab with every default filled in",
        "Reads and checks a lab file, as a test run does, and prints it as YAML with every\n"
        "default filled in. Nothing on any host is touched.",
        "vswitch lab show local\n  vswitch lab show ./lab1.yaml",
    )
    show.add_argument("lab", metavar="LAB", help="a lab's name, or the path of its file")
    show.set_defaults(command=_lab_show)
    listing = _command(
        actions,
        "list",
        "list the labs that `--dut NAME` finds",
        "Lists the labs in `labs/` of the current directory and those that come with the\n"
        "plugin. A lab file that is wrong is listed with what is wrong.",
        "vswitch lab list",
    )
    listing.set_defaults(command=_lab_list)


def _report_command(commands: Commands[argparse.ArgumentParser]) -> None:
    report = _command(
        commands,
        "report",
        "make a run's report and results again, from its journal",
        "Makes report.html and results.json of a run again, from its journal: of a run that\n"
        "was killed, too. A damaged journal is refused, unless --repair is given: it drops\n"
        "the damaged lines and keeps a copy of them.",
        "vswitch report latest\n  vswitch report 20261121-024500-1234 -o /tmp/report.html",
    )
    _add_run(report)
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


def _threshold_command(commands: Commands[argparse.ArgumentParser]) -> None:
    threshold = _command(
        commands,
        "threshold",
        "set a lab's thresholds from what a run measured",
        "Writes thresholds into a lab file: for each case of the run, the median NDR and PDR\n"
        "less a margin. All else in the file stays as it is, comments too. Shows what it\n"
        "changes.",
        "vswitch threshold --from-run latest --margin 5% --dry-run",
    )
    _add_run(threshold, "--from-run")
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


def _validate_command(commands: Commands[argparse.ArgumentParser]) -> None:
    validate = _command(
        commands,
        "validate",
        "check a results.json against its schema",
        "Checks that a results.json is whole and follows its schema. Exit status 0 if so,\n"
        "4 if not, with the first fault.",
        "vswitch validate reports/latest/results.json",
    )
    validate.add_argument("file", metavar="FILE", type=Path, help="a results.json")
    validate.set_defaults(command=_validate)


def _doctor_command(commands: Commands[argparse.ArgumentParser]) -> None:
    doctor = _command(
        commands,
        "doctor",
        "show, or clean up, what killed runs left on a lab's DUT",
        "Shows the processes and changes that runs left on the DUT when they were killed or\n"
        "the machine went down. --clean ends those processes and undoes those changes. Runs\n"
        "that are alive are shown and never touched.",
        "vswitch doctor local --clean",
    )
    doctor.add_argument("lab", metavar="LAB", help="a lab's name, or the path of its file")
    doctor.add_argument("--clean", action="store_true", help="end and undo what is left")
    doctor.add_argument("--json", action="store_true", help="print one JSON object instead")
    doctor.set_defaults(command=_doctor)


def _command(
    commands: Commands[argparse.ArgumentParser], name: str, short: str, long: str, example: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=short,
        description=long,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_run(parser: argparse.ArgumentParser, option: str = "") -> None:
    text = "a run: its id, its directory, or `latest`"
    if option:
        parser.add_argument(option, dest="run", metavar="RUN", required=True, help=text)
    else:
        parser.add_argument("run", metavar="RUN", help=text)
    parser.add_argument(
        "--reports",
        metavar="DIR",
        type=Path,
        default=Path("reports"),
        help="where runs are kept (default: reports)",
    )


def _lab_show(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.lab.loader import as_yaml, load
    from pytest_vswitch.lab.schema import shown

    lab = load(arguments.lab)
    print(f"# lab `{lab.name}`, from {shown(lab.path) if lab.path else 'code'}")
    print(as_yaml(lab), end="")


def _lab_list(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.errors import InputError
    from pytest_vswitch.lab.loader import known, load, search_path
    from pytest_vswitch.lab.schema import shown

    labs = known(search_path())
    for name, path in sorted(labs.items()):
        try:
            what = load(str(path.absolute())).description
        except InputError as error:
            what = f"{_painted('error:', '31', sys.stdout)} {str(error).splitlines()[0]}"
        print(f"{name:<12}  {shown(path)}  {what}".rstrip())


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
    html.write(record, target)
    print(shown(target))


def _threshold(arguments: argparse.Namespace) -> None:
    from difflib import unified_diff

    from pytest_vswitch.errors import InputError
    from pytest_vswitch.lab import loader, thresholds
    from pytest_vswitch.lab.document import read_text
    from pytest_vswitch.lab.schema import shown
    from pytest_vswitch.results import run_directory
    from pytest_vswitch.results.thresholds import derive, refuse_mixing

    margin = thresholds.margin(arguments.margin)
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
        print(_painted(line, {"+": "32", "-": "31"}.get(line[0], ""), sys.stdout))
    print(f"{shown(path)} {'is left as it was (--dry-run)' if arguments.dry_run else 'changed'}")


def _validate(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.results import schema

    record = schema.load(arguments.file)
    cases = "1 case" if len(record.cases) == 1 else f"{len(record.cases)} cases"
    simulated = ", simulated" if record.run.simulated else ""
    print(f"{arguments.file}: valid: run {record.run.id}, {cases}{simulated}")


def _doctor(arguments: argparse.Namespace) -> None:
    import json

    from pytest_vswitch.hosts import leftovers
    from pytest_vswitch.lab.loader import load

    # A simulated DUT starts nothing and changes nothing: there is nothing to look for.
    simulated = load(arguments.lab).dut.host == "sim"
    alive = [] if simulated else leftovers.owners(leftovers.STATE)
    left = [] if simulated else leftovers.find(leftovers.STATE)
    if not arguments.json:
        for owner in alive:
            print(f"run {owner.run} is alive: pid {owner.pid} since {owner.since}: {owner.command}")
        for leftover in left:
            print(f"run {leftover.run} is dead and left:")
            for pid, program in leftover.processes:
                print(f"  process {program} ({pid})")
            for change in leftover.changes:
                print(f"  change {change}")
            print(f"  directory {leftover.directory}")
    if arguments.clean:
        for leftover in left:
            leftovers.clean(leftover)
    if arguments.json:
        found = [
            {
                "run": leftover.run,
                "processes": [{"pid": pid, "program": name} for pid, name in leftover.processes],
                "changes": [str(change) for change in leftover.changes],
                "directory": str(leftover.directory),
            }
            for leftover in left
        ]
        runs = [owner.run for owner in alive]
        print(json.dumps({"alive": runs, "leftovers": found, "cleaned": arguments.clean}))
    elif not left:
        print("nothing is left of earlier runs")
    else:
        lab = arguments.lab
        print("cleaned" if arguments.clean else f"`vswitch doctor {lab} --clean` removes it")


def _painted(text: str, colour: str, stream: TextIO) -> str:
    """`text` in an ANSI colour, on a terminal whose user does not object."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain or not colour else f"\033[{colour}m{text}\033[0m"
