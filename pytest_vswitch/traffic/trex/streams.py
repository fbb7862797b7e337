"""What one trial sends from one TRex port: streams that add up to the offer, to the frame.

TRex counts by packet group id (pgid), which it writes into a field of the IP header of each
frame. Frames that must stay as they are (of a pcap file), and those in which its parser finds no IP
header (with MPLS labels), have no such id: they are counted by ports. A latency stream also gets a
stamp and a sequence number at the end of its payload; the server receives those one by one in
software, so that only a small, even share of a trial can be one: at most `LATENCY_PPS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.traffic import frames, mpls, overlay
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.profile import Capabilities, Profile, Replayed

LATENCY_PPS = 1000
"""Most latency frames of a direction [frames/s]."""
_LATENCY_PART = 10
"""One frame in so many, at most, is a latency frame."""
_MOST_FRAMES = (1 << 32) - 1
"""Frames that TRex can be told to send in one burst (an unsigned 32-bit number)."""
_FIRST_PORT = 49184
"""UDP source port of the template; those of more flows follow."""
_PORTS = (1 << 16) - _FIRST_PORT
_WIRE_BYTES = 20
"""Preamble, start of frame and the least gap."""
_GROUPS = 100
"""Packet group ids of each port: port 0 has 100 to 199, port 1 has 200 to 299, ..."""
_IP_OFFSET = 14
_ONE_BUFFER_BYTES = 128
"""The server keeps frames up to this length, without FCS, in one buffer ..."""
_WRITTEN_BYTES = 575
"""... and up to this one those of which it writes a byte as far behind as it can."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of one port; `asdict` of it is what the worker is told."""

    port: int
    """The TRex port, by its own number."""
    frame: str
    """Without FCS, in hexadecimal digits."""
    frames: int
    pps: float
    """Within a burst, where it is sent in bursts [frames/s]."""
    pg_id: int
    """0: counted by ports."""
    latency: bool = False
    burst_frames: int = 1
    pause_us: float = 0.0
    """From the last frame of a burst to the first of the next [µs]."""
    flows: int = 1
    ip_offset: int = _IP_OFFSET
    """Where the IPv4 header begins [bytes]."""
    first_address: str = ""
    addresses: int = 1
    """IPv4 source addresses, from the first on."""
    first_port: int = _FIRST_PORT
    ports: int = 1
    """UDP source ports, from the first on."""
    whole: bool = False
    """Whether the server must not put it together from several buffers."""
    endless: bool = False
    """Whether it goes on until the trial's time is over; `frames` are those due by then."""

    @property
    def frame_bytes(self) -> int:
        return len(self.frame) // 2

    def told(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Replay:
    """Exact frames from one port, in turn; counted by ports."""

    port: int
    exact: tuple[str, ...]
    """Without FCS, in hexadecimal digits."""
    frames: int
    pps: float

    def told(self) -> dict[str, Any]:
        return {**asdict(self), "pg_id": 0, "latency": False, "endless": False}


def capabilities(*, memif: bool) -> Capabilities:
    """What can be sent from `memif` ports, or from cards.

    What comes back to a memif port, the DUT has sent; a card has neighbours, whose frames a count
    of all that come would take for ours.
    """
    longest = _WRITTEN_BYTES + frames.FCS_BYTES if memif else frames.MAX_FRAME_BYTES
    return Capabilities(
        mixed_sizes=True,
        max_flow_bytes=longest,
        max_flows=1_000_000,
        max_burst_frames=1_000_000,
        max_tags=2,
        max_labels=mpls.MOST if memif else 0,
        vxlan=True,
        replay=memif,
    )


def plan(
    offer: Offer, flow: Flow, port: int, share: int, line_rate_bps: float, *, memif: bool = False
) -> list[Stream]:
    """The streams that send `share` frames of an offer from TRex port `port`, all in its time.

    More than a burst can have are sent endlessly, for as long as the trial lasts. For a `memif`
    port see `_in_one_buffer`. Raises InputError for frames that cannot be.
    """
    profile = offer.profile
    _refuse(profile, share, memif=memif)
    endless = share > _MOST_FRAMES
    sizes = _in_turn(profile.sizes_or(offer.frame_bytes), share)
    group = _GROUPS * (port + 1)
    streams = []
    for number, (size, count) in enumerate(sizes.items()):
        frame = frames.template(flow, size, profile.tags, profile.vxlan, profile.labels)
        even = Stream(
            port,
            frame.hex(),
            count,
            count / offer.duration_s,
            0 if profile.labels else group + number,
            ip_offset=_IP_OFFSET + _before_ip(flow, profile),
            endless=endless,
        )
        streams.append(_with_flows(even, flow, profile.flows))
    if profile.burst_frames > 1:
        return [_in_bursts(s, profile.burst_frames, offer, line_rate_bps) for s in streams]
    if not profile.labels:
        streams = _with_latency(streams, offer.duration_s, group + _GROUPS - 1, memif=memif)
    return [_in_one_buffer(stream) for stream in streams] if memif else streams


def plan_replay(
    offer: Offer, replay: Replayed, port: int, share: int, *, memif: bool
) -> list[Replay]:
    """The same for frames that are as they are. Raises InputError if they cannot be sent."""
    _refuse(offer.profile, share, memif=memif)
    exact = tuple(frame.hex() for frame in replay.frames)
    return [Replay(port, exact, share, share / offer.duration_s)] if share else []


def _refuse(profile: Profile, share: int, *, memif: bool) -> None:
    """Raises InputError for what cannot be sent, whatever the flow."""
    if lacking := capabilities(memif=memif).lacks(profile):
        why = ""
        if capabilities(memif=True).lacks(profile) is None:
            why = (  # what memif ports can
                " over cards: it knows its frames there by what it writes into their IPv4 header, "
                "which these lack or must keep; take memif ports, or the af_packet generator"
            )
        raise InputError(f"the trex generator {lacking}{why}")
    if profile.replay and profile.burst_frames > 1:
        raise InputError("the trex generator replays frames evenly, not in bursts")
    if profile.sizes and profile.burst_frames > 1:
        raise InputError("the trex generator sends mixed frame sizes evenly, not in bursts")
    if len(set(profile.sizes)) >= _GROUPS:
        raise InputError(f"the trex generator mixes fewer than {_GROUPS} frame sizes")
    if share > _MOST_FRAMES and (profile.replay or profile.labels or profile.burst_frames > 1):
        raise InputError(
            f"the trex generator sends at most {_MOST_FRAMES:,} such frames of a direction in a "
            f"trial, not {share:,}: make the trial shorter"
        )


def _in_turn(sizes: Sequence[int], share: int) -> dict[int, int]:
    """How many frames of each size, when `share` frames take the sizes in turn."""
    counts: Counter[int] = Counter()
    for place, size in enumerate(sizes):
        counts[size] += share // len(sizes) + (place < share % len(sizes))
    return {size: count for size, count in counts.items() if count}


def _with_flows(stream: Stream, flow: Flow, flows: int) -> Stream:
    """Source addresses and ports vary; the first of each is the template's.

    Addresses stay below x.y.z.255. Raises InputError when there are not enough.
    """
    addresses = min(flows, max(1, 255 - int(flow.src_ip.rpartition(".")[2])))
    ports = ceil(flows / addresses)
    if ports > _PORTS:
        raise InputError(f"the trex generator has no {flows:,} flows beginning at {flow.src_ip}")
    return replace(stream, flows=flows, first_address=flow.src_ip, addresses=addresses, ports=ports)


def _in_bursts(stream: Stream, burst_frames: int, offer: Offer, line_rate_bps: float) -> Stream:
    """The same frames back to back, with pauses that keep the rate."""
    wire_pps = max(line_rate_bps / 8 / (offer.frame_bytes + _WIRE_BYTES), stream.pps)
    pause_s = burst_frames / stream.pps - burst_frames / wire_pps
    return replace(stream, pps=wire_pps, burst_frames=burst_frames, pause_us=pause_s * 1e6)


def _in_one_buffer(stream: Stream) -> Stream:
    """The same, whole; InputError where that cannot be.

    What changes from frame to frame, the server puts together from several buffers. The memif
    driver of TRex v3.08 (DPDK 25.07) marks these in the ring as parts of one frame, and never
    takes the mark away: it is on whatever the slot holds later, and the DUT reads on beyond what
    it was given, a whole ring again and again.
    """
    if stream.frame_bytes <= _ONE_BUFFER_BYTES or not (stream.latency or stream.flows > 1):
        return stream
    if stream.frame_bytes > _WRITTEN_BYTES:
        raise InputError(
            "over memif the trex generator can send several flows only of frames up to "
            f"{_WRITTEN_BYTES + frames.FCS_BYTES} bytes: take one flow, or the memif generator"
        )
    return replace(stream, whole=True)


def _with_latency(
    streams: Sequence[Stream], duration_s: float, group: int, *, memif: bool
) -> list[Stream]:
    """Some frames of the most frequent stream become a latency stream of their own.

    Of a `memif` port, none of those that could not be whole then.
    """
    possible = [one for one in streams if not memif or one.frame_bytes <= _WRITTEN_BYTES]
    if not possible:
        return list(streams)
    most = max(possible, key=lambda stream: stream.frames)
    count = min(most.frames // _LATENCY_PART, int(LATENCY_PPS * duration_s))
    if not count:
        return list(streams)
    rest = most.frames - count
    return [
        *(stream for stream in streams if stream is not most),
        replace(most, frames=rest, pps=rest / duration_s),
        replace(
            most,
            frames=count,
            pps=count / duration_s,
            pg_id=group,
            latency=True,
            flows=1,
            addresses=1,
            ports=1,
        ),
    ]


def _before_ip(flow: Flow, profile: Profile) -> int:
    """How many bytes of tags and outer headers come before the IPv4 header of the flows."""
    tags = frames.VLAN_BYTES * (len(profile.tags) + (flow.vlan is not None))
    tags += mpls.BYTES * len(profile.labels)
    return tags + (0 if profile.vxlan is None else overlay.BYTES)
