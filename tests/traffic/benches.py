"""Where each generator is tested against the contract: one line of `BENCHES` each."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.af_packet.generator import attach as af_packet
from pytest_vswitch.traffic.contract import EVERY, FAULTS, Bench, Loop
from pytest_vswitch.traffic.memif.generator import on_sockets
from pytest_vswitch.traffic.scapy.generator import ScapyGenerator
from pytest_vswitch.traffic.scapy.generator import attach as scapy
from pytest_vswitch.traffic.sim import SimulatedGenerator
from pytest_vswitch.traffic.worker_generator import WorkerGenerator
from tests.traffic import reflector
from tests.traffic.crossed import Crossed
from tests.traffic.memif_server import Server
from tests.traffic.trex.bench import Emulated
from tests.traffic.wires import Topology, ip, lab, sniffer, swap, wires
from tests.traffic.wires import reflector as reflecting

_serial = itertools.count()


@dataclass(frozen=True)
class Memif:
    """A memif server that hands frames on in Python."""

    host: LocalHost
    faults: Sequence[str] = tuple(FAULTS)
    rate_pps: float = 2000.0
    too_fast_pps: float = 100e6
    queues: int = 1

    def transform(self, frame: bytes) -> bytes:
        return swap(frame)

    @contextlib.contextmanager
    def loop(self) -> Iterator[Loop]:
        number = next(_serial)
        sockets = [Path(self.host.scratch) / f"loop{number}-{port}" for port in range(2)]
        into_port_0: list[bytes] = []
        first_seen = [0, 0]
        fault = "none"

        def err(now: str) -> None:
            nonlocal fault
            fault = now
            first_seen[:] = server.seen
            reflector.held.clear()

        def hand_on(port: int, count: int, frame: bytes) -> Sequence[bytes]:
            if port == 0:
                into_port_0.append(frame)
            return reflector.FAULTS[fault](port, count - first_seen[port], swap(frame))

        def seen() -> Sequence[bytes]:
            kept = list(into_port_0)
            into_port_0.clear()
            return kept

        ports = [MemifPort(path.name, str(path), 10e9) for path in sockets]
        made = on_sockets(self.host, ports, Crossed(swap), queues=self.queues)
        with Server(sockets, hand_on) as server, made as generator:
            yield Loop(
                generator,
                err,
                seen,
                cut=server.die,
                kill=lambda: os.kill(generator.pid, signal.SIGKILL),
            )


@dataclass(frozen=True)
class Interfaces:
    """Two pairs of veth, and a program that hands frames on between them."""

    host: LocalHost
    attach: Callable[[Lab, Host, Any], AbstractContextManager[WorkerGenerator | ScapyGenerator]]
    too_fast_pps: float
    faults: Sequence[str] = tuple(FAULTS)
    rate_pps: float = 2000.0

    def transform(self, frame: bytes) -> bytes:
        return swap(frame)

    @contextlib.contextmanager
    def loop(self) -> Iterator[Loop]:
        with contextlib.ExitStack() as stack:
            where = stack.enter_context(wires())
            err = stack.enter_context(reflecting(where))
            attached = self.attach(lab(where.generator), self.host, Topology())
            generator = stack.enter_context(attached)

            def cut() -> None:
                ip("-n", where.generator, "link", "delete", "dev", "g1")

            yield Loop(
                generator,
                err,
                stack.enter_context(sniffer(where.dut, "d0")),
                cut=cut,
                kill=lambda: os.kill(generator.pid, signal.SIGKILL),
            )


@dataclass(frozen=True)
class Simulated:
    """The simulated DUT: no frame exists, so that it repeats and reorders none."""

    faults: Sequence[str] = ("none", "drop", "corrupt", "silent")
    rate_pps: float = 2000.0
    too_fast_pps: float = 1e6

    def transform(self, frame: bytes) -> bytes:
        return swap(frame)

    @contextlib.contextmanager
    def loop(self) -> Iterator[Loop]:
        faults = {
            "none": DutFaults(),
            "drop": DutFaults(lose_one_in=EVERY),
            "corrupt": DutFaults(corrupt_one_in=EVERY),
            "silent": DutFaults(deaf_for=10**9),
        }
        generator = SimulatedGenerator(SimulatedDut(), max_pps=1e5)

        def err(fault: str) -> None:
            generator.dut = SimulatedDut(faults=faults[fault])

        yield Loop(generator, err)


BENCHES: dict[str, Callable[[LocalHost], Bench]] = {
    "af_packet": lambda host: Interfaces(host, af_packet, too_fast_pps=5e6),
    "memif": Memif,
    "memif, 2 queues": lambda host: Memif(host, queues=2),
    "memif, 4 queues": lambda host: Memif(host, queues=4),
    "scapy": lambda host: Interfaces(host, scapy, too_fast_pps=1e6),
    "sim": lambda host: Simulated(),
    "trex": Emulated,
}
