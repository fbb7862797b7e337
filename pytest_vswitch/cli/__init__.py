"""The `vswitch` command: what can be done without a test run.

Whatever a command needs is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pytest_vswitch import __version__
from pytest_vswitch.cli import (
    bisect,
    compare,
    doctor,
    dpdk,
    lab,
    plan,
    report,
    store,
    threshold,
    topologies,
    trend,
)
from pytest_vswitch.cli.command import painted
from pytest_vswitch.errors import VswitchError

OK = 0
ERROR = 4
"""A file, an option, a host or the wiring is at fault, as in pytest."""
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status, `OK` unless it returns another. Usage errors exit with
    2, by argparse."""
    arguments = _parser().parse_args(argv)
    try:
        status: int | None = arguments.command(arguments)
        sys.stdout.flush()
    except VswitchError as error:
        message = str(error).replace("\n", "\n  ")
        print(f"vswitch: {painted('error:', '31', sys.stderr)} {message}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return OK if status is None else status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vswitch",
        description="Labs, thresholds and reports of pytest-vswitch; to measure, run "
        "`pytest suites/pvp --dut local`.",
        epilog="`vswitch COMMAND --help` explains a command, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-vswitch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        *(lab, topologies, plan, report, threshold),
        *(store, compare, trend, bisect, dpdk, doctor),
    ):
        module.add(commands)
    return parser
