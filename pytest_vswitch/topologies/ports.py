"""The lab's ports as the switch gets them: memif servers, or NICs bound for DPDK."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import nics
from pytest_vswitch.topologies.topology import MemifPort, NicPort

PORTS = 2
"""Ports of a chain."""

JUMBO_MTU = 9706
"""Largest `dut.mtu` [bytes]: what generators send at most."""


@dataclass(frozen=True, slots=True)
class SwitchPorts:
    """Ports that a switch may take."""

    ports: Sequence[MemifPort | NicPort]
    """Where the generator attaches."""
    devargs: Sequence[str]
    """What DPDK calls each of them: a PCI address, or a virtual device with its arguments."""


def require_programs(host: Host, programs: Sequence[tuple[str, str, str]]) -> None:
    """Raise InputError for one that the host lacks: (program, its package, place in the lab)."""
    for program, package, where in programs:
        if not host.which(program):
            raise InputError(
                f"{where}{host.name} has no program `{program}`: apt-get install {package}"
            )


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for a NIC port that is not there, or that must not be touched."""
    for index, port in enumerate(lab.ports[:PORTS]):
        if port.kind != "nic":
            continue
        where = lab.where("ports", index, "bdf")
        if not host.exists(f"/sys/bus/pci/devices/{port.bdf}"):
            raise InputError(f"{where}: {host.name} has no PCI device {port.bdf}")
        if port.driver != "kernel":
            nics.refuse_management(host, port.bdf)


@contextlib.contextmanager
def bound(lab: Lab, host: Host) -> Iterator[SwitchPorts]:
    """The lab's first two ports, ready for the switch; given back as they were found.

    Raises HostError when a NIC cannot be bound to its driver.
    """
    ports: list[MemifPort | NicPort] = []
    devargs: list[str] = []
    with contextlib.ExitStack() as stack:
        for index, port in enumerate(lab.ports[:PORTS]):
            line_rate_bps = port.line_rate_gbps * 1e9
            if port.kind == "memif":
                socket = f"{host.scratch}/{port.name}"
                stack.enter_context(host.changing(Change("made", socket)))
                devargs.append(
                    f"net_memif{index},role=server,id=0,socket={socket},socket-abstract=no"
                )
                ports.append(MemifPort(port.name, socket, line_rate_bps))
            elif port.kind == "nic":
                if port.driver != "kernel":
                    nics.refuse_management(host, port.bdf)
                    load(host, port.driver)
                    stack.enter_context(changes.binding(host, port.bdf, port.driver))
                devargs.append(port.bdf)
                ports.append(NicPort(port.name, port.bdf, port.generator or "", line_rate_bps))
        yield SwitchPorts(ports, devargs)


def load(host: Host, driver: str) -> None:
    """A module of the kernel, unless it is there. Raises HostError."""
    if not host.exists(f"/sys/bus/pci/drivers/{driver}"):
        host.run(["modprobe", driver], why="the driver for DPDK (guide, 4.2.4)")
