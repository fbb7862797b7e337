"""A virtual machine whose kernel routes between its two virtio ports (Phy-VM-Phy guides).

    generator's port 0                       guest                       generator's port 1
    2.2.2.2  DE:AD:BE:EF:CA:FD  --  2.2.2.1/24   3.3.3.1/24  --  3.3.3.2  DE:AD:BE:EF:CA:FE

Frames from 1.1.0.0/16 to 6.6.0.0/16 enter by the first port and leave by the second, to the
guide's default gateway. On the way back they go to 5.5.0.0/16: to 1.1.0.0/16 there is no
route but the default one, as in the guide, which for that reason turns `rp_filter` off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pytest_vswitch.apps import linux_router, users_guest
from pytest_vswitch.apps.linux_router import Interface, InterfaceCounters, RouterCounters
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import virtual_machine
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.endpoints import EndpointFacts, Place
from pytest_vswitch.topologies.ports import JUMBO_MTU, require_programs
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.topologies.virtual_machine import VirtualMachine

WHERE: Final = "guest"
MAX_MTU: Final = JUMBO_MTU

_FLOWS = (("1.1.0.1", "6.6.0.1"), ("6.6.0.1", "5.5.0.1"))
"""Source and destination of what enters by each port."""
_NETWORKS = ("2.2.2", "3.3.3")
_GATEWAY_MACS = ("de:ad:be:ef:ca:fd", "de:ad:be:ef:ca:fe")
_ROUTES = (("5.5.0.0/16",), ("default",))
"""What leaves by each port."""

memory_mb = virtual_machine.memory_mb


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what a virtual machine that routes needs and the host lacks."""
    virtual_machine.preflight(lab, host)
    if not users_guest.is_wanted(lab):  # which brings its own
        require_programs(host, [("ip", "iproute2", ""), ("tc", "iproute2", "")])


def vcpus(lab: Lab) -> int:
    """One for Linux, the others forward."""
    return lab.guest.vcpus


class GuestKernel:
    """See `endpoints.Endpoint`."""

    where = WHERE

    def __init__(
        self, name: str, machine: VirtualMachine, interfaces: tuple[Interface, Interface]
    ) -> None:
        self.name = name
        self.machine = machine
        self._interfaces = interfaces
        self._shares = Shares()

    @functools.cached_property
    def facts(self) -> EndpointFacts:
        facts = self.machine.facts({})
        if _msi(self.machine):
            return facts
        return dataclasses.replace(
            facts,
            remarks=(
                *facts.remarks,
                "the guest's ports interrupt without MSI-X, on which QEMU 7.2 without KVM crashes",
            ),
        )

    def counts(self) -> tuple[PortCounts, PortCounts]:
        output = self.machine.guest.run(linux_router.COUNTERS)
        return self._shares.counts(linux_router.parse_counters(output))

    def transform(self, frame: bytes, entered: int) -> bytes:
        """To the gateway, one hop further (RFC 1812, section 5.3.1)."""
        return routed(frame, self._interfaces[1 - entered])

    def flow(self, entered: int, plain: Flow) -> Flow:
        port = self._interfaces[entered]
        src_ip, dst_ip = _FLOWS[entered]
        return dataclasses.replace(
            plain, src_mac=port.gateway_mac, dst_mac=port.mac, src_ip=src_ip, dst_ip=dst_ip
        )

    def check_alive(self) -> None:
        self.machine.guest.check_alive()


@contextlib.contextmanager
def start(lab: Lab, host: Host, place: Place) -> Iterator[GuestKernel]:
    """Raises InputError, HostError, DutError."""
    with virtual_machine.boot(lab, host, place, hugepages_mb=0) as machine:
        if not (place.interrupts_tcg or machine.accelerator.name == "kvm"):
            raise InputError(
                f"a guest's kernel behind {lab.dut.vswitch} needs KVM: without it, the vSwitch may "
                "take an interrupt back before QEMU sees it, and frames stay in the guest's ring; "
                f"{host.name} has no KVM ({machine.accelerator.reason}); choose another --vswitch"
            )
        both = interfaces(place, machine.devices, lab.dut.mtu)
        router = linux_router.Parameters(both, msi=_msi(machine))
        for command, why in router.commands():
            machine.guest.run(command, why=why)
        yield GuestKernel(f"guest kernel{place.suffix}", machine, both)


def interfaces(
    place: Place, devices: Sequence[str], mtu: int = 1500
) -> tuple[Interface, Interface]:
    """The ports of a router, by their PCI addresses in the guest."""
    one, other = (
        Interface(
            device=device,
            mac=place.mac(number),
            address=f"{_NETWORKS[number]}.1/24",
            gateway=f"{_NETWORKS[number]}.2",
            gateway_mac=_GATEWAY_MACS[number],
            routes=_ROUTES[number],
            cpu=1 + number % (place.vcpus - 1) if place.vcpus > 1 else 0,
            mtu=mtu,
        )
        for number, device in enumerate(devices)
    )
    return one, other


def _msi(machine: VirtualMachine) -> bool:
    """Without KVM, QEMU 7.2 crashes when a kernel lets a vhost-user port interrupt by MSI-X."""
    return machine.accelerator.name == "kvm"


# --- frames -------------------------------------------------------------------------------


def routed(frame: bytes, leaves: Interface) -> bytes:
    """A frame (without FCS) as it leaves a router there, for the gateway behind it."""
    return _mac(leaves.gateway_mac) + _mac(leaves.mac) + frame[12:14] + _forwarded(frame[14:])


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _forwarded(packet: bytes) -> bytes:
    """An IPv4 packet with its time to live decremented and its header checksum renewed."""
    length = 4 * (packet[0] & 0x0F)
    header = bytearray(packet[:length])
    header[8] -= 1
    header[10:12] = bytes(2)
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, length, 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    header[10:12] = (0xFFFF - total).to_bytes(2, "big")
    return bytes(header) + packet[length:]


# --- counts -------------------------------------------------------------------------------


class Shares:
    """Divides what the kernel's IP layer dropped between the ports where it had come in.

    The kernel counts that for all interfaces together. How many frames of each port did not
    come out is known, and so is how many there are of each kind of drop; only where both
    ports lost frames, in several ways, which of them in which way is a guess.
    """

    def __init__(self) -> None:
        self._settled: dict[str, tuple[int, int]] = {}
        """By kind, for each port, as of the last counters that added up."""

    def counts(self, counters: RouterCounters) -> tuple[PortCounts, PortCounts]:
        """Drops of a kind never become fewer, for a port, from one settled reading to the next."""
        one, other = counters.interfaces
        missing = [_missing(one, other), _missing(other, one)]
        dropped = {kind: list(self._settled.get(kind, (0, 0))) for kind in counters.ip_drops}
        for port in (0, 1):
            missing[port] -= sum(shares[port] for shares in dropped.values())
        for kind, count in counters.ip_drops.items():
            new = count - sum(dropped[kind])
            first = min(new, max(missing[0], 0))
            # What neither misses shows at the second port that the books don't balance.
            for port, share in enumerate((first, new - first)):
                dropped[kind][port] += share
                missing[port] -= share
        if missing == [0, 0]:  # no frame was under way
            self._settled = {kind: (shares[0], shares[1]) for kind, shares in dropped.items()}
        return (
            _port(one, {kind: shares[0] for kind, shares in dropped.items()}),
            _port(other, {kind: shares[1] for kind, shares in dropped.items()}),
        )


def _missing(entered: InterfaceCounters, left: InterfaceCounters) -> int:
    """Frames that came in by one interface and that neither of the two knows any more."""
    return entered.rx - sum(entered.rx_drops.values()) - left.tx - sum(left.tx_drops.values())


def _port(counters: InterfaceCounters, ip_drops: Mapping[str, int]) -> PortCounts:
    return PortCounts(
        rx=counters.rx,
        tx=counters.tx,
        tx_drops=counters.tx_drops,
        discards={**counters.rx_drops, **ip_drops},
    )
