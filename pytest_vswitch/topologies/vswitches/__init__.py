"""vSwitches by name: what each must offer to work with every endpoint.

An entry point of `pytest_vswitch.vswitches` names a module that keeps the contract of
`Kind`; that one file is all that a new vSwitch takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.ports import SwitchPorts


@dataclass(frozen=True, slots=True)
class VhostPort:
    """A vhost-user port of a vSwitch: the back-end of one virtio port."""

    name: str
    """E.g. `vhost0`."""
    socket: str
    """Path of the vhost-user socket on the DUT."""


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


class Kind(Protocol):
    """The module of a vSwitch."""

    LISTENS: bool
    """Whether it listens on the vhost-user sockets; if not, the endpoints do."""

    def preflight(self, lab: Lab, host: Host) -> None:
        """Raise InputError for what the lab or the host lacks; change nothing."""

    def start(self, lab: Lab, host: Host, order: Order) -> AbstractContextManager[VSwitch]:
        """Start it, not forwarding yet; everything ends with the block.

        Raises DutError, with its last words, when it does not come up.
        """
