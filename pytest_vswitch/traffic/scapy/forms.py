"""The frames of a trial, built by scapy: sizes, flows and tags as the profile says."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.traffic import mpls, overlay
from pytest_vswitch.traffic.frames import (
    FCS_BYTES,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    MIN_FRAME_BYTES,
    STAMP,
    STAMP_BYTES,
    VLAN_BYTES,
    ethernet,
)
from pytest_vswitch.traffic.profile import Profile

_PORT = 49184


def order(frame_bytes: int, profile: Profile) -> list[int]:
    """Which of its sizes, the smallest is 0, each frame has: in turn."""
    sizes = profile.sizes_or(frame_bytes)
    return [sorted(set(sizes)).index(size) for size in sizes]


@lru_cache(maxsize=8)
def build(flow: Flow, frame_bytes: int, profile: Profile) -> list[bytes]:
    """The frames without FCS, `STAMP` in them: each flow's of the smallest size, and so on.

    Source address and port tell flows apart. Raises InputError for a size that no frame has.
    """
    tags = profile.tags or (() if flow.vlan is None else (flow.vlan,))
    return [
        _frame(flow, number, size, tags, profile.labels)
        if profile.vxlan is None
        else _around(flow, number, size, profile)
        for size in sorted(set(profile.sizes_or(frame_bytes)))
        for number in range(profile.flows)
    ]


def _around(flow: Flow, number: int, frame_bytes: int, profile: Profile) -> bytes:
    """A frame within one of VXLAN; flows differ inside."""
    tag_bytes = VLAN_BYTES * (len(profile.tags) or flow.vlan is not None)
    label_bytes = mpls.BYTES * len(profile.labels)
    outer_bytes = tag_bytes + label_bytes + overlay.BYTES
    least = MIN_FRAME_BYTES + outer_bytes
    if not least <= frame_bytes <= MAX_FRAME_BYTES:
        raise InputError(
            f"frame size {frame_bytes}: from {least} to {MAX_FRAME_BYTES} bytes, FCS "
            f"{'and VLAN tags ' if tag_bytes else ''}{'and MPLS labels ' if label_bytes else ''}"
            "and VXLAN headers included"
        )
    inside = _frame(overlay.inner(flow), number, frame_bytes - outer_bytes)
    assert profile.vxlan is not None
    return overlay.wrap(ethernet(flow, profile.tags, profile.labels), flow, profile.vxlan, inside)


def _frame(
    flow: Flow,
    number: int,
    frame_bytes: int,
    tags: tuple[int, ...] = (),
    labels: tuple[int, ...] = (),
) -> bytes:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
    from scapy.packet import Packet, Raw

    tag_bytes = VLAN_BYTES * len(tags) + mpls.BYTES * len(labels)
    least = MIN_FRAME_BYTES + tag_bytes
    if not least <= frame_bytes <= MAX_FRAME_BYTES:
        raise InputError(
            f"frame size {frame_bytes}: from {least} to {MAX_FRAME_BYTES} bytes, FCS "
            f"{'and VLAN tags ' if tags else ''}{'and MPLS labels ' if labels else ''}included"
        )
    room = frame_bytes - FCS_BYTES - HEADER_BYTES - tag_bytes - STAMP_BYTES
    frame: Packet = Ether(src=flow.src_mac, dst=flow.dst_mac)
    for place, tag in enumerate(tags):
        outer = place < len(tags) - 1  # IEEE 802.1ad: a service tag around the customer's
        frame /= Dot1AD(vlan=tag) if outer else Dot1Q(vlan=tag)
    frame = mpls.stack(frame, labels)
    frame /= IP(src=str(IPv4Address(flow.src_ip) + number), dst=flow.dst_ip, ttl=64, id=0)
    frame /= UDP(sport=_PORT + number % (0x10000 - _PORT), dport=_PORT, chksum=0)
    frame /= Raw(STAMP + bytes(place & 0xFF for place in range(room)))
    return bytes(frame)
