"""Does the DUT keep back what it must not forward, such as frames whose time to live is over?"""

from __future__ import annotations

from dataclasses import replace

from pytest_vswitch.measure import culprit
from pytest_vswitch.measure.exchange import both_sides
from pytest_vswitch.measure.functional import FunctionalError, build_frames
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.frames import FCS_BYTES, HEADER_BYTES
from pytest_vswitch.traffic.generator import Generator


def check_refusal(
    topology: Topology,
    generator: Generator,
    frame_bytes: int,
    *,
    ttl: int = 64,
    dst_mac: str | None = None,
    frames_per_direction: int = 64,
    wait_s: float = 2.0,
) -> None:
    """None of the frames with that time to live, or to that MAC address, comes out anywhere.

    As many good frames are sent between them, which must come back: else a DUT that
    forwards nothing would be right. Raises FunctionalError.
    """
    ports = range(len(topology.ports))
    good, bad = {}, {}
    for port in ports:
        flow = topology.flow(port)
        other = flow if dst_mac is None else replace(flow, dst_mac=dst_mac)
        good[port] = build_frames(flow, frame_bytes, frames_per_direction, seed=200 + port)
        bad[port] = build_frames(other, frame_bytes, frames_per_direction, seed=300 + port, ttl=ttl)
    mixed = {
        port: [frame for pair in zip(good[port], bad[port], strict=True) for frame in pair]
        for port in ports
    }
    with culprit.named(topology):
        came_back = generator.exchange(mixed, wait_s=wait_s)
    topology.check_alive()
    faults = []
    for port in ports:
        name, peer = topology.ports[port].name, topology.peer(port)
        # Whatever was rewritten on the way, the payload stays.
        wrong = {_payload(frame, frame_bytes) for frame in bad[port]}
        for out in ports:
            passed = sum(_payload(frame, frame_bytes) in wrong for frame in came_back.get(out, []))
            if passed:
                faults.append(
                    f"{name} -> {topology.ports[out].name}: {passed} of {len(wrong)} came out"
                )
        arrived = set(came_back.get(peer, []))
        missing = sum(topology.transform(frame, port) not in arrived for frame in good[port])
        if missing:
            faults.append(
                f"{name} -> {topology.ports[peer].name}: {missing} of {len(good[port])} frames "
                "that it must forward, sent between them, did not come back right"
            )
    if faults:
        kind = f"time to live {ttl}" if dst_mac is None else f"destination {dst_mac}"
        raise FunctionalError(
            f"{topology.name} does not tell apart which {frame_bytes}-byte frames to forward; "
            f"of those with {kind} none may come out:\n" + "\n".join(faults),
            both_sides(topology, mixed, came_back, forwarded=good),
        )


def _payload(frame: bytes, frame_bytes: int) -> bytes:
    return frame[-(frame_bytes - FCS_BYTES - HEADER_BYTES) :]
