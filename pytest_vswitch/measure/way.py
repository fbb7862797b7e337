"""Do the frames of a port take that port's way? Frames that come back may have taken another.

A chain of two ports with its wires crossed returns every frame all the same; only its
counters, with frames from one side at a time, tell.
"""

from __future__ import annotations

import time

from pytest_vswitch.measure import culprit
from pytest_vswitch.measure.exchange import both_sides
from pytest_vswitch.measure.functional import FunctionalError, build_frames
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.generator import Generator

SETTLE_S = 2.0
"""How late the counters of a program may be [s]."""


def check_way(
    topology: Topology, generator: Generator, frames_per_port: int = 64, *, wait_s: float = 5.0
) -> None:
    """Frames sent into one port alone are counted by each hop of that port's path.

    Raises FunctionalError that names the first hop, of each port, that did not count them,
    and the port where they came in instead, if the wires to the DUT are crossed.
    """
    ports = range(len(topology.ports))
    sent: dict[int, list[bytes]] = {}
    came_back: dict[int, list[bytes]] = {port: [] for port in ports}
    faults = []
    for port in ports:
        frames = build_frames(topology.flow(port), 64, frames_per_port, seed=port)
        before = topology.snapshot()
        with culprit.named(topology):
            arrived = generator.exchange({port: frames}, wait_s=wait_s)
        topology.check_alive()
        after = _settled(topology, port, before, frames_per_port)
        sent[port] = frames
        for out, queue in arrived.items():
            came_back[out] += queue
        for number, hop in enumerate(topology.path(port, before, after)):
            if min(hop.entered, hop.left) < frames_per_port:
                name = topology.ports[port].name
                faults.append(
                    f"of {frames_per_port} frames into {name}, "
                    f"{hop.entered} entered and {hop.left} left at {hop.name}"
                )
                for other in ports if number == 0 else ():
                    first = topology.path(other, before, after)[0]
                    if other != port and first.entered >= frames_per_port:
                        faults.append(
                            f"    {first.entered} entered at {first.name}: are the wires of "
                            f"{name} and {topology.ports[other].name} crossed?"
                        )
                break
    if faults:
        raise FunctionalError(
            f"{topology.name}: frames do not take the way of their port:\n" + "\n".join(faults),
            both_sides(topology, sent, came_back),
        )


def _settled(topology: Topology, port: int, before: object, frames: int) -> object:
    """The counters once every hop of the port has counted so many, or cannot be waited for."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        last = time.monotonic() > deadline
        after = topology.snapshot()
        hops = topology.path(port, before, after)
        if last or all(min(hop.entered, hop.left) >= frames for hop in hops):
            return after
        time.sleep(0.02)  # the condition: the counters have caught up
