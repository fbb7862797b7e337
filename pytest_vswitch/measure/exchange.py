"""Both sides of an exchange of frames: what there is to look at when a check fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_vswitch.topologies.topology import Topology

Frames = Mapping[int, Sequence[bytes]]
"""Frames without FCS, by port."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Both sides of an exchange, by port name. Frames are without FCS."""

    sent: Mapping[str, tuple[bytes, ...]]
    """Into each port, in order."""
    expected: Mapping[str, tuple[bytes, ...]]
    """Out of each port, byte for byte, in the order in which they were sent."""
    came_back: Mapping[str, tuple[bytes, ...]]
    """Out of each port, in the order of arrival; also frames that nobody of us sent."""


def both_sides(
    topology: Topology, sent: Frames, came_back: Frames, *, forwarded: Frames | None = None
) -> Exchange:
    """An exchange with the names of the topology's ports, also of those with nothing.

    `forwarded` are those of `sent` that must come out; default: all.
    """
    expected: dict[int, list[bytes]] = {}
    for port, frames in (sent if forwarded is None else forwarded).items():
        queue = expected.setdefault(topology.peer(port), [])
        queue += [topology.transform(frame, port) for frame in frames]

    def named(frames: Frames) -> dict[str, tuple[bytes, ...]]:
        return {port.name: tuple(frames.get(n, ())) for n, port in enumerate(topology.ports)}

    return Exchange(named(sent), named(expected), named(came_back))
