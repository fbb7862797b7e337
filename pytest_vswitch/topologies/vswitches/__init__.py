"""vSwitches by name: what each must offer to work with every endpoint.

An entry point of `pytest_vswitch.vswitches` names a module that keeps the contract of
`Kind`; that one file is all that a new vSwitch takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.ports import SwitchPorts

LinkKind = Literal["vhost", "memif", "memnic", "kni"]
"""The last two are memory that an Intel DPDK vSwitch shares with a guest (IVSHMEM)."""


@dataclass(frozen=True, slots=True)
class Link:
    """What connects a port of a vSwitch with a port of an endpoint."""

    kind: LinkKind
    outer: str
    """The vSwitch's ports are called that, with a number."""
    inner: str
    """The endpoints' ports."""


VHOST: Final = Link("vhost", "vhost", "virtio")
MEMIF: Final = Link("memif", "server", "client")
"""By their roles: the vSwitch listens on the socket, the endpoint brings the memory."""
MEMNIC: Final = Link("memnic", "memnic", "vEth")
KNI: Final = Link("kni", "kni", "vEth")
"""As the drawings of their guides call the ports."""


@dataclass(frozen=True, slots=True)
class VhostPort:
    """A port of a vSwitch towards an endpoint: the back-end of a virtio port, or a memif."""

    name: str
    """E.g. `vhost0`."""
    socket: str
    """Path of its socket on the DUT; MEMNIC and KNI have none."""
    kind: LinkKind | Literal["memif-client"] = "vhost"
    """A memif is a server, unless both ends of its link are ports of the vSwitch."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a vSwitch is started with."""

    ports: SwitchPorts
    """Towards the generator."""
    vhosts: Sequence[VhostPort]
    """Towards the endpoints, in order."""
    pairs: Sequence[tuple[str, str]]
    """Names of the ports that it forwards between, in both directions."""
    cores: LcorePlan
    pages: Hugepages


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of a vSwitch at one moment."""

    ports: Mapping[str, PortCounts]
    """By the name of the port."""
    statistics: Mapping[str, int] = field(default_factory=dict)
    """What else it counts and `facts_between` wants, e.g. cache hits."""


class VSwitch(Protocol):
    """A running vSwitch."""

    @property
    def name(self) -> str:
        """What errors and hops call it, e.g. `host testpmd`."""

    @property
    def versions(self) -> Mapping[str, str]:
        """By role, e.g. `host dpdk`."""

    @property
    def commands(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(what, argument list) of its long-running programs, in starting order."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What makes numbers from it unrepresentative, one sentence each."""

    @property
    def queues(self) -> int:
        """Transmit queues of each port towards the generator: one is used at a time, or all
        with as many `generator.queues`."""

    def driver(self, port: str) -> str:
        """What drives a port towards the generator, as the vSwitch names it."""

    def forward(self) -> None:
        """Begin to forward between the pairs; its endpoints run by now. Raises DutError."""

    def read(self) -> Reading:
        """Raises DutError."""

    def facts_between(self, before: Reading, after: Reading) -> Mapping[str, str]:
        """What its statistics say of a trial, for readers; see `topology.Hop.facts`."""

    def check_alive(self) -> None:
        """Raise DutError, with its name and last output, if one of its programs is gone."""


@runtime_checkable
class Restartable(Protocol):
    """A program whose forwarding can be restarted alone; its counters live through that."""

    @property
    def name(self) -> str: ...

    def restart(self) -> None:
        """Stop forwarding and begin again. Raises DutError."""


@runtime_checkable
class Respawning(Protocol):
    """What can be killed and started again, or rebooted; its counters begin anew then."""

    @property
    def whole(self) -> str:
        """What is, e.g. `host testpmd process`; empty where what hangs on it would not return."""

    def respawn(self) -> None:
        """Kill it, start it, and let it forward. Raises DutError."""


class Kind(Protocol):
    """The module of a vSwitch."""

    MAX_MTU: int
    """Largest `dut.mtu` that it carries [bytes]."""

    LISTENS: bool
    """Whether it listens on the vhost-user sockets; if not, the endpoints do."""
    LINKS: Sequence[LinkKind]
    """Kinds of link that its ports towards endpoints can have."""
    INTERRUPTS_TCG: bool
    """Whether its interrupts reach a guest without KVM, by QEMU's main loop."""

    def preflight(self, lab: Lab, host: Host) -> None:
        """Raise InputError for what the lab or the host lacks; change nothing."""

    def start(self, lab: Lab, host: Host, order: Order) -> AbstractContextManager[VSwitch]:
        """Start it, not forwarding yet; everything ends with the block.

        Raises DutError, with its last words, when it does not come up.
        """
