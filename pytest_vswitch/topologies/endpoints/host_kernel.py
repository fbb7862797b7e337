"""The host's own kernel as an endpoint: it routes between two of its interfaces.

The interfaces are the kernel's ends of an exception path (guide, chapter 7), in a network
namespace of the run. Frames are of RFC 2544's networks, one behind each interface:

    198.18.0.0/16 -- 10.7.0.2    10.7.0.1/24   10.7.1.1/24    10.7.1.2 -- 198.19.0.0/16
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pytest_vswitch.apps import linux_router
from pytest_vswitch.apps.linux_router import InterfaceCounters
from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.hosts import netns
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.endpoints import EndpointFacts
from pytest_vswitch.topologies.endpoints.guest_kernel import Shares, routed
from pytest_vswitch.topologies.exception_ways import Interface
from pytest_vswitch.topologies.topology import Flow, plain_flow

NAME: Final = "host kernel"

_GATEWAYS: Final = ("10.7.0.2", "10.7.1.2")
ADDRESSES: Final = ("10.7.0.1/24", "10.7.1.1/24")
_NETWORKS: Final = ("198.18.0.0/16", "198.19.0.0/16")


class HostKernel:
    """See `endpoints.Endpoint`."""

    name = NAME
    where = "host"

    def __init__(
        self, host: Host, interfaces: Sequence[Interface], check_owner: Callable[[], None]
    ) -> None:
        """`check_owner` raises DutError when the program that made the interfaces is gone."""
        self._host = host
        self._check_owner = check_owner
        self._interfaces = interfaces
        self._namespace = interfaces[0].namespace
        self._shares = Shares()

    def route(self) -> None:
        """Begin to route. Raises HostError."""
        inside = netns.command(self._namespace)
        self._host.run(
            [*inside, "tee", "/proc/sys/net/ipv4/ip_forward"], stdin="1\n", why="it routes"
        )
        conf = "/proc/sys/net/ipv4/conf"
        names = ["all", *(end.name for end in self._interfaces)]
        self._host.run(
            [*inside, "tee", *(f"{conf}/{name}/rp_filter" for name in names)],
            stdin="0\n",
            why="sources need no route back",
        )
        lines = "".join(
            f"route add {network} via {gateway} dev {end.name}\n"
            f"neigh replace {gateway} lladdr {plain_flow(index, 1 - index).src_mac} "
            f"nud permanent dev {end.name}\n"
            for index, (end, gateway, network) in enumerate(
                zip(self._interfaces, _GATEWAYS, _NETWORKS, strict=True)
            )
        )
        self._host.run(
            ["ip", "-n", self._namespace, "-batch", "-"],
            stdin=lines,
            why="the generator's networks, behind gateways that need not be asked for",
        )

    @property
    def facts(self) -> EndpointFacts:
        release = self._host.read_text("/proc/sys/kernel/osrelease").strip()
        return EndpointFacts(
            versions={"host kernel": release},
            virtio_features="",
            accelerator="none",
            remarks=(),
            commands=(),
        )

    def counts(self) -> tuple[PortCounts, PortCounts]:
        """Raises DutError, e.g. when an interface is gone."""
        inside = self._namespace
        try:
            output = "".join(
                [
                    " ".join(end.name for end in self._interfaces) + "\n",
                    self._host.ask(["ip", "-n", inside, "-s", "-s", "-j", "link"]).output,
                    self._host.ask(["tc", "-n", inside, "-s", "-j", "qdisc"]).output,
                    netns.read(self._host, inside, "/proc/net/snmp"),
                    netns.read(self._host, inside, "/proc/net/netstat"),
                ]
            )
        except HostError as error:
            self._check_owner()
            raise DutError(f"{self.name} does not tell its counters: {error}") from None
        counters = linux_router.parse_counters(output)
        # What was dropped before it was counted as received is the link's loss, not its own.
        one, other = counters.interfaces
        own = dataclasses.replace(counters, interfaces=(_received(one), _received(other)))
        first, second = self._shares.counts(own)
        return _with_link(first, one), _with_link(second, other)

    def transform(self, frame: bytes, entered: int) -> bytes:
        """To the gateway, one hop further (RFC 1812, section 5.3.1)."""
        leaves = self._interfaces[1 - entered]
        gateway = plain_flow(1 - entered, entered).src_mac
        return routed(
            frame,
            linux_router.Interface(
                device="",
                mac=leaves.mac,
                address=leaves.address,
                gateway=_GATEWAYS[1 - entered],
                gateway_mac=gateway,
                routes=(),
                cpu=0,
            ),
        )

    def flow(self, entered: int, plain: Flow) -> Flow:
        return dataclasses.replace(
            plain, src_mac=plain.src_mac, dst_mac=self._interfaces[entered].mac
        )

    def check_alive(self) -> None:
        """Raise DutError when an interface is gone or down."""
        for end in self._interfaces:
            path = f"/sys/class/net/{end.name}/flags"
            try:
                flags = int(netns.read(self._host, end.namespace, path), 16)
            except HostError:
                self._check_owner()
                raise DutError(f"{self.name}: its interface {end.name} is gone") from None
            if not flags & 1:
                raise DutError(
                    f"{self.name}: its interface {end.name} is down; it was up when the "
                    "topology was wired"
                )


_LINK_DROPS: Final = "rx dropped"
"""A TAP device and a veth count so what they did not take: it is not in `rx packets`."""


def _received(counters: InterfaceCounters) -> InterfaceCounters:
    own = {word: n for word, n in counters.rx_drops.items() if word != _LINK_DROPS}
    return dataclasses.replace(counters, rx_drops=own)


def _with_link(counts: PortCounts, counters: InterfaceCounters) -> PortCounts:
    lost: Mapping[str, int] = {_LINK_DROPS: counters.rx_drops.get(_LINK_DROPS, 0)}
    return dataclasses.replace(counts, rx_drops=lost)
