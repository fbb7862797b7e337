"""`vswitch bisect`: which revision made a case slower."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, command

if TYPE_CHECKING:
    from pytest_vswitch.results.bisect.hooks import Build, Measurement
    from pytest_vswitch.results.bisect.state import State
    from pytest_vswitch.results.sample import Better

CANNOT_TELL = 1


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    bisect = command(
        commands,
        "bisect",
        "find the revision that made a case slower",
        "Searches the history of a git repository between a good and a bad revision: builds\n"
        "and measures those that tell most, each as often as the noise requires. All is kept\n"
        "in a directory: after Ctrl-C or a crash, the same command goes on. The repository is\n"
        "left as it is: revisions are built in a copy. Exit status 0 when a revision was found,\n"
        "or it is sure that nothing changed; 1 when it cannot be told.",
        "vswitch bisect --repository ~/dpdk --good v24.07 --bad v24.11 \\\n"
        "      --case pvp:frame_bytes=64 --dut lab1 --build ./build-dpdk\n"
        "  vswitch bisect --repository . --good v1 --bad HEAD --build ./build --measure ./time",
    )
    option = bisect.add_argument
    option("--repository", metavar="DIR", type=Path, required=True, help="the git repository")
    option("--good", metavar="REVISION", required=True, help="one before the change")
    option("--bad", metavar="REVISION", required=True, help="one after it")
    option("--case", metavar="ID", default="", help="what is measured, e.g. pvp:frame_bytes=64")
    option("--metric", default="NDR", help="the number of the case (default: NDR)")
    option("--dut", metavar="LAB", help="a lab's name or file")
    option(
        "--build",
        metavar="COMMAND",
        default="",
        help="builds a revision: runs in a check-out of it, gets its hash and a directory to "
        "install into, as two more words",
    )
    option(
        "--dpdk",
        metavar="NAME",
        default="",
        help="in place of --build: the DPDK of the lab file whose `build` the lab runs",
    )
    option(
        "--pytest",
        metavar="ARGUMENTS",
        help="what pytest is given to measure the case (default: the case's suite and frame size)",
    )
    option(
        "--measure",
        metavar="COMMAND",
        help="in place of a lab: gets the hash and the build's directory, as two more words, "
        "and prints a number on its last line",
    )
    option(
        "--better",
        choices=("more", "less"),
        help="which values are better; for the words of the verdict only (default: of a lab's "
        "rates more, of its other metrics less, of --measure unknown)",
    )
    option("--state", metavar="DIR", type=Path, help="where all is kept (default: bisect/CASE)")
    option("--confidence", type=float, default=0.99, help="of the verdict (default: 0.99)")
    option(
        "--minimum-effect",
        metavar="RATIO",
        type=float,
        default=0.02,
        help="smaller changes are none (default: 0.02)",
    )
    option("--most-runs", metavar="N", type=int, default=120, help="give up then (default: 120)")
    option("--wait", default="30m", help="how long each run queues for the lab (default: 30m)")
    option("--timeout", default="2h", help="of one build or one measurement (default: 2h)")
    bisect.set_defaults(command=_bisect)


def _bisect(arguments: argparse.Namespace) -> int:
    import re

    from pytest_vswitch.errors import InputError
    from pytest_vswitch.hosts.opening import open_address
    from pytest_vswitch.hosts.transcript import Transcript
    from pytest_vswitch.lab.address import LOCAL
    from pytest_vswitch.results.bisect import history, state, text
    from pytest_vswitch.results.bisect.drive import Bisect
    from pytest_vswitch.results.bisect.search import Rules

    if not 0.5 < arguments.confidence < 1:
        raise InputError(f"--confidence {arguments.confidence}: give more than 0.5, less than 1")
    if not 0 <= arguments.minimum_effect < 0.5:
        raise InputError(f"--minimum-effect {arguments.minimum_effect}: give 0 to 0.5, e.g. 0.02")
    rules = Rules(arguments.confidence, arguments.minimum_effect, arguments.most_runs)
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", arguments.case or "measure").strip("-.")
    directory = arguments.state or Path("bisect", slug)
    with open_address(LOCAL) as host:
        found = history.read(host, arguments.repository, arguments.good, arguments.bad)
    question = state.Question(
        repository=str(arguments.repository.resolve()),
        good=found.good.hash,
        bad=found.revisions[-1].hash,
        case=arguments.case,
        metric="" if arguments.measure else arguments.metric,
        hooks={
            name: getattr(arguments, name) or ""
            for name in ("build", "dpdk", "dut", "measure", "pytest")
        },
    )
    with (
        state.opened(directory, question) as kept,
        open_address(LOCAL, transcript=Transcript(directory)) as host,
    ):
        build, measurement = _hooks(arguments, kept)
        print(
            f"{len(found.revisions)} revisions from {found.good} to {found.revisions[-1]}; "
            f"all is kept in {directory}",
            flush=True,
        )
        bisect = Bisect(host, found, kept, build, measurement, rules, _tell)
        verdict = bisect.run()
        said = text.told(verdict, found, len(bisect.measured), _better(arguments))
        (directory / "verdict.md").write_text(said + "\n")
        (directory / "git-bisect.log").write_text(text.git_log(verdict, found, bisect.skipped))
        print(f"\n{said}")
    return CANNOT_TELL if verdict.kind == "can't tell" else 0


def _tell(line: str) -> None:
    print(line, flush=True)


def _better(arguments: argparse.Namespace) -> Better | None:
    if arguments.better or arguments.measure:
        given: Better | None = arguments.better
        return given
    return "more" if arguments.metric.startswith(("NDR", "PDR", "MRR")) else "less"


def _hooks(arguments: argparse.Namespace, kept: State) -> tuple[Build | None, Measurement]:
    """Raises InputError where too little or too much is said."""
    from pytest_vswitch.errors import InputError
    from pytest_vswitch.options import duration_s
    from pytest_vswitch.results.bisect.hooks import Build, Command, Run, pytest_of

    timeout_s = duration_s(arguments.timeout, "--timeout")
    build = Build(_words(arguments.build, "--build"), timeout_s) if arguments.build else None
    if arguments.measure:
        if arguments.dut or arguments.dpdk or arguments.pytest:
            raise InputError("--measure stands in place of --dut, --dpdk and --pytest")
        return build, Command(_words(arguments.measure, "--measure"), timeout_s)
    if not (arguments.dut and arguments.case):
        raise InputError("say what is measured: --dut and --case, or --measure")
    if bool(build) == bool(arguments.dpdk):
        raise InputError("say how a revision is built: either --build or --dpdk")
    pytest = _words(arguments.pytest, "--pytest") if arguments.pytest else pytest_of(arguments.case)
    run = Run(
        *(kept, arguments.dut, arguments.case, arguments.metric, pytest, arguments.dpdk),
        wait=arguments.wait,
        timeout_s=timeout_s,
    )
    return build, run


def _words(given: str, option: str) -> list[str]:
    """A command line as its words; a program named by a path is found from anywhere."""
    import shlex

    from pytest_vswitch.errors import InputError

    try:
        words = shlex.split(given)
    except ValueError as error:
        raise InputError(f"{option} {given}: {error}") from None
    if not words:
        raise InputError(f"{option}: names no command")
    if option != "--pytest" and "/" in words[0]:
        words[0] = str(Path(words[0]).absolute())
    return words
