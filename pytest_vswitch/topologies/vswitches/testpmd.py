"""testpmd as the vSwitch: each port chained to its partner by the portlist (guide, 4.2.4)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from pytest_vswitch.apps import dpdk, memif
from pytest_vswitch.apps.testpmd import (
    Parameters,
    PortCounters,
    Testpmd,
    parse_counters,
    parse_cycles,
)
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host, Process, check_runs, end
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import macswap
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.ports import JUMBO_MTU
from pytest_vswitch.topologies.topology import CYCLES_PER_FRAME, MemifPort, NicPort
from pytest_vswitch.topologies.vswitches import Order, Reading, VhostPort

LISTENS: Final = True
MAX_MTU: Final = JUMBO_MTU
LINKS: Final = ("vhost", "memif")
INTERRUPTS_TCG: Final = True
NAME: Final = "host testpmd"


@dataclass(slots=True)
class Switch:
    """The running testpmd of the host; see `vswitches.VSwitch`."""

    process: Process
    testpmd: Testpmd
    command: tuple[str, ...]
    ports: Sequence[str]
    """By port number."""
    nics: frozenset[str]
    """Those that count what they missed; a full memif ring is told to its peer instead."""
    name: str = NAME
    remarks: tuple[str, ...] = field(default=())
    queues: int = 1
    spawn: Callable[[], Process] | None = None
    """Starts it again after its end; None where what is behind it would not come back."""
    _dropped: dict[int, int] = field(default_factory=dict)
    """By port number: what it had dropped before forwarding was restarted."""

    @property
    def versions(self) -> Mapping[str, str]:
        return {"host dpdk": self.testpmd.version}

    @property
    def commands(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ((self.name, self.command),)

    def driver(self, port: str) -> str:
        return self.testpmd.port_info(self.ports.index(port)).driver

    def forward(self) -> None:
        self.testpmd.record_cycles()
        self.testpmd.start()

    def restart(self) -> None:
        macswap.restart(self.testpmd, self._dropped)

    @property
    def whole(self) -> str:
        return f"{self.name} process" if self.spawn else ""

    def respawn(self) -> None:
        assert self.spawn is not None
        end(self.process)
        self.process = self.spawn()
        self.testpmd = Testpmd(self.process)
        self._dropped.clear()
        self.forward()

    def read(self) -> Reading:
        told = self.testpmd.statistics()
        counters = parse_counters(told)
        cycles = parse_cycles(told)
        return Reading(
            {name: self._counts(name, n, counters[n]) for n, name in enumerate(self.ports)},
            {"cycles": cycles.total, "cycled frames": cycles.packets} if cycles else {},
        )

    def facts_between(self, before: Reading, after: Reading) -> Mapping[str, str]:
        """Of all cores together; nothing of a trial in which forwarding began anew."""
        cycles, frames = (
            after.statistics.get(name, 0) - before.statistics.get(name, 0)
            for name in ("cycles", "cycled frames")
        )
        if cycles <= 0 or frames <= 0:
            return {}
        return {CYCLES_PER_FRAME: f"{cycles / frames:.1f}"}

    def check_alive(self) -> None:
        check_runs(self.process)

    def _counts(self, name: str, number: int, counters: PortCounters) -> PortCounts:
        if name in self.nics:
            missed = {"RX-missed": counters.rx_missed, "RX-errors": counters.rx_errors}
        elif name.startswith("vhost"):
            missed = {"RX-missed": counters.rx_missed}
        else:
            missed = {}
        return PortCounts(
            rx=counters.rx_packets,
            tx=counters.tx_packets,
            rx_drops=missed,
            tx_drops={"TX-dropped": counters.tx_dropped + self._dropped.get(number, 0)},
        )


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError when the lab's testpmd is not there, or cannot have so many queues."""
    if lab.guest.queues > lab.generator.queues and lab.ports[0].kind == "memif":
        raise InputError(
            f"{lab.where('guest', 'queues')}: testpmd gives all its ports as many queues, and a "
            f"memif port to the generator has {lab.generator.queues}; set `generator.queues`, or "
            "take NIC ports, or another vSwitch, e.g. `dut.vswitch: ovs-dpdk`"
        )
    dpdk.require(lab, host, "dut")


@contextlib.contextmanager
def start(lab: Lab, host: Host, order: Order) -> Iterator[Switch]:
    """The host's testpmd, a vhost-user server on each socket; not forwarding yet."""
    names = [*(port.name for port in order.ports.ports), *(port.name for port in order.vhosts)]
    nics = frozenset(port.name for port in order.ports.ports if isinstance(port, NicPort))
    devargs = order.ports.devargs
    vhosts = [
        _device(len(devargs) + n, n, port, lab.guest.queues) for n, port in enumerate(order.vhosts)
    ]
    parameters = Parameters(
        lcores=order.cores.host_lcores,
        memory_mb=lab.dut.memory_mb,
        file_prefix=f"vswitch-{host.scratch.rpartition('/')[2]}",
        hugepages=order.pages.size_kb is not None,
        devices=devargs if nics else (),
        vdevs=[*(() if nics else devargs), *vhosts],
        forward_mode="io",
        portlist=[names.index(name) for pair in order.pairs for name in pair],
        forwarding_cores=order.cores.host_forwarding,
        mtu=lab.dut.mtu,
        takes_mtu=bool(nics),
        queues=lab.guest.queues,
    )
    argv = parameters.argv(dpdk.of_host(lab, host))
    with contextlib.ExitStack() as stack:
        # Without hugepages EAL cannot do `--in-memory`, and leaves its files behind; a
        # testpmd that was killed leaves its sockets, too.
        leaves = [
            f"/var/run/dpdk/{parameters.file_prefix}",
            *(port.socket for port in order.vhosts),
        ]
        for path in leaves:
            stack.enter_context(host.changing(Change("made", path)))
        memifs = [port.socket for port in order.ports.ports if isinstance(port, MemifPort)]

        def spawn() -> Process:
            if memifs:  # left by one that was killed
                host.run(["rm", "-f", "--", *memifs])
            return stack.enter_context(
                host.spawn(
                    argv,
                    name=NAME,
                    stop_with="quit\n",
                    why=f"the vSwitch: ports {', '.join(names)}, chained by its portlist "
                    "(guide, 4.2.4)",
                )
            )

        process = spawn()
        alone = spawn if memifs and not order.vhosts else None
        yield Switch(
            process,
            Testpmd(process),
            tuple(argv),
            tuple(names),
            nics,
            queues=lab.guest.queues,
            spawn=alone,
        )


def _device(number: int, index: int, port: VhostPort, queues: int) -> str:
    """`number` counts all ports of the switch, `index` those towards the endpoints."""
    if port.kind == "vhost":
        return f"net_vhost{index},iface={port.socket},client=0,queues={queues}"
    role: Literal["server", "client"] = "server" if port.kind == "memif" else "client"
    return memif.Options(role=role, socket=port.socket).device(number)
