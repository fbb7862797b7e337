"""`vswitch lab up`, `reboot` and `down`: a virtual DUT, for those who have no other."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, command

if TYPE_CHECKING:
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.vlab.debian import Say
    from pytest_vswitch.vlab.state import Place

_LAB = "a virtual lab's name, or the path of its file, e.g. vlab"


def add(actions: Commands[argparse.ArgumentParser]) -> None:
    up = command(
        actions,
        "up",
        "boot a virtual DUT: a second machine made of software",
        "Boots the DUT of a virtual lab: QEMU with two SR-IOV NIC ports, an IOMMU, four cores\n"
        "and sshd, from Debian's packages. The first time that takes two minutes, later 20 s.\n"
        "It runs until `vswitch lab down`; what it has written to its disk stays until then.\n"
        "If it was switched off, or its QEMU was killed (a power cut), `up` boots it again.\n"
        "Its ports end in TAP devices in a network namespace of this machine.",
        "vswitch lab up vlab",
    )
    up.add_argument("lab", metavar="LAB", help=_LAB)
    up.set_defaults(command=_up)
    reboot = command(
        actions,
        "reboot",
        "reboot a virtual DUT, with another kernel command line if asked to",
        "Reboots the DUT of a virtual lab and waits until it is there again. It boots with the\n"
        "kernel command line in its /etc/kernel/cmdline; --append adds words to it first, in\n"
        "place of those of the same name.",
        'vswitch lab reboot vlab --append "isolcpus=2,3 nohz_full=2,3 rcu_nocbs=2,3"',
    )
    reboot.add_argument("lab", metavar="LAB", help=_LAB)
    reboot.add_argument(
        "--append", metavar="WORDS", default="", help="words for the kernel command line"
    )
    reboot.set_defaults(command=_reboot)
    down = command(
        actions,
        "down",
        "end a virtual DUT, and remove its disk and all else that it has",
        "Ends the DUT of a virtual lab at once and removes all that is its own: processes,\n"
        "network namespace, TAP devices, disk, keys. What it was built from stays cached.",
        "vswitch lab down vlab",
    )
    down.add_argument("lab", metavar="LAB", help=_LAB)
    down.set_defaults(command=_down)


def _up(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.vlab import machine

    place = _place(arguments.lab)
    began = time.monotonic()
    with _here() as host:
        machine.up(host, place, _say(place))
    _say(place)(f"up after {time.monotonic() - began:.0f} s")
    print(machine.login(place))


def _reboot(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.vlab import machine

    place = _place(arguments.lab)
    began = time.monotonic()
    with _here() as host:
        machine.reboot(host, place, _say(place), append=arguments.append)
    _say(place)(f"up again after {time.monotonic() - began:.0f} s")


def _down(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.vlab import machine

    place = _place(arguments.lab)
    with _here() as host:
        machine.down(host, place, _say(place))


def _place(name_or_path: str) -> Place:
    """Where the lab's DUT is. Raises InputError for a lab whose DUT is no virtual one."""
    from pytest_vswitch.errors import InputError
    from pytest_vswitch.lab.loader import load
    from pytest_vswitch.vlab.state import Place, is_virtual

    lab = load(name_or_path)
    place = Place(lab.name)
    if not is_virtual(lab):
        raise InputError(
            f"{lab.where('dut')}: the DUT of lab `{lab.name}` is not a virtual one; one has\n"
            f"dut.host: root@{lab.name}\ndut.ssh.config: {place.ssh_config}\n"
            "as in labs/vlab.yaml (`vswitch lab show vlab`)"
        )
    return place


@contextlib.contextmanager
def _here() -> Iterator[Host]:
    """This machine; what is done on it outlives the command, so no run owns it."""
    import tempfile
    from pathlib import Path

    from pytest_vswitch.hosts.local import LocalHost
    from pytest_vswitch.hosts.transcript import Transcript

    with tempfile.TemporaryDirectory(prefix="vswitch-lab-") as scratch:
        yield LocalHost("vlab", Transcript(Path(scratch)))


def _say(place: Place) -> Say:
    return lambda text: print(f"{place.name}: {text}", file=sys.stderr, flush=True)
