"""A chain: two ports, a vSwitch between them, and endpoints behind it, one after the other.

With one endpoint, a frame sent into port 0 goes

    port 0 -> vSwitch -> vhost0 -> virtio0 -> endpoint -> virtio1 -> vhost1 -> vSwitch -> port 1

and a frame sent into port 1 the other way round (guide, chapters 4 and 6); with two, it comes
by vhost2 and vhost3, too; with none, the vSwitch passes it from port to port.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_vswitch import registry
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import memory
from pytest_vswitch.topologies import lcores, ports
from pytest_vswitch.topologies.axes import Axes
from pytest_vswitch.topologies.counts import PortCounts, since
from pytest_vswitch.topologies.endpoints import VIRTIO_PORTS, Endpoint, Place
from pytest_vswitch.topologies.endpoints import Kind as EndpointKind
from pytest_vswitch.topologies.lcores import LcorePlan, Wanted
from pytest_vswitch.topologies.ports import PORTS
from pytest_vswitch.topologies.topology import (
    Facts,
    Flow,
    Hop,
    MemifPort,
    NicPort,
    Node,
    plain_flow,
)
from pytest_vswitch.topologies.vswitches import (
    VHOST,
    Link,
    Order,
    Reading,
    Respawning,
    Restartable,
    VhostPort,
    VSwitch,
)
from pytest_vswitch.topologies.vswitches import Kind as VSwitchKind


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters of a chain's programs at one moment."""

    vswitch: Reading
    endpoints: Sequence[tuple[PortCounts, PortCounts]]


@dataclass(frozen=True, slots=True)
class ChainWiring:
    """What brings up a chain; see `registry.Wiring`."""

    name: str
    """Of the topology."""
    endpoints: tuple[str, ...]
    """As registered, from the generator's first port on."""
    link: Link = VHOST
    """Between the vSwitch and each endpoint."""

    @property
    def axes(self) -> Axes:
        guests = any(registry.endpoint(name).WHERE == "guest" for name in self.endpoints)
        return Axes(self.endpoints, hypervisor=guests)

    def preflight(self, lab: Lab, host: Host) -> None:
        """Raise InputError for what the lab or the host lacks; nothing is changed."""
        require_ports(lab, self.name, PORTS)
        vswitch, kinds = self._kinds(lab)
        if self.link.kind not in vswitch.LINKS:
            raise InputError(
                f"{self.name} wants a vSwitch with {self.link.kind} ports, and {lab.dut.vswitch} "
                f"has {' and '.join(vswitch.LINKS)} ports here; choose another one"
            )
        most = {name: kind.MAX_MTU for name, kind in zip(self.endpoints, kinds, strict=True)}
        for name, mtu in {lab.dut.vswitch: vswitch.MAX_MTU, **most}.items():
            if lab.dut.mtu > mtu:
                raise InputError(
                    f"{lab.where('dut', 'mtu')}: {name}, a hop of {self.name}, carries an MTU of "
                    f"{mtu} at most, not {lab.dut.mtu}"
                )
        vswitch.preflight(lab, host)
        for kind in dict.fromkeys(kinds):
            kind.preflight(lab, host)
        if not host.is_root():
            raise InputError(
                f"{self.name} on {host.name} needs root: for hugepages, DPDK's physical addresses "
                "and the run's state in /run; run pytest as root, or try `--dut sim`"
            )
        ports.preflight(lab, host)
        check_lcores(lab, set(lcores.available(host)))
        self._cores(lab, host, kinds)
        needed_mb = sum(self._memory_mb(lab, kinds))
        available_mb = memory.read(host).available_mb
        if available_mb < needed_mb:
            raise InputError(
                f"{host.name}: not enough memory: {self.name} needs {needed_mb} MB, "
                f"{available_mb} MB are available; lower dut.memory_mb"
                + (" or guest.memory_mb" if any(kind.WHERE == "guest" for kind in kinds) else "")
                + " in the lab"
            )

    @contextlib.contextmanager
    def provision(self, lab: Lab, host: Host) -> Iterator[Chain]:
        """Wire and start the chain; everything ends with the block.

        Raises InputError for a lab that does not fit, HostError for what the host lacks,
        DutError, with its last words, for a program that does not come up.
        """
        self.preflight(lab, host)
        vswitch_kind, kinds = self._kinds(lab)
        cores = self._cores(lab, host, kinds)
        vhosts = [
            VhostPort(name, f"{host.scratch}/{name}", self.link.kind)
            for index in range(VIRTIO_PORTS * len(kinds))
            for name in [f"{self.link.outer}{index}"]
        ]
        with contextlib.ExitStack() as stack:
            pages = stack.enter_context(
                hugepages.reserve(host, lab.dut.hugepages, self._memory_mb(lab, kinds))
            )
            bound = stack.enter_context(ports.bound(lab, host))
            line = [bound.ports[0].name, *(port.name for port in vhosts), bound.ports[1].name]
            pairs = list(zip(line[::2], line[1::2], strict=True))
            if kinds:  # a port before what is behind it, as the guide has it (4.2.4)
                pairs[-1] = pairs[-1][::-1]
            order = Order(bound, vhosts, pairs, cores, pages)
            vswitch = stack.enter_context(vswitch_kind.start(lab, host, order))
            behind = []
            for number, (kind, mine) in enumerate(zip(kinds, cores.endpoints, strict=True)):
                place = Place(
                    number=number,
                    vhosts=vhosts[VIRTIO_PORTS * number :][:VIRTIO_PORTS],
                    listens=not vswitch_kind.LISTENS,
                    vcpus=mine.vcpus,
                    cpus=mine.cpus,
                    pages=pages,
                    interrupts_tcg=vswitch_kind.INTERRUPTS_TCG,
                )
                behind.append(stack.enter_context(kind.start(lab, host, place)))
            vswitch.forward()
            yield Chain(
                self.name,
                host,
                [_with_rings(port, vswitch.queues) for port in bound.ports],
                vswitch,
                behind,
                generator_cpu=cores.generator_cpu,
                pages=pages,
                remarks=cores.remarks,
                variant=self._variant(lab),
                link=self.link,
            )

    def _variant(self, lab: Lab) -> dict[str, str]:
        """The lab's choices along the axes, where they are not the defaults."""
        chosen = {}
        if lab.dut.vswitch != "testpmd":
            chosen["vswitch"] = lab.dut.vswitch
        if self.link.kind in ("memnic", "kni"):
            chosen["ports"] = self.link.kind
        if lab.guest.hypervisor != "qemu" and self.axes.hypervisor:
            chosen["hypervisor"] = lab.guest.hypervisor
        if lab.container.engine == "docker" and "container" in self.endpoints:
            chosen["engine"] = lab.container.engine
        return chosen

    def _kinds(self, lab: Lab) -> tuple[VSwitchKind, list[EndpointKind]]:
        return registry.vswitch(lab.dut.vswitch), [
            registry.endpoint(name) for name in self.endpoints
        ]

    @staticmethod
    def _cores(lab: Lab, host: Host, kinds: Sequence[EndpointKind]) -> LcorePlan:
        return lcores.plan_for(lab, host, [Wanted(kind.WHERE, kind.vcpus(lab)) for kind in kinds])

    @staticmethod
    def _memory_mb(lab: Lab, kinds: Sequence[EndpointKind]) -> tuple[int, ...]:
        return (lab.dut.memory_mb, *(kind.memory_mb(lab) for kind in kinds))


class Chain:
    """A running chain; see `topologies.topology.Topology`."""

    def __init__(
        self,
        name: str,
        host: Host,
        ports: Sequence[MemifPort | NicPort],
        vswitch: VSwitch,
        endpoints: Sequence[Endpoint],
        *,
        generator_cpu: int | None,
        pages: Hugepages,
        remarks: Sequence[str],
        variant: Mapping[str, str],
        link: Link = VHOST,
    ) -> None:
        self.name = name
        self.ports = ports
        self.vswitch = vswitch
        self.endpoints = endpoints
        self.generator_cpu = generator_cpu
        """CPU left for a traffic generator on this host; None if it shares the others'."""
        self.variant = variant
        self._link = link
        self._host = host
        self._pages = pages
        self._remarks = remarks

    @functools.cached_property
    def facts(self) -> Facts:
        """Read from the programs when first asked for."""
        behind = [endpoint.facts for endpoint in self.endpoints]
        remarks = []
        if any(isinstance(port, MemifPort) for port in self.ports):
            remarks.append("memif ports (shared memory) stand for NICs: no DMA, no PCIe, no wire")
        remarks += [remark for facts in behind for remark in facts.remarks]
        if self._pages.size_kb is None:
            remarks.append(f"no hugepages: {self._pages.reason}")
        versions = dict(self.vswitch.versions)
        for facts in reversed(behind):  # of two alike, the first speaks for both
            versions.update(facts.versions)
        return Facts(
            versions=versions,
            virtio_features=behind[0].virtio_features if behind else "",
            nic=", ".join(
                f"{port.name} ({self.vswitch.driver(port.name)}, {_where(port)})"
                for port in self.ports
            ),
            accelerator=behind[0].accelerator if behind else "none",
            memory=str(self._pages),
            remarks=tuple(dict.fromkeys((*remarks, *self.vswitch.remarks, *self._remarks))),
            commands=(
                *self.vswitch.commands,
                *(command for facts in behind for command in facts.commands),
            ),
        )

    @property
    def nodes(self) -> Sequence[Node]:
        names = tuple(port.name for port in self.ports)
        count = VIRTIO_PORTS * len(self.endpoints)
        outer = tuple(f"{self._link.outer}{index}" for index in range(count))
        return (
            Node("generator", "generator", names),
            Node(self.vswitch.name, "host", (*names, *outer)),
            *(
                Node(endpoint.name, endpoint.where, self._inner(number))
                for number, endpoint in enumerate(self.endpoints)
            ),
        )

    def peer(self, port: int) -> int:
        return 1 - port

    def flow(self, port: int) -> Flow:
        plain = plain_flow(port, self.peer(port))
        for _, entered, endpoint in reversed(self._road(port)):
            plain = endpoint.flow(entered, plain)
        return plain

    def transform(self, frame: bytes, port: int) -> bytes:
        for _, entered, endpoint in self._road(port):
            frame = endpoint.transform(frame, entered)
        return frame

    def snapshot(self) -> Snapshot:
        return Snapshot(self.vswitch.read(), [endpoint.counts() for endpoint in self.endpoints])

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        outer = {
            name: since(before.vswitch.ports[name], counts)
            for name, counts in after.vswitch.ports.items()
        }
        facts = self.vswitch.facts_between(before.vswitch, after.vswitch)
        at, end = self.ports[tx_port].name, self.ports[self.peer(tx_port)].name
        hops: list[Hop] = []
        for number, entered, endpoint in self._road(tx_port):
            ways = (entered, 1 - entered)
            counts = [
                since(before.endpoints[number][way], after.endpoints[number][way]) for way in ways
            ]
            vhosts = [f"{self._link.outer}{VIRTIO_PORTS * number + way}" for way in ways]
            virtios = [self._inner(number)[way] for way in ways]
            hops.append(self.switched(at, vhosts[0], outer, facts, first=not hops))
            hops.append(link(vhosts[0], virtios[0], outer[vhosts[0]], counts[0]))
            hops.append(
                Hop(
                    f"{endpoint.name}: {virtios[0]} -> {virtios[1]}",
                    entered=counts[0].rx,
                    left=counts[1].tx,
                    drops={**counts[0].discards, **counts[1].tx_drops},
                )
            )
            hops.append(link(virtios[1], vhosts[1], counts[1], outer[vhosts[1]]))
            at = vhosts[1]
        hops.append(self.switched(at, end, outer, facts, first=not hops))
        return hops

    @property
    def components(self) -> Sequence[str]:
        """What can be restarted alone; see `measure.reset`."""
        return tuple(self._restarts)

    def keeps_counters(self, component: str) -> bool:
        """Whether its counters live through its reset."""
        return component in [one.name for one in self._programs]

    def reset(self, component: str) -> None:
        """Restart a program's forwarding, or the program itself. Raises DutError."""
        self._restarts[component]()

    @property
    def _programs(self) -> tuple[VSwitch | Endpoint, ...]:
        return (self.vswitch, *self.endpoints)

    @property
    def _restarts(self) -> Mapping[str, Callable[[], None]]:
        """By name of the component."""
        restarts = {one.name: one.restart for one in self._programs if isinstance(one, Restartable)}
        for one in self._programs:
            if isinstance(one, Respawning) and one.whole:
                restarts[one.whole] = one.respawn
        return restarts

    def check_alive(self) -> None:
        gone = []
        for program in self._programs:  # one may have taken the other with it
            try:
                program.check_alive()
            except DutError as error:
                gone.append(str(error))
        if gone:
            raise DutError("\n".join(gone))
        for port in self.ports:
            if isinstance(port, MemifPort) and not self._host.exists(port.socket):
                raise DutError(
                    f"the socket of {port.name}, {port.socket}, was removed while "
                    f"{self.vswitch.name} listened on it: no generator can connect any more"
                )

    def _inner(self, number: int) -> tuple[str, str]:
        """Names of an endpoint's ports."""
        first = VIRTIO_PORTS * number
        return f"{self._link.inner}{first}", f"{self._link.inner}{first + 1}"

    def _road(self, port: int) -> list[tuple[int, int, Endpoint]]:
        """(number, virtio port of entry, endpoint) in the order in which frames meet them."""
        road = [(number, port, endpoint) for number, endpoint in enumerate(self.endpoints)]
        return road if port == 0 else road[::-1]

    def switched(
        self,
        enter: str,
        leave: str,
        counts: Mapping[str, PortCounts],
        facts: Mapping[str, str],
        *,
        first: bool,
    ) -> Hop:
        """Through the vSwitch; what the first port missed is lost here, too."""
        came, went = counts[enter], counts[leave]
        missed = came.rx_drops if first else {}
        return Hop(
            f"{self.vswitch.name}: {enter} -> {leave}",
            entered=came.rx + sum(missed.values()),
            left=went.tx,
            drops={**missed, **came.discards, **went.tx_drops},
            facts=facts,
        )


def link(one: str, other: str, sender: PortCounts, receiver: PortCounts) -> Hop:
    """From one program's port to the other's at the same ring."""
    return Hop(f"{one} -> {other}", entered=sender.tx, left=receiver.rx, drops=receiver.rx_drops)


def _with_rings(port: MemifPort | NicPort, rings: int) -> MemifPort | NicPort:
    return replace(port, rings=rings) if isinstance(port, MemifPort) else port


def _where(port: MemifPort | NicPort) -> str:
    return port.bdf if isinstance(port, NicPort) else "shared memory"
