"""The generator of a lab whose ports are memif servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.worker_generator import Attachable, Way, WorkerGenerator


class MemifTopology(Attachable, Protocol):
    """A topology whose ports a memif client can reach."""

    @property
    def ports(self) -> Sequence[MemifPort]: ...


def attach(lab: Lab, host: Host, topology: MemifTopology) -> WorkerGenerator:
    """The generator of a lab for a topology with memif ports, on the CPU left for it.

    Raises InputError when the DUT's ports have fewer queues than it should use.
    """
    _check_queues(lab, topology.ports)
    return on_sockets(
        host,
        topology.ports,
        topology,
        cpu=topology.generator_cpu if lab.generator.cpu is None else lab.generator.cpu,
        ring_size=lab.generator.ring_size,
        buffer_bytes=lab.generator.buffer_bytes,
        queues=lab.generator.queues,
    )


def on_sockets(
    host: Host,
    ports: Sequence[MemifPort],
    way: Way,
    *,
    cpu: int | None = None,
    ring_size: int = 1024,
    buffer_bytes: int | None = None,
    queues: int = 1,
) -> WorkerGenerator:
    """A generator that connects to these ports' sockets, with DPDK's ring size by default.

    With `buffer_bytes`, frames that are longer lie in several buffers, see `chained`. With
    several `queues`, flows are spread over as many of each port, see `queues`.

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
            "queues": queues,
        }
        for port in ports
    ]
    place = f"{queues} queues" if queues > 1 else ""
    return WorkerGenerator(host, "memif", sockets, way, cpu=cpu, ring_size=ring_size, place=place)


def _check_queues(lab: Lab, ports: Sequence[MemifPort]) -> None:
    queues, where = lab.generator.queues, lab.where("generator", "queues")
    if queues > 1 and lab.generator.buffer_bytes is not None:
        raise InputError(
            f"{where}: frames in several buffers have one queue; take `queues` or "
            "`buffer_bytes` out"
        )
    for port in ports:
        if queues > port.rings:
            raise InputError(
                f"{where}: {queues} queues, and {port.name} of the DUT has {port.rings}"
            )
