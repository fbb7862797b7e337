"""VPP as the vSwitch: each port cross-connected to its partner at layer 2, over `vppctl`.

Ports towards the generator are memif servers or NICs under DPDK; towards endpoints memif
servers or vhost-user servers. See `apps.vpp` for what it was tried with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pytest_vswitch.apps import vpp
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.ports import require_programs
from pytest_vswitch.topologies.topology import MemifPort, NicPort
from pytest_vswitch.topologies.vswitches import Order, Reading

LISTENS: Final = True
MAX_MTU: Final = 1500
LINKS: Final = ("vhost", "memif")
INTERRUPTS_TCG: Final = False
"""It waits for reading on the eventfd by which it interrupts, and may so take its own word back."""
NAME: Final = "VPP"

_MISSED: Final = ("rx-miss", "rx-error", "rx-no-buf")
_SWITCHED: Final = "l2-input"
"""The node of VPP's graph that every frame passes once."""


class Switch:
    """The running VPP of the host; see `vswitches.VSwitch`."""

    name: str = NAME

    def __init__(
        self,
        running: vpp.Vpp,
        command: Sequence[str],
        interfaces: Mapping[str, str],
        pairs: Sequence[tuple[str, str]],
        nics: frozenset[str],
        workers: int,
    ) -> None:
        """`interfaces` are VPP's names of the ports; `nics` count what they missed."""
        self.running = running
        # Each thread sends on a queue of its own, if the peer offers enough rings.
        self.queues = 1
        self.commands = ((NAME, tuple(command)),)
        self.remarks: tuple[str, ...] = (
            () if workers else ("VPP forwards on its main thread, which serves its commands, too",)
        )
        self._interfaces = interfaces
        self._pairs = pairs
        self._nics = nics

    @property
    def versions(self) -> Mapping[str, str]:
        return {"vpp": self.running.version}

    def driver(self, port: str) -> str:
        return "dpdk" if port in self._nics else "memif"

    def forward(self) -> None:
        for one, other in self._pairs:
            for enter, leave in ((one, other), (other, one)):
                words = vpp.cross_connect(self._interfaces[enter], self._interfaces[leave])
                self.running.do(words, why=f"frames from {enter} go to {leave}")

    def read(self) -> Reading:
        counters = vpp.parse_interfaces(self.running.show("interface"))
        errors = vpp.parse_errors(self.running.show("errors"))
        calls, frames = vpp.parse_runtime(self.running.show("runtime"), _SWITCHED)
        return Reading(
            {
                port: self._counts(port, counters.get(name, {}), errors.get(f"{name}-tx", {}))
                for port, name in self._interfaces.items()
            },
            {"calls": calls, "frames": frames},
        )

    def facts_between(self, before: Reading, after: Reading) -> Mapping[str, str]:
        calls = after.statistics["calls"] - before.statistics["calls"]
        frames = after.statistics["frames"] - before.statistics["frames"]
        return {"frames per call": f"{frames / calls:.1f}"} if calls else {}

    def check_alive(self) -> None:
        self.running.check_alive()

    def _counts(
        self, port: str, counters: Mapping[str, int], refused: Mapping[str, int]
    ) -> PortCounts:
        """`refused`: frames that the port's ring had no room for, by VPP's reason.

        VPP counts a frame as sent before it tries the ring; and a vhost-user port counts what
        its ring refused as dropped, too, where other ports count what came in by them.
        """
        lost = sum(refused.values())
        drops = counters.get("drops", 0) - (lost if port.startswith("vhost") else 0)
        missed = _MISSED if port in self._nics else ()
        return PortCounts(
            rx=counters.get("rx packets", 0),
            tx=counters.get("tx packets", 0) - lost,
            rx_drops={word: counters.get(word, 0) for word in missed},
            tx_drops=dict(refused),
            discards={"drops": drops},
        )


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError when VPP is not there."""
    del lab
    require_programs(host, [(name, vpp.PACKAGE, "") for name in ("vpp", "vppctl")])


@contextlib.contextmanager
def start(lab: Lab, host: Host, order: Order) -> Iterator[Switch]:
    """VPP with all ports up, and nothing connected to anything."""
    nics = {port.name: port.bdf for port in order.ports.ports if isinstance(port, NicPort)}
    shared = order.cores.shared
    parameters = vpp.Parameters(
        directory=f"{host.scratch}/vpp",
        prefix=f"vswitch-{host.scratch.rpartition('/')[2]}",
        main_cpu=order.cores.host_cpus[0],
        worker_cpus=() if shared else order.cores.host_cpus[1:],
        heap_mb=lab.dut.memory_mb,
        hugepage_kb=order.pages.size_kb,
        devices=nics,
    )
    argv = parameters.argv()
    with contextlib.ExitStack() as stack:
        stack.enter_context(changes.making_directory(host, parameters.directory))
        for socket in _sockets(order):  # it leaves them
            stack.enter_context(host.changing(Change("made", socket)))
        process = stack.enter_context(
            host.spawn(argv, name=NAME, why="the vSwitch, with a configuration of its own")
        )
        running = vpp.Vpp(host, process, parameters.cli)
        interfaces = {name: name for name in nics}
        interfaces.update(_ports(running, order))
        for port, name in interfaces.items():
            running.do(vpp.up(name), why=f"{port} takes frames")
            running.do(vpp.poll(name), why=f"{port} is polled")
        workers = len(parameters.worker_cpus)
        yield Switch(running, argv, interfaces, order.pairs, frozenset(nics), workers)


def _sockets(order: Order) -> list[str]:
    return [
        *(port.socket for port in order.ports.ports if isinstance(port, MemifPort)),
        *(port.socket for port in order.vhosts),
    ]


def _ports(running: vpp.Vpp, order: Order) -> Iterator[tuple[str, str]]:
    """Make the ports that are no NICs; (port, VPP's name of it)."""
    memifs = [(port.name, port.socket) for port in order.ports.ports if isinstance(port, MemifPort)]
    memifs += [(port.name, port.socket) for port in order.vhosts if port.kind == "memif"]
    for number, (port, socket) in enumerate(memifs, 1):
        running.do(vpp.memif_socket(number, socket), why=f"the control socket of {port}")
        running.do(vpp.memif(number), why=f"{port}, a memif server")
        yield port, vpp.memif_name(number)
    number = 0
    for link in order.vhosts:
        if link.kind == "vhost":
            said = running.do(vpp.vhost_user(link.socket), why=f"{link.name}, a vhost-user server")
            # A plan has nobody who answers.
            yield link.name, said or f"VirtualEthernet0/0/{number}"
            number += 1
