"""Does the DUT forward at all, and is each frame right? Asked before anything is measured."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence

from pytest_vswitch.errors import DutError, InputError, VswitchError
from pytest_vswitch.measure import culprit
from pytest_vswitch.measure.exchange import Exchange, Frames, both_sides
from pytest_vswitch.topologies.topology import Flow, Topology
from pytest_vswitch.traffic import mpls, overlay
from pytest_vswitch.traffic.frames import FCS_BYTES, HEADER_BYTES, VLAN_BYTES, ethernet
from pytest_vswitch.traffic.generator import Generator
from pytest_vswitch.traffic.profile import PLAIN, Profile

PROBE_WAIT_S = 1.0
"""How long a single frame may take through a DUT that is still waking up [s]."""
SMALLEST_FRAME_BYTES = HEADER_BYTES + 4 + FCS_BYTES
"""Room for the number that makes each frame unlike all others."""

FIELDS = (
    (0, "Ethernet destination"),
    (6, "Ethernet source"),
    (12, "Ethernet type"),
    (14, "IPv4 version and header length"),
    (15, "IPv4 type of service"),
    (16, "IPv4 total length"),
    (18, "IPv4 identification"),
    (20, "IPv4 flags and fragment offset"),
    (22, "IPv4 time to live"),
    (23, "IPv4 protocol"),
    (24, "IPv4 checksum"),
    (26, "IPv4 source"),
    (30, "IPv4 destination"),
    (34, "UDP source port"),
    (36, "UDP destination port"),
    (38, "UDP length"),
    (40, "UDP checksum"),
    (42, "payload"),
)
"""Where each field of the frames sent here begins, if they are not tagged [bytes]."""
_TAGS = (b"\x81\x00", b"\x88\xa8")
"""Ethernet types of VLAN tags (IEEE 802.1Q)."""


class FunctionalError(VswitchError):
    """The DUT forwards, but not every frame comes back once and right."""

    def __init__(self, message: str, exchange: Exchange | None = None) -> None:
        """`exchange` are the frames to keep, if there are any."""
        super().__init__(message)
        self.exchange = exchange

    def add(self, line: str) -> None:
        """Say one thing more, e.g. where the frames are kept."""
        self.args = (f"{self}\n{line}",)


def check_functional(
    topology: Topology,
    generator: Generator,
    frame_bytes: int,
    frames_per_direction: int = 256,
    *,
    wait_s: float = 5.0,
    profile: Profile = PLAIN,
) -> None:
    """Every frame comes back exactly once, and byte for byte as `topology.transform` says.

    The frames of all directions are sent together, each unlike all others, addresses and
    ports too; of several sizes of `profile`, each has its share. Frames that
    the DUT sends of its own accord, such as a guest's router solicitation, are no fault.
    Raises FunctionalError with the number of missing frames, the first wrong byte, the port
    that frames came out of in place of theirs, and the hops where frames were lost.
    """
    sent = {
        port: _of_all_sizes(topology.flow(port), frame_bytes, profile, frames_per_direction, port)
        for port in range(len(topology.ports))
    }
    with culprit.named(topology):
        before = topology.snapshot()
        came_back = generator.exchange(sent, wait_s=wait_s)
    topology.check_alive()
    faults = [fault for port in sent for fault in _faults(topology, port, sent[port], came_back)]
    if faults:
        raise FunctionalError(
            f"{topology.name} does not forward {frame_bytes}-byte frames correctly:\n"
            + "\n".join([*faults, *losses(topology, before)]),
            both_sides(topology, sent, came_back),
        )


def wait_until_forwarding(topology: Topology, generator: Generator, deadline_s: float) -> None:
    """Send single frames into every port until one has come back from each.

    Raises DutError when that is not so after `deadline_s`, or when a program has ended.
    """
    probes = {port: [_probe(topology, port)] for port in range(len(topology.ports))}
    deadline = time.monotonic() + deadline_s
    before: object = None
    while True:
        topology.check_alive()
        with culprit.named(topology):
            came_back = generator.exchange(probes, wait_s=PROBE_WAIT_S)
        for port in list(probes):
            expected = topology.transform(probes[port][0], port)
            if expected in came_back.get(topology.peer(port), []):
                del probes[port]
        if not probes:
            return
        if time.monotonic() > deadline:
            topology.check_alive()
            ways = ", ".join(
                f"{topology.ports[port].name} -> {topology.ports[topology.peer(port)].name}"
                for port in probes
            )
            arrived = sum(len(frames) for frames in came_back.values())
            lines = [
                f"{topology.name} forwards no frame from {ways} {deadline_s:g} s after it was "
                f"started, though all its programs run; the last attempt got {arrived} "
                "frames back, none of them right",
                *([] if before is None else losses(topology, before)),
            ]
            raise DutError("\n".join(lines))
        if before is None:  # not before the first attempt: it mostly succeeds
            with culprit.named(topology):
                before = topology.snapshot()


def prove_clean(topology: Topology, generator: Generator, deadline_s: float) -> None:
    """Prove that a topology is as good as new: nothing moves in it, and new frames pass.

    Raises DutError when after `deadline_s` frames of an earlier test are still under way,
    or single new ones do not come back, and when a program has ended.
    """
    ports = range(len(topology.ports))
    deadline = time.monotonic() + deadline_s
    before = topology.snapshot()
    while True:
        topology.check_alive()
        time.sleep(0.02)  # the condition: no counter of a hop moves
        after = topology.snapshot()
        hops = [hop for port in ports for hop in topology.path(port, before, after)]
        moving = [hop for hop in hops if hop.entered or hop.left]
        if not moving:
            break
        if time.monotonic() > deadline:
            raise DutError(
                f"frames that nobody sends move through {topology.name} {deadline_s:g} s after "
                f"the test before, e.g. {moving[0].name}: {moving[0].left} within a moment"
            )
        before = after
    wait_until_forwarding(topology, generator, deadline_s)


def losses(topology: Topology, before: object) -> list[str]:
    """Where frames were lost since the snapshot `before`, a line for each hop."""
    with culprit.named(topology):
        after = topology.snapshot()
    lines = []
    for port in range(len(topology.ports)):
        for hop in topology.path(port, before, after):
            if hop.lost > 0:
                why = ", ".join(f"{what}: {count}" for what, count in hop.drops.items() if count)
                lines.append(f"    lost at {hop.name}: {hop.lost} ({why or 'no counter says why'})")
    return lines


def _probe(topology: Topology, port: int) -> bytes:
    """A frame that `check_functional` does not send: it may come back as late as that."""
    return build_frames(topology.flow(port), 64, 1, seed=100 + port)[0]


def _of_all_sizes(
    flow: Flow, frame_bytes: int, profile: Profile, count: int, port: int
) -> list[bytes]:
    sizes = sorted(set(profile.sizes_or(frame_bytes)))
    each = -(-count // len(sizes))
    return [
        frame
        for number, size in enumerate(sizes)
        for frame in build_frames(
            flow,
            size,
            each,
            seed=port + 1000 * number,
            tags=profile.tags,
            vxlan=profile.vxlan,
            labels=profile.labels,
        )
    ]


def build_frames(
    flow: Flow,
    frame_bytes: int,
    count: int,
    *,
    seed: int = 0,
    ttl: int = 64,
    tags: Sequence[int] = (),
    vxlan: int | None = None,
    labels: Sequence[int] = (),
) -> list[bytes]:
    """Distinct UDP frames of a flow, without FCS: hosts of its networks (/16), ports, payload.

    With `vxlan` they are so inside, and the outer UDP source port differs. Raises InputError
    for a frame that has no room for its headers.
    """
    tag_bytes = VLAN_BYTES * (len(tags) + (flow.vlan is not None)) + mpls.BYTES * len(labels)
    if vxlan is not None:
        size = frame_bytes - overlay.BYTES - tag_bytes
        header = ethernet(flow, tags, labels)
        inside = build_frames(overlay.inner(flow), size, count, seed=seed, ttl=ttl)
        return [
            overlay.wrap(header, flow, vxlan, frame, source_port=49152 + number)
            for number, frame in enumerate(inside)
        ]
    if frame_bytes < SMALLEST_FRAME_BYTES + tag_bytes:
        raise InputError(
            f"frame size is {frame_bytes} bytes; it must be at least "
            f"{SMALLEST_FRAME_BYTES + tag_bytes}"
        )
    from scapy.layers.inet import IP, UDP
    from scapy.packet import Raw

    rng = random.Random(seed)

    def host(address: str) -> str:
        network = ".".join(address.split(".")[:2])
        return f"{network}.{rng.randrange(256)}.{rng.randrange(1, 255)}"

    frames = []
    for number in range(count):
        payload = rng.randbytes(frame_bytes - FCS_BYTES - HEADER_BYTES - tag_bytes - 4)
        frame = (
            ethernet(flow, tags, labels)
            / IP(src=host(flow.src_ip), dst=host(flow.dst_ip), id=number % 0x10000, ttl=ttl)
            / UDP(sport=rng.randrange(1024, 0x10000), dport=rng.randrange(1024, 0x10000))
            / Raw(number.to_bytes(4, "big") + payload)
        )
        frames.append(bytes(frame))
    return frames


def _faults(topology: Topology, port: int, sent: Sequence[bytes], came_back: Frames) -> list[str]:
    """What is wrong with one direction, a sentence each; empty if nothing is."""
    peer = topology.peer(port)
    expected = [topology.transform(frame, port) for frame in sent]
    arrived = came_back.get(peer, [])
    way = f"{topology.ports[port].name} -> {topology.ports[peer].name}"
    arrivals = Counter(arrived)
    known = {*expected, topology.transform(_probe(topology, port), port)}
    missing = [frame for frame in expected if not arrivals[frame]]
    repeated = [frame for frame in expected if arrivals[frame] > 1]
    wrong = [
        (frame, nearest)
        for frame in arrived
        if frame not in known and _alike(frame, nearest := _nearest(frame, missing or expected))
    ]
    faults = []
    if missing:
        faults.append(f"{way}: {len(missing)} of {len(expected)} frames did not come back right")
        faults += _astray(topology, peer, missing, came_back)
    if repeated:
        faults.append(f"{way}: {len(repeated)} of {len(expected)} frames came back more than once")
    if wrong:
        got, should = wrong[0]
        which = f"frame {expected.index(should) + 1} of {len(expected)}"
        faults.append(f"{way}: {len(wrong)} frames came back changed; in the first of them")
        faults.append(f"    {_difference(got, should)} ({which}{_how_many(got, should)})")
    return faults


def _astray(
    topology: Topology, peer: int, missing: Sequence[bytes], came_back: Frames
) -> list[str]:
    """Which ports but `peer` the missing frames came out of."""
    told = []
    for port, frames in came_back.items():
        found = len({*missing} & {*frames}) if port != peer else 0
        if found:
            told.append(
                f"    {found} of them came out of {topology.ports[port].name} instead: are the "
                "wires, or the ports in the lab file, crossed?"
            )
    return told


def _nearest(frame: bytes, candidates: Sequence[bytes]) -> bytes:
    """The candidate from which `frame` differs in the fewest bits."""
    return min(candidates, key=lambda candidate: _distance(frame, candidate))


def _distance(one: bytes, other: bytes) -> int:
    """Bits that differ; all of a byte that only one of them has."""
    return _changed_bits(one, other) + 8 * abs(len(one) - len(other))


def _changed_bits(one: bytes, other: bytes) -> int:
    """Bits that differ, as far as both frames reach."""
    common = min(len(one), len(other))
    changed = int.from_bytes(one[:common], "big") ^ int.from_bytes(other[:common], "big")
    return changed.bit_count()


def _alike(frame: bytes, expected: bytes) -> bool:
    """Whether it is that frame, damaged or cut: of unrelated frames every other bit differs."""
    return _changed_bits(frame, expected) < 2 * min(len(frame), len(expected))


def _difference(got: bytes, expected: bytes) -> str:
    """The first wrong byte, for a reader."""
    for offset, (is_, should) in enumerate(zip(got, expected, strict=False)):
        if is_ != should:
            field = _field(expected, offset)
            return f"byte {offset} ({field}) is 0x{is_:02x}, it should be 0x{should:02x}"
    return f"there are {len(got)} bytes, it should be {len(expected)} (without FCS)"


def _how_many(got: bytes, expected: bytes) -> str:
    """How many bytes are wrong, if it is more than the first."""
    wrong = sum(is_ != should for is_, should in zip(got, expected, strict=False))
    return f"; {wrong} bytes of it are wrong" if wrong > 1 else ""


def _field(frame: bytes, offset: int) -> str:
    """The field that a byte of a frame belongs to; VLAN tags and labels move what follows."""
    tags = 0
    while frame[12 + tags : 14 + tags] in _TAGS:
        tags += VLAN_BYTES
    if 12 <= offset < 12 + tags:
        return "VLAN tag"
    stack = mpls.stack_bytes(frame[12 + tags :])
    if 14 + tags <= offset < 14 + tags + stack:
        return "MPLS label"
    if offset >= 14 + tags:
        tags += stack
    place = offset if offset < 12 else offset - tags
    payload, port = FIELDS[-1][0], int.from_bytes(frame[36 + tags : 38 + tags], "big")
    if place >= payload and port == overlay.UDP_PORT:
        behind = place - payload
        return overlay.field(behind) or f"inner {_plain_field(overlay.inner_place(behind))}"
    return _plain_field(place)


def _plain_field(place: int) -> str:
    return [name for start, name in FIELDS if start <= place][-1]
