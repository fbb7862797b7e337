"""The commands of all pages in docs/plans/, and how one is handed to its program."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from functools import cache

from tests.plans.commands import Command, commands
from tests.plans.page import LABS, PAGES, ROOT

DEADLINE_S = 120.0


def run(argv: Sequence[str], stdin: str = "") -> tuple[int, str]:
    done = subprocess.run(
        argv,
        input=stdin.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE_S,
    )
    return done.returncode, done.stdout.decode(errors="replace")


@cache
def everything() -> tuple[Command, ...]:
    """Of the plans of all example labs, each once."""
    found: dict[Command, None] = {}
    for name in LABS:
        for path in sorted((ROOT / PAGES / name).glob("*.sh")):
            found |= dict.fromkeys(commands(path.read_text()))
    return tuple(found)


def of(*programs: str) -> list[Command]:
    found = [
        command
        for command in everything()
        if command.program in programs and not command.words[0].startswith("/opt/dpdk-ovs/")
    ]
    assert found, f"no plan has a command of {programs}"
    return found


def told() -> Iterator[tuple[str, str]]:
    """Whom, and what, line by line."""
    for command in of("tell"):
        _, name, text = command.words
        for line in text.splitlines():
            yield name, line
