"""The generator of a lab whose ports are those of network cards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts import netns
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.traffic.af_packet import interface
from pytest_vswitch.traffic.worker_generator import Attachable, WorkerGenerator


class NicTopology(Attachable, Protocol):
    """A topology whose ports are wired to interfaces."""

    @property
    def ports(self) -> Sequence[NicPort]: ...


@contextlib.contextmanager
def attach(lab: Lab, host: Host, topology: NicTopology) -> Iterator[WorkerGenerator]:
    """The generator on the interfaces of `host` that the topology's ports are wired to.

    Its interfaces are up and silent, and left as they were found. Raises InputError for a
    wire that the lab does not name or the host does not have, HostError for what the host
    refuses, DutError where there is no link.
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
    on_dut = lab.generator.host in (None, lab.dut.host)
    cpu = topology.generator_cpu if on_dut else None
    tagged = any(topology.flow(port).vlan is not None for port in range(len(names)))
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(interface.prepared(host, space, name))
        yield stack.enter_context(
            WorkerGenerator(
                host,
                "af_packet",
                [{"interface": name, "tagged": tagged} for name in names],
                topology,
                cpu=cpu if lab.generator.cpu is None else lab.generator.cpu,
                ring_size=lab.generator.ring_size,
                command=netns.command(space),
                place=" and ".join(names) + (f" in {space}" if space else ""),
            )
        )
