"""Two places for one guest: each with a back-end of its own, on one host or on two.

Each place has a directory below the run's, and its programs have its name in front of theirs,
so that two of a kind on one host never meet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pytest_vswitch import registry
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import ports
from pytest_vswitch.topologies.endpoints import VIRTIO_PORTS
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.topology import MemifPort, NicPort
from pytest_vswitch.topologies.vswitches import Order, VhostPort, VSwitch

SOURCE, TARGET = "source", "target"


class _Room:
    """A part of a host; all that is not said here is the host's."""

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self._name = name
        # Its last part names the run, too: EAL's files are called after it.
        self.scratch = f"{host.scratch}/{host.scratch.rpartition('/')[2]}-{name}"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return getattr(self._host, name)

    def spawn(
        self, argv: Sequence[str], *, name: str, stop_with: str = "", why: str = ""
    ) -> Process:
        name = f"{self._name} {name}"
        return self._host.spawn(argv, name=name, stop_with=stop_with, why=why)

    def console(self, path: str, name: str) -> AbstractContextManager[Console]:
        return self._host.console(path, f"{self._name} {name}")


@contextlib.contextmanager
def room(host: Host, name: str) -> Iterator[Host]:
    """A part of `host` of that name, with a directory of its own. Raises HostError."""
    part = cast(Host, _Room(host, name))
    with host.changing(Change("made", part.scratch)):
        host.run(["mkdir", "-p", part.scratch], why=f"all that belongs to the {name}")
        yield part


@dataclass(frozen=True, slots=True)
class Place:
    """Where a guest can be: a running vSwitch with ports and vhost-user ports."""

    name: str
    """`source` or `target`."""
    host: Host
    """The part of a host that it has."""
    ports: Sequence[MemifPort | NicPort]
    vhosts: Sequence[VhostPort]
    vswitch: VSwitch

    @property
    def directory(self) -> str:
        """Of a guest that is here: its consoles, its QMP."""
        return f"{self.host.scratch}/guest"

    def check_alive(self) -> None:
        """Raise DutError, with the place's name, if its vSwitch is gone."""
        try:
            self.vswitch.check_alive()
        except DutError as error:
            said = str(error).removeprefix(f"{self.name} ")  # a program's name begins with it
            raise DutError(f"{self.name}: {said}") from None


@contextlib.contextmanager
def opened(lab: Lab, host: Host, name: str, cores: LcorePlan, pages: Hugepages) -> Iterator[Place]:
    """Start a place on `host`, its vSwitch not forwarding yet. Raises HostError, DutError."""
    with room(host, name) as part, ports.bound(lab, part) as bound:
        vhosts = [
            VhostPort(f"vhost{index}", f"{part.scratch}/vhost{index}")
            for index in range(VIRTIO_PORTS)
        ]
        pairs = [(bound.ports[index].name, vhosts[index].name) for index in range(VIRTIO_PORTS)]
        order = Order(bound, vhosts, pairs, cores, pages)
        with registry.vswitch(lab.dut.vswitch).start(lab, part, order) as vswitch:
            yield Place(name, part, bound.ports, vhosts, vswitch)
