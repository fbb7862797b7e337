"""The generator of a lab whose ports are memif servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.worker_generator import Attachable, Way, WorkerGenerator


class MemifTopology(Attachable, Protocol):
    """A topology whose ports a memif client can reach."""

    @property
    def ports(self) -> Sequence[MemifPort]: ...


def attach(lab: Lab, host: Host, topology: MemifTopology) -> WorkerGenerator:
    """The generator of a lab for a topology with memif ports, on the CPU left for it."""
    return on_sockets(
        host,
        topology.ports,
        topology,
        cpu=topology.generator_cpu if lab.generator.cpu is None else lab.generator.cpu,
        ring_size=lab.generator.ring_size,
        buffer_bytes=lab.generator.buffer_bytes,
    )


def on_sockets(
    host: Host,
    ports: Sequence[MemifPort],
    way: Way,
    *,
    cpu: int | None = None,
    ring_size: int = 1024,
    buffer_bytes: int | None = None,
) -> WorkerGenerator:
    """A generator that connects to these ports' sockets, with DPDK's ring size by default.

    With `buffer_bytes`, frames that are longer lie in several buffers, see `chained`.

    Leave it attached as long as the DUT forwards: DPDK (22.11) may crash when a memif
    peer disconnects while an lcore polls its rings.
    """
    sockets = [
        {
            "socket": port.socket,
            "id": 0,
            "secret": "",
            "rings": port.rings,
            "also": port.also,
            "piece": buffer_bytes,
        }
        for port in ports
    ]
    return WorkerGenerator(host, "memif", sockets, way, cpu=cpu, ring_size=ring_size)
