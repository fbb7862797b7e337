"""Endpoints by name: what can lie behind a vSwitch, with two virtio ports.

An entry point of `pytest_vswitch.endpoints` names a module that keeps the contract of
`Kind`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.topologies.vswitches import VhostPort

VIRTIO_PORTS = 2
"""Of each endpoint."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a chain an endpoint is started."""

    number: int
    """Counts from 0, from the generator's first port on."""
    vhosts: Sequence[VhostPort]
    """The ports of the vSwitch that are the back-ends of its two virtio ports."""
    listens: bool
    """Whether it, not the vSwitch, listens on their sockets."""
    vcpus: int
    """CPUs that it has: one for its command line or its Linux, the others forward."""
    cpus: tuple[int, ...]
    """The host's CPU of each of them; empty: wherever Linux puts them."""
    pages: Hugepages
    interrupts_tcg: bool = True
    """Whether the vSwitch's interrupts reach a guest without KVM."""

    @property
    def suffix(self) -> str:
        """What tells it from others of its kind, in names: nothing for the first."""
        return f" {self.number + 1}" if self.number else ""

    def mac(self, port: int) -> str:
        """MAC address of its virtio port 0 or 1."""
        return f"52:54:00:02:d9:{VIRTIO_PORTS * self.number + port + 1:02x}"


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What was read from a running endpoint; see `topology.Facts`."""

    versions: Mapping[str, str]
    virtio_features: str
    accelerator: str
    remarks: tuple[str, ...]
    commands: tuple[tuple[str, tuple[str, ...]], ...]


class Endpoint(Protocol):
    """A running endpoint: what enters by one of its virtio ports leaves by the other."""

    @property
    def name(self) -> str:
        """What errors and hops call it, e.g. `guest testpmd`."""

    @property
    def where(self) -> str:
        """`guest` or `container`; see `topology.Node`."""

    @property
    def facts(self) -> EndpointFacts: ...

    def counts(self) -> tuple[PortCounts, PortCounts]:
        """Of its two virtio ports. Raises DutError."""

    def transform(self, frame: bytes, entered: int) -> bytes:
        """What it makes of a frame (without FCS) that entered by virtio port 0 or 1."""

    def flow(self, entered: int, plain: Flow) -> Flow:
        """Addresses that frames must have to be forwarded from there.

        `plain` is what they have if it does not matter.
        """

    def check_alive(self) -> None:
        """Raise DutError if it, or what it runs in, is gone or frozen."""


class Kind(Protocol):
    """The module of an endpoint."""

    MAX_MTU: int
    """Largest `dut.mtu` that it carries [bytes]."""

    WHERE: Literal["guest", "container", "peer"]

    def preflight(self, lab: Lab, host: Host) -> None:
        """Raise InputError for what the lab or the host lacks; change nothing."""

    def vcpus(self, lab: Lab) -> int:
        """CPUs that it wants."""

    def memory_mb(self, lab: Lab) -> int:
        """Memory that it shares with the vSwitch [MiB]."""

    def start(self, lab: Lab, host: Host, place: Place) -> AbstractContextManager[Endpoint]:
        """Start it, forwarding; everything ends with the block.

        Raises DutError, with its last words, when it does not come up.
        """
