"""The interfaces of the generator's host that a topology's ports are wired to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts import netns
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import Flow, NicPort
from pytest_vswitch.traffic.af_packet import interface


class Wired(Protocol):
    """What a generator on interfaces asks of a topology."""

    @property
    def ports(self) -> Sequence[NicPort]: ...
    @property
    def generator_cpu(self) -> int | None: ...
    def transform(self, frame: bytes, port: int) -> bytes: ...
    def peer(self, port: int) -> int: ...
    def flow(self, port: int) -> Flow: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a generator's process runs."""

    interfaces: tuple[str, ...]
    """In the order of the topology's ports."""
    command: tuple[str, ...]
    """What goes before a command that is to run in their network namespace."""
    cpu: int | None
    """None: it shares."""
    told: str
    """For readers, e.g. `g0 and g1 in wires`."""


@contextlib.contextmanager
def prepared(lab: Lab, host: Host, topology: Wired) -> Iterator[Place]:
    """The interfaces, up and silent; left as they were found.

    Raises InputError for a wire that the lab does not name or the host does not have,
    HostError for what the host refuses.
    """
    if not host.is_root():
        raise HostError(f"{host.name}: sending frames on network interfaces needs root")
    space = lab.generator.netns or ""
    interface.require_namespace(host, space, lab.where("generator", "netns"))
    names = []
    for index, port in enumerate(topology.ports):
        if not port.generator:
            raise InputError(
                f"{lab.where('ports', index)}: which of the generator's interfaces {port.name} is "
                "wired to is not known: write it as `generator:`, "
                "`vswitch lab init --probe-wiring` finds it"
            )
        where = lab.where("ports", index, "generator")
        names.append(interface.find(host, space, port.generator, where))
    interface.refuse_management(host, space, names)
    cpu = lab.generator.cpu
    if cpu is None and lab.generator.host in (None, lab.dut.host):
        cpu = topology.generator_cpu
    told = " and ".join(names) + (f" in {space}" if space else "")
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(interface.prepared(host, space, name))
        yield Place(tuple(names), tuple(netns.command(space)), cpu, told)
