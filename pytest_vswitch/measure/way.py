"""Do the frames of a port take that port's way? Frames that come back may have taken another.

A chain of two ports with its wires crossed returns every frame all the same; only its
counters, with frames from one side at a time, tell.
"""

from __future__ import annotations

from pytest_vswitch.measure import culprit
from pytest_vswitch.measure.functional import FunctionalError, build_frames
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.generator import Generator


def check_way(
    topology: Topology, generator: Generator, frames_per_port: int = 64, *, wait_s: float = 5.0
) -> None:
    """Frames sent into one port alone are counted by each hop of that port's path.

    Raises FunctionalError that names the first hop, of each port, that did not count them.
    """
    faults = []
    for port in range(len(topology.ports)):
        frames = build_frames(topology.flow(port), 64, frames_per_port, seed=port)
        before = topology.snapshot()
        with culprit.named(topology):
            generator.exchange({port: frames}, wait_s=wait_s)
        topology.check_alive()
        for hop in topology.path(port, before, topology.snapshot()):
            if min(hop.entered, hop.left) < frames_per_port:
                faults.append(
                    f"of {frames_per_port} frames into {topology.ports[port].name}, "
                    f"{hop.entered} entered and {hop.left} left at {hop.name}"
                )
                break
    if faults:
        raise FunctionalError(
            f"{topology.name}: frames do not take the way of their port:\n" + "\n".join(faults)
        )
