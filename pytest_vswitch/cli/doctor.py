"""`vswitch doctor`: what killed runs left on a lab's hosts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, command
from pytest_vswitch.errors import HostError

if TYPE_CHECKING:
    from pytest_vswitch.hosts.leftovers import Leftover
    from pytest_vswitch.hosts.open_host import OpenHost


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    doctor = command(
        commands,
        "doctor",
        "show, or clean up, what killed runs left on a lab's hosts",
        "Shows the processes and changes that runs left on the hosts of a lab (DUT, generator,\n"
        "migration target) when they were killed or the machine went down. --clean ends those\n"
        "processes and undoes those changes; what others have changed since is told and left.\n"
        "Runs that are alive are shown and never touched.",
        "vswitch doctor local --clean\n  vswitch doctor lab1 --json",
    )
    doctor.add_argument("lab", metavar="LAB", help="a lab's name, or the path of its file")
    doctor.add_argument("--clean", action="store_true", help="end and undo what is left")
    doctor.add_argument("--json", action="store_true", help="print one JSON object instead")
    doctor.set_defaults(command=_doctor)


def _doctor(arguments: argparse.Namespace) -> None:
    import json

    from pytest_vswitch.hosts.opening import open_host, roles
    from pytest_vswitch.lab.address import SIM
    from pytest_vswitch.lab.loader import load

    lab = load(arguments.lab)
    alive: list[str] = []
    found: list[dict[str, object]] = []
    stuck: list[str] = []
    for address, role in roles(lab).items():
        if address == SIM:  # it starts nothing and changes nothing
            continue
        with open_host(lab, role) as host:
            for owner in host.engine.owners():
                alive.append(owner.run)
                if not arguments.json:
                    print(f"{host.name}: alive: {owner}")
            for left in host.engine.leftovers():
                found.append({"host": host.name, **_plain(left)})
                if not arguments.json:
                    _show(host, left)
                if arguments.clean:
                    stuck += _clean(host, left, quiet=arguments.json)
    if arguments.json:
        cleaned = arguments.clean and not stuck
        print(json.dumps({"alive": alive, "leftovers": found, "cleaned": cleaned}))
    elif not found:
        print("nothing is left of earlier runs")
    elif not stuck:
        lab_name = arguments.lab
        print("cleaned" if arguments.clean else f"`vswitch doctor {lab_name} --clean` removes it")
    if stuck:
        raise HostError("\n".join(stuck))


def _show(host: OpenHost, left: Leftover) -> None:
    print(f"{host.name}: run {left.run} is dead and left:")
    for pid, program in left.processes:
        print(f"  process {program} ({pid})")
    for change in left.changes:
        print(f"  change {change}")
    print(f"  directory {left.directory}")


def _clean(host: OpenHost, left: Leftover, *, quiet: bool) -> list[str]:
    """What could not be undone; the other runs' leftovers are not kept by it."""
    try:
        for remark in host.engine.clean(left.run):
            if not quiet:
                print(f"  {remark}")
    except HostError as error:
        return [f"{host.name}: {error}"]
    return []


def _plain(left: Leftover) -> dict[str, object]:
    return {
        "run": left.run,
        "processes": [{"pid": pid, "program": name} for pid, name in left.processes],
        "changes": [str(change) for change in left.changes],
        "directory": str(left.directory),
    }
