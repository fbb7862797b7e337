"""The contract that every topology keeps: ports, path of a frame, counters, health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MemifPort:
    """A DUT port that a generator reaches over shared memory, as memif client."""

    name: str
    """As the DUT calls it, e.g. `memif0`."""
    socket: str
    """Path of the server's control socket on the DUT."""
    line_rate_bps: float
    """Wire speed that the port stands for [bit/s], preamble and gap included."""
    rings: int = 1
    """Transmit queues of the server: a client offers it a ring for each."""
    also: tuple[str, ...] = ()
    """Further sockets: the generator floods each frame to all, as a switch does to its ports."""


@dataclass(frozen=True, slots=True)
class NicPort:
    """A port of a network card, wired to one of the generator's."""

    name: str
    bdf: str
    """PCI address on the DUT."""
    generator: str
    """Interface or PCI address of the generator's port at the other end of the wire."""
    line_rate_bps: float
    """Speed of the link [bit/s], preamble and gap included."""


@dataclass(frozen=True, slots=True)
class SimulatedPort:
    """A port of the simulated DUT."""

    name: str
    line_rate_bps: float


Port = MemifPort | NicPort | SimulatedPort


CYCLES_PER_FRAME = "cycles per frame"
"""Ends the name of a hop's fact: what its program says a frame costs, each time it passes."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One place that the frames of one direction pass. All counts are frames.

    The books of a hop balance when `entered == left + sum(drops.values())`.
    """

    name: str
    """E.g. `host testpmd: memif0 -> vhost0`."""
    entered: int
    left: int
    drops: Mapping[str, int] = field(default_factory=dict)
    """What the program itself says it dropped here, by its own words."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else it tells of this trial, for readers, e.g. `EMC hit rate`: `99.8 %`."""

    @property
    def lost(self) -> int:
        return self.entered - self.left

    @property
    def balanced(self) -> bool:
        return self.lost == sum(self.drops.values())


@dataclass(frozen=True, slots=True)
class Flow:
    """Addresses of the frames that a generator sends into a port: Ethernet, IPv4, UDP."""

    src_mac: str
    dst_mac: str
    src_ip: str
    dst_ip: str
    vlan: int | None = None
    """Tag of the frames (IEEE 802.1Q), if they have one."""


def plain_flow(port: int, peer: int) -> Flow:
    """For a DUT that does not look at addresses: RFC 2544 appendix C, local MAC addresses.

    Each port is in a network of its own (/16).
    """

    def mac(number: int) -> str:
        return f"02:00:c6:12:00:{number + 1:02x}"

    def address(number: int) -> str:
        return f"198.{18 + number % 2}.{number // 2}.1"

    return Flow(mac(port), mac(peer), address(port), address(peer))


@dataclass(frozen=True, slots=True)
class Node:
    """One box of the topology drawing: a program and the ports it owns."""

    name: str
    """E.g. `host testpmd`."""
    where: str
    """`generator`, `host`, `guest` or `container`."""
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read from the running programs, never from configuration."""

    versions: Mapping[str, str]
    """By role: `host dpdk`, `guest dpdk`, `qemu`, `guest kernel`, ..."""
    virtio_features: str
    """Empty when all are the defaults (guide, chapter 4.4)."""
    nic: str
    """Model of the DUT's ports, as its program names them."""
    accelerator: str
    """`kvm`, `tcg` or `none`."""
    memory: str
    """E.g. `2048 kB hugepages` or `no hugepages`."""
    remarks: tuple[str, ...]
    """What makes numbers from this topology unrepresentative, one sentence each."""
    commands: tuple[tuple[str, tuple[str, ...]], ...]
    """(what, argument list) of every long-running program, in starting order."""


class Topology(Protocol):
    """A wired and running DUT."""

    @property
    def name(self) -> str: ...

    @property
    def ports(self) -> Sequence[Port]:
        """Where a generator attaches; frames sent into port i come out of `peer(i)`."""

    @property
    def nodes(self) -> Sequence[Node]:
        """The boxes of the drawing, from the generator's side inwards."""

    @property
    def facts(self) -> Facts: ...

    @property
    def variant(self) -> Mapping[str, str]:
        """Choices that are not the defaults, e.g. `vswitch`: `ovs-dpdk`; they name the case."""

    def peer(self, port: int) -> int:
        """Index of the port where frames sent into `port` come out."""

    def flow(self, port: int) -> Flow:
        """Addresses that frames sent into `port` must have."""

    def transform(self, frame: bytes, port: int) -> bytes:
        """What comes out of a frame (without FCS) sent into `port`, e.g. its MACs swapped."""

    def snapshot(self) -> object:
        """Counters of every hop, now; opaque to the caller, given back to `path`."""

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        """The hops inside the DUT of frames sent into `tx_port`, between two snapshots."""

    def check_alive(self) -> None:
        """Raise DutError, with the culprit's name and last output, if a program is gone."""
