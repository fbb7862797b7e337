"""`vswitch lab status` and `vswitch lab release`: who holds a lab, and taking it from them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, command
from pytest_vswitch.errors import InputError

if TYPE_CHECKING:
    from pytest_vswitch.hosts.open_host import OpenHost

RELEASE_S = 300.0
"""How long a run may take to come to its next trial, and to put the host in order [s]."""


def add(actions: Commands[argparse.ArgumentParser]) -> None:
    status = command(
        actions,
        "status",
        "show who holds a lab, since when, and who waits for it",
        "Shows, for each host of the lab, which run holds it: whose, from which machine, since\n"
        "when, with which command; and who waits for it, in order.",
        "vswitch lab status lab1",
    )
    status.add_argument("lab", metavar="LAB", help="a lab's name, or the path of its file")
    status.add_argument("--json", action="store_true", help="print one JSON object instead")
    status.set_defaults(command=_status)
    release = command(
        actions,
        "release",
        "take a lab from the run that holds it",
        "Tells the run that holds the lab's hosts to leave: it ends with an error, that names\n"
        "you, before its next trial, puts the hosts in order, and who waits longest comes next.\n"
        "--force ends it at once, in mid-trial; what it changed is undone all the same.",
        "vswitch lab release lab1\n  vswitch lab release lab1 --force",
    )
    release.add_argument("lab", metavar="LAB", help="a lab's name, or the path of its file")
    release.add_argument("--force", action="store_true", help="do not wait for its next trial")
    release.set_defaults(command=_release)


def _status(arguments: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    from pytest_vswitch.hosts.opening import open_host, roles
    from pytest_vswitch.lab.address import SIM
    from pytest_vswitch.lab.loader import load

    lab = load(arguments.lab)
    hosts = []
    for address, role in roles(lab).items():
        if address == SIM:
            raise InputError(f"lab `{lab.name}` is simulated: nobody can hold it")
        with open_host(lab, role) as host:
            owners, waiting = host.engine.owners(), host.engine.queue()
        if arguments.json:
            held = [asdict(owner) for owner in owners]
            queue = [asdict(claimant) for claimant in waiting]
            hosts.append({"host": host.name, "role": role, "held_by": held, "waiting": queue})
            continue
        for owner in owners:
            print(f"{host.name} ({role}): in use by {owner}")
            if owner.taken_by:
                print(f"  told to leave by {owner.taken_by}")
        if not owners:
            print(f"{host.name} ({role}): free")
        for place, claimant in enumerate(waiting, 1):
            print(f"  {place}. in the queue: run {claimant.run} of {claimant.who}")
    if arguments.json:
        print(json.dumps({"lab": lab.name, "hosts": hosts}))


def _release(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.hosts.opening import open_host, roles
    from pytest_vswitch.lab.address import SIM
    from pytest_vswitch.lab.loader import load

    lab = load(arguments.lab)
    for address, role in roles(lab).items():
        if address != SIM:
            with open_host(lab, role) as host:
                _take(host, force=arguments.force)


def _take(host: OpenHost, *, force: bool) -> None:
    from pytest_vswitch.hosts.open_host import whoami

    owners = host.engine.owners()
    if not owners:
        print(f"{host.name}: free")
    for owner in owners:
        host.engine.evict(owner.run, whoami(), force)
        if not force:
            print(f"{host.name}: waiting for run {owner.run} to leave", file=sys.stderr)
            host.wait_until_free(owner.run, RELEASE_S)
        print(f"{host.name}: released by run {owner.run} of {owner.claimant.who}")
