"""A virtual machine whose testpmd swaps the MAC addresses of each frame (guide, 4.2.5, 4.3)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pytest_vswitch.apps import testpmd, users_guest
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import macswap, virtual_machine
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.endpoints import EndpointFacts, Place
from pytest_vswitch.topologies.ports import JUMBO_MTU
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.topologies.virtual_machine import VirtualMachine

WHERE: Final = "guest"
MAX_MTU: Final = JUMBO_MTU

_MEMORY_MB = 256

preflight = virtual_machine.preflight
memory_mb = virtual_machine.memory_mb


def vcpus(lab: Lab) -> int:
    """One for Linux, the others forward."""
    return lab.guest.vcpus


@dataclass(slots=True)
class GuestTestpmd:
    """See `endpoints.Endpoint`."""

    machine: VirtualMachine
    forwarder: testpmd.Testpmd
    command: tuple[str, ...]
    where: str = WHERE
    whole: str = ""
    """As it is called when it is rebooted; empty where it cannot be."""
    boot_timeout_s: float = 90.0
    _dropped: dict[int, int] = field(default_factory=dict)
    """By port number: what it had dropped before forwarding was restarted."""

    @property
    def name(self) -> str:
        return self.forwarder.terminal.name

    @property
    def facts(self) -> EndpointFacts:
        versions = {"guest dpdk": self.forwarder.version}
        return self.machine.facts(versions, (self.name, self.command))

    def counts(self) -> tuple[PortCounts, PortCounts]:
        return macswap.counts(self.forwarder, self._dropped)

    def restart(self) -> None:
        macswap.restart(self.forwarder, self._dropped)

    def respawn(self) -> None:
        self.machine.guest.reboot(self.boot_timeout_s)
        self.forwarder = _forwarding(self.machine, self.command)
        self._dropped.clear()

    def transform(self, frame: bytes, entered: int) -> bytes:
        del entered
        return macswap.transform(frame)

    def flow(self, entered: int, plain: Flow) -> Flow:
        del entered
        return plain

    def check_alive(self) -> None:
        self.machine.guest.check_alive()


@contextlib.contextmanager
def start(lab: Lab, host: Host, place: Place) -> Iterator[GuestTestpmd]:
    """Raises HostError, DutError."""
    with virtual_machine.boot(lab, host, place, hugepages_mb=_MEMORY_MB) as machine:
        forwarding = testpmd.Parameters(
            lcores=",".join(f"{lcore}@{lcore}" for lcore in range(place.vcpus)),
            memory_mb=_MEMORY_MB,
            file_prefix="guest",
            hugepages=True,
            driver_directory=machine.image.driver_directory,
            forward_mode="macswap",
            port_topology="chained",
            forwarding_cores=max(1, place.vcpus - 1),
            mbufs=4096,
            mtu=lab.dut.mtu,
            queues=lab.guest.queues,
            descriptors=256,
        )
        argv = forwarding.argv(machine.image.testpmd)
        # One of the user's own may have to be logged in to again.
        own = users_guest.is_wanted(lab)
        yield GuestTestpmd(
            machine,
            _forwarding(machine, argv),
            tuple(argv),
            whole="" if own else f"guest{place.suffix}",
            boot_timeout_s=lab.guest.boot_timeout_s,
        )


def _forwarding(machine: VirtualMachine, argv: Sequence[str]) -> testpmd.Testpmd:
    """The guest's testpmd, started."""
    machine.guest.start(argv)
    forwarder = testpmd.Testpmd(machine.guest.testpmd)
    forwarder.start()
    return forwarder
