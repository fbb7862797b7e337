"""A switch on the host between two ports and one endpoint behind vhost-user.

The switch is testpmd; the endpoint (a virtual machine, a container) swaps the MAC addresses
of a frame and returns it. A frame sent into port 0 goes

    port 0 -> switch -> vhost0 -> virtio0 -> endpoint -> virtio1 -> vhost1 -> switch -> port 1

and a frame sent into port 1 the other way round (guide, chapters 4 and 6).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_vswitch.apps import testpmd
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.ports import SwitchPorts
from pytest_vswitch.topologies.topology import Facts, Hop, MemifPort, NicPort, Node

_PORT, _VHOST = (0, 1), (2, 3)
"""Port numbers in the switch, by index of the generator's port."""

_PORTLIST = (0, 2, 1, 3)
"""Forwarding order of chapter 4.2.4: port 0 with vhost0, port 1 with vhost1."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters of both testpmds, by their port numbers."""

    switch: Mapping[int, testpmd.PortCounters]
    endpoint: Mapping[int, testpmd.PortCounters]


class Endpoint(Protocol):
    """What lies behind the switch: a testpmd with two virtio ports, and what it runs in."""

    @property
    def name(self) -> str:
        """E.g. `guest testpmd`."""

    @property
    def where(self) -> str:
        """`guest` or `container`."""

    @property
    def forwarder(self) -> testpmd.Testpmd: ...

    @property
    def facts(self) -> EndpointFacts: ...

    def check_alive(self) -> None:
        """Raise DutError if it, or what it runs in, is gone or frozen."""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What was read from a running endpoint; see `topology.Facts`."""

    versions: Mapping[str, str]
    virtio_features: str
    accelerator: str
    remarks: tuple[str, ...]
    commands: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Switch:
    """The running testpmd of the host."""

    process: Process
    testpmd: testpmd.Testpmd
    command: tuple[str, ...]


@contextlib.contextmanager
def start_switch(
    lab: Lab,
    host: Host,
    ports: SwitchPorts,
    sockets: Sequence[str],
    cores: LcorePlan,
    pages: Hugepages,
) -> Iterator[Switch]:
    """The host's testpmd, with a vhost-user server on each of `sockets`; not forwarding yet."""
    vhosts = [f"net_vhost{index},iface={socket},client=0" for index, socket in enumerate(sockets)]
    parameters = testpmd.Parameters(
        lcores=cores.host_lcores,
        memory_mb=lab.dut.memory_mb,
        file_prefix=f"vswitch-{host.scratch.rpartition('/')[2]}",
        hugepages=pages.size_kb is not None,
        devices=ports.devices,
        vdevs=[*ports.vdevs, *vhosts],
        forward_mode="io",
        portlist=_PORTLIST,
        forwarding_cores=cores.host_forwarding,
    )
    argv = parameters.argv(lab.dut.testpmd)
    with contextlib.ExitStack() as stack:
        # Without hugepages EAL cannot do `--in-memory`, and leaves its files behind; a
        # testpmd that was killed leaves its sockets, too.
        for path in (f"/var/run/dpdk/{parameters.file_prefix}", *sockets):
            stack.enter_context(host.changing(Change("made", path)))
        process = stack.enter_context(
            host.spawn(
                argv,
                name="host testpmd",
                stop_with="quit\n",
                why="the switch: ports 0 and 1, vhost-user 2 and 3, chained by its portlist "
                "(guide, 4.2.4)",
            )
        )
        yield Switch(process, testpmd.Testpmd(process), tuple(argv))


class VhostChain:
    """A running chain; see `topologies.topology.Topology`."""

    def __init__(
        self,
        name: str,
        host: Host,
        ports: Sequence[MemifPort | NicPort],
        switch: Switch,
        endpoint: Endpoint,
        cores: LcorePlan,
        pages: Hugepages,
    ) -> None:
        self.name = name
        self.ports = ports
        self.endpoint = endpoint
        self.generator_cpu = cores.generator_cpu
        """CPU left for a traffic generator on this host; None if it shares the others'."""
        self._host = host
        self._switch = switch
        self._cores = cores
        self._pages = pages

    @functools.cached_property
    def facts(self) -> Facts:
        """Read from the programs when first asked for."""
        endpoint = self.endpoint.facts
        infos = [self._switch.testpmd.port_info(number) for number in _PORT[: len(self.ports)]]
        memif = any(isinstance(port, MemifPort) for port in self.ports)
        remarks = []
        if memif:
            remarks.append("memif ports (shared memory) stand for NICs: no DMA, no PCIe, no wire")
        remarks += endpoint.remarks
        if self._pages.size_kb is None:
            remarks.append(f"no hugepages: {self._pages.reason}")
        return Facts(
            versions={"host dpdk": self._switch.testpmd.version, **endpoint.versions},
            virtio_features=endpoint.virtio_features,
            nic=", ".join(
                f"{port.name} ({info.driver}, {_where(port)})"
                for port, info in zip(self.ports, infos, strict=True)
            ),
            accelerator=endpoint.accelerator,
            memory=str(self._pages),
            remarks=(*remarks, *self._cores.remarks),
            commands=(("host testpmd", self._switch.command), *endpoint.commands),
        )

    @property
    def nodes(self) -> Sequence[Node]:
        names = tuple(port.name for port in self.ports)
        return (
            Node("generator", "generator", names),
            Node("host testpmd", "host", (*names, "vhost0", "vhost1")),
            Node(self.endpoint.name, self.endpoint.where, ("virtio0", "virtio1")),
        )

    def peer(self, port: int) -> int:
        return 1 - port

    def transform(self, frame: bytes) -> bytes:
        """`macswap`: source and destination MAC addresses change places."""
        return frame[6:12] + frame[:6] + frame[12:]

    def snapshot(self) -> Snapshot:
        return Snapshot(self._switch.testpmd.counters(), self.endpoint.forwarder.counters())

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        there, back = tx_port, self.peer(tx_port)

        def outer(port: int, counter: str) -> int:
            now, then = after.switch[port], before.switch[port]
            return int(getattr(now, counter)) - int(getattr(then, counter))

        def inner(port: int, counter: str) -> int:
            now, then = after.endpoint[port], before.endpoint[port]
            return int(getattr(now, counter)) - int(getattr(then, counter))

        enter, leave = self.ports[there].name, self.ports[back].name
        missed = {}
        if isinstance(self.ports[there], NicPort):  # full queues; a memif peer is told instead
            missed = {
                "RX-missed": outer(_PORT[there], "rx_missed"),
                "RX-errors": outer(_PORT[there], "rx_errors"),
            }
        return (
            Hop(
                f"host testpmd: {enter} -> vhost{there}",
                entered=outer(_PORT[there], "rx_packets") + sum(missed.values()),
                left=outer(_VHOST[there], "tx_packets"),
                drops={**missed, "TX-dropped": outer(_VHOST[there], "tx_dropped")},
            ),
            Hop(
                f"vhost{there} -> virtio{there}",
                entered=outer(_VHOST[there], "tx_packets"),
                left=inner(there, "rx_packets"),
                drops={
                    "RX-missed": inner(there, "rx_missed"),
                    "RX-errors": inner(there, "rx_errors"),
                },
            ),
            Hop(
                f"{self.endpoint.name}: virtio{there} -> virtio{back}",
                entered=inner(there, "rx_packets"),
                left=inner(back, "tx_packets"),
                drops={"TX-dropped": inner(back, "tx_dropped")},
            ),
            Hop(
                f"virtio{back} -> vhost{back}",
                entered=inner(back, "tx_packets"),
                left=outer(_VHOST[back], "rx_packets"),
                drops={"RX-missed": outer(_VHOST[back], "rx_missed")},
            ),
            Hop(
                f"host testpmd: vhost{back} -> {leave}",
                entered=outer(_VHOST[back], "rx_packets"),
                left=outer(_PORT[back], "tx_packets"),
                drops={"TX-dropped": outer(_PORT[back], "tx_dropped")},
            ),
        )

    def check_alive(self) -> None:
        if (status := self._switch.process.status()) is not None:
            raise DutError(
                f"host testpmd is gone (exit status {status}); its last output:\n"
                + self._last_output()
            )
        for port in self.ports:
            if isinstance(port, MemifPort) and not self._host.exists(port.socket):
                raise DutError(
                    f"the socket of {port.name}, {port.socket}, was removed while host testpmd "
                    "listened on it: no generator can connect any more; its last output:\n"
                    + self._last_output()
                )
        self.endpoint.check_alive()

    def _last_output(self) -> str:
        return "    " + self._switch.process.tail().replace("\n", "\n    ")


def _where(port: MemifPort | NicPort) -> str:
    return port.bdf if isinstance(port, NicPort) else "shared memory"
