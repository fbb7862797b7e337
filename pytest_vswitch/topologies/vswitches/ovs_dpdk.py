"""Open vSwitch with DPDK: a bridge in userspace, and a flow from each port to its partner.

It has a database, a run directory and sockets of its own. It connects to the vhost-user
sockets, on which the endpoints listen, so that it may be restarted under a running guest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from pytest_vswitch.apps import openvswitch
from pytest_vswitch.apps.openvswitch import (
    DATAPATH_DEVICE,
    PACKAGE,
    Directory,
    OpenVswitch,
    Parameters,
    Port,
    PortCounters,
)
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import cpus
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.ports import JUMBO_MTU, require_programs
from pytest_vswitch.topologies.topology import MemifPort, NicPort
from pytest_vswitch.topologies.vswitches import Order, Reading

LISTENS: Final = False
MAX_MTU: Final = JUMBO_MTU
LINKS: Final = ("vhost",)
INTERRUPTS_TCG: Final = True
NAME: Final = "Open vSwitch"
PROCESS: Final = "ovs-vswitchd"

BRIDGE: Final = "vswitch-br0"
"""Also a TAP device; a name that no one else would use."""

_LINK_S = 60
_RX_DROPS = ("rx_missed_errors", "rx_errors", "rx_mbuf_allocation_errors")
_TX_DROPS = (
    "ovs_tx_failure_drops",
    "ovs_tx_mtu_exceeded_drops",
    "ovs_tx_qos_drops",
    "ovs_tx_invalid_hwol_drops",
)
_LOOKUPS = {
    "phwol hits": "hardware",
    "simple match hits": "simple match",
    "emc hits": "EMC",
    "smc hits": "SMC",
    "megaflow hits": "megaflow",
    "miss with success upcall": "upcall",
    "miss with failed upcall": "failed upcall",
}
"""Where a frame's flow was found, cheapest first, by Open vSwitch's name of the counter."""


class Switch:
    """The running Open vSwitch of the host; see `vswitches.VSwitch`."""

    name: str = NAME
    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        running: OpenVswitch,
        commands: tuple[tuple[str, tuple[str, ...]], ...],
        numbers: Mapping[str, int],
        pairs: Sequence[tuple[str, str]],
        nics: frozenset[str],
        pmds: int,
        spawn: Callable[[], OpenVswitch],
    ) -> None:
        """`numbers` are those of the ports in OpenFlow, by name; `nics` count what they missed.

        `spawn` starts it anew, with the bridge that its database has.
        """
        # Each polling thread sends on a queue of its own, the others share the first one.
        self.queues = 1 + pmds
        self.running = running
        self.commands = commands
        self._numbers = numbers
        self._partner = {name: partner for pair in pairs for name, partner in (pair, pair[::-1])}
        self._nics = nics
        self._spawn = spawn
        self._count_anew()

    def _count_anew(self) -> None:
        self._unexplained = dict.fromkeys(self._numbers, 0)
        self._flows: dict[str, int] = {}
        self._by_flows: dict[str, dict[str, int]] = {name: {} for name in self._numbers}

    @property
    def versions(self) -> Mapping[str, str]:
        return {"open vswitch": self.running.version, "host dpdk": self.running.dpdk_version}

    def driver(self, port: str) -> str:
        return self.running.driver(port)

    @property
    def whole(self) -> str:
        return f"{NAME} process"

    def respawn(self) -> None:
        self.running.kill(self._vhosts)
        self.running = self._spawn()
        self._count_anew()
        self.forward()

    @property
    def _vhosts(self) -> list[str]:
        return [name for name in self._numbers if name.startswith("vhost")]

    def forward(self) -> None:
        self.running.wait_for_links(self._vhosts, timeout_s=_LINK_S)
        ways = [(self._numbers[a], self._numbers[b]) for a, b in self._partner.items()]
        self.running.replace_flows(
            [
                *(openvswitch.flow(enter, leave) for enter, leave in ways),
                *(openvswitch.miss(enter) for enter, _ in ways),
            ]
        )

    def read(self) -> Reading:
        ports = self.running.counters()
        by_name = {name: ports[number] for name, number in self._numbers.items()}
        # To ask what flows dropped takes long, so it is asked only when frames are missing.
        unexplained = {
            name: counters.rx
            - counters.own.get("ovs_rx_qos_drops", 0)
            - _left(by_name[self._partner[name]])
            for name, counters in by_name.items()
        }
        if unexplained != self._unexplained:
            self._count_what_flows_dropped()
            self._unexplained = unexplained
        retries = sum(counters.own.get("ovs_tx_retries", 0) for counters in by_name.values())
        return Reading(
            {name: self._counts(name, counters) for name, counters in by_name.items()},
            {**self.running.pmds(), "ovs_tx_retries": retries},
        )

    def facts_between(self, before: Reading, after: Reading) -> Mapping[str, str]:
        """Of all polling threads together, since a frame of either direction meets any."""

        def passed(name: str) -> int:
            return after.statistics.get(name, 0) - before.statistics.get(name, 0)

        facts = {}
        busy, idle = passed("processing cycles"), passed("idle cycles")
        frames = sum(passed(name) for name in _LOOKUPS)
        if busy + idle:
            facts["PMD busy"] = f"{busy / (busy + idle):.1%} of its cycles"
        if frames:
            facts["PMD cycles per frame"] = f"{busy / frames:.0f}"
            facts["flows found in"] = ", ".join(
                f"{place} {count / frames:.2%}"
                for name, place in _LOOKUPS.items()
                if (count := passed(name))
            )
        if retries := passed("ovs_tx_retries"):
            facts["vhost transmit retries"] = str(retries)
        return facts

    def check_alive(self) -> None:
        self.running.check_alive()

    def _count_what_flows_dropped(self) -> None:
        """By port: frames of it that a flow did not send to its partner, by the flow's words."""
        names = {number: name for name, number in self._numbers.items()}
        for flow in self.running.flows():
            name = names.get(flow.in_port)
            if name and not flow.outputs(self._numbers[self._partner[name]]):
                before = self._flows.get(str(flow), 0)
                self._flows[str(flow)] = flow.packets
                # One that was deleted and made again counts from 0.
                new = flow.packets - before if flow.packets >= before else flow.packets
                dropped = self._by_flows[name]
                dropped[str(flow)] = dropped.get(str(flow), 0) + new

    def _counts(self, name: str, counters: PortCounters) -> PortCounts:
        own = counters.own
        missed = _RX_DROPS if name in self._nics else ()
        return PortCounts(
            rx=counters.rx,
            tx=counters.tx,
            rx_drops={word: own.get(word, 0) for word in missed},
            tx_drops={word: own[word] for word in _TX_DROPS if word in own},
            discards={
                "ovs_rx_qos_drops": own.get("ovs_rx_qos_drops", 0),
                **self._by_flows[name],
            },
        )


def _left(counters: PortCounters) -> int:
    """Frames that were meant for a port, as far as its counters tell."""
    return counters.tx + sum(counters.own.get(word, 0) for word in _TX_DROPS)


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError when Open vSwitch is missing, lacks DPDK, or another one is in the way."""
    del lab
    tools = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "ovs-appctl")
    require_programs(host, [(tool, PACKAGE, "") for tool in tools])
    openvswitch.find_program(host)
    if not host.exists("/dev/net/tun"):
        raise InputError(
            f"{host.name} has no /dev/net/tun, which {NAME}'s userspace datapath needs for the "
            "bridge's own port: modprobe tun"
        )
    for device in (DATAPATH_DEVICE, BRIDGE):
        if host.exists(f"/sys/class/net/{device}"):
            raise InputError(
                f"{host.name} has an interface {device}: another {NAME} with a userspace "
                "datapath runs there, and both would want it; stop that one first (killed, it "
                f"leaves it: ip link delete dev {device})"
            )


@contextlib.contextmanager
def start(lab: Lab, host: Host, order: Order) -> Iterator[Switch]:
    """Its database server, itself, and a bridge with all ports; no flow yet."""
    directory = Directory(f"{host.scratch}/ovs")
    pmds = pmd_cpus(order.cores)
    nics = frozenset(port.name for port in order.ports.ports if isinstance(port, NicPort))
    parameters = Parameters(
        main_cpus=() if order.cores.shared else order.cores.host_cpus[:1],
        pmd_cpus=pmds,
        memory_mb=lab.dut.memory_mb,
        nodes=max(1, len({cpu.node for cpu in cpus.read(host).cpus})),
        hugepage_kb=order.pages.size_kb,
        file_prefix=f"vswitch-{host.scratch.rpartition('/')[2]}",
        devices=order.ports.devargs if nics else (),
    )
    ports = bridge_ports(order, pmds, lab.dut.mtu, lab.guest.queues)
    serve, switch = directory.serve_database(), directory.switch(openvswitch.find_program(host))
    with contextlib.ExitStack() as stack:
        # Without hugepages EAL leaves its files behind.
        stack.enter_context(
            host.changing(Change("made", f"/var/run/dpdk/{parameters.file_prefix}"))
        )
        stack.enter_context(changes.making_directory(host, directory.path))
        host.run(directory.create_database(), why="a database of its own, for this run only")
        database = stack.enter_context(
            host.spawn(serve, name="ovsdb-server", why="what keeps Open vSwitch's settings")
        )
        ready = ("--retry", "--no-wait", "init", "--", "set", "Open_vSwitch", ".")
        host.run(
            directory.vsctl(*ready, *parameters.settings()),
            why="DPDK's memory and CPUs; waits until the server answers",
        )
        for device in (DATAPATH_DEVICE, BRIDGE):  # killed, it leaves them
            stack.enter_context(host.changing(Change("linked", device)))
        memifs = [port.socket for port in order.ports.ports if isinstance(port, MemifPort)]

        def spawn() -> OpenVswitch:
            if memifs:  # left by one that was killed
                host.run(["rm", "-f", "--", *memifs])
            process = stack.enter_context(
                host.spawn(switch, name=PROCESS, why="the vSwitch, with DPDK")
            )
            return OpenVswitch(host, directory, database, process, BRIDGE)

        running = spawn()
        running.add_bridge(ports)
        yield Switch(
            running,
            ((database.name, tuple(serve)), (PROCESS, tuple(switch))),
            {port.name: port.number for port in ports},
            order.pairs,
            nics,
            len(pmds),
            spawn,
        )


def pmd_cpus(cores: LcorePlan) -> tuple[int, ...]:
    """CPUs of the polling threads, each of which is pinned to one.

    Where everything shares its CPUs there is one thread, away from the first CPU, on which
    Linux has most of its own to do.
    """
    return cores.host_cpus[-1:] if cores.shared else cores.host_cpus[1:]


def bridge_ports(order: Order, pmds: Sequence[int], mtu: int, queues: int = 1) -> list[Port]:
    """The ports towards the generator, then those towards the endpoints, in OpenFlow from 1.

    Each is polled by one thread, in turn; those towards the endpoints have so many `queues`.
    """
    wanted = [
        *(
            (port.name, "dpdk", {"dpdk-devargs": devargs})
            for port, devargs in zip(order.ports.ports, order.ports.devargs, strict=True)
        ),
        *(
            (port.name, "dpdkvhostuserclient", {"vhost-server-path": port.socket})
            for port in order.vhosts
        ),
    ]
    return [
        Port(
            name=name,
            number=index + 1,
            kind="dpdk" if kind == "dpdk" else "dpdkvhostuserclient",
            options=options,
            pmd_cpu=pmds[index % len(pmds)],
            mtu=mtu,
            queues=1 if kind == "dpdk" else queues,
        )
        for index, (name, kind, options) in enumerate(wanted)
    ]
