"""The frames that generators send: one Ethernet/IPv4/UDP template per direction.

Addresses are those of the topology's flow. The 18 bytes after the headers, all that a
64-byte frame has room for, are the stamp: stream id (u16), sequence number (u64), time of
sending [ns] (u64), little-endian. The rest is a fixed pattern. The UDP checksum is absent (0, as
RFC 768 allows), for the stamp changes with every frame.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.traffic import mpls, overlay

if TYPE_CHECKING:
    from scapy.packet import Packet

FCS_BYTES = 4
"""Counted in every frame size of the API, never part of a frame's bytes."""
MIN_FRAME_BYTES = 64
MAX_FRAME_BYTES = 9724
HEADER_BYTES = 42
VLAN_BYTES = 4
STAMP_BYTES = 18
STAMP = b"\xa5stamp goes here\x5a\xa5"
"""Stands in a template where each frame's stamp will be."""


def get_ready() -> None:
    """Import scapy beside what is being started: half a second until the first frame less."""
    threading.Thread(
        target=importlib.import_module, args=("scapy.layers.inet",), name="scapy", daemon=True
    ).start()


def template(
    flow: Flow,
    frame_bytes: int,
    tags: Sequence[int] = (),
    vxlan: int | None = None,
    labels: Sequence[int] = (),
) -> bytes:
    """The frame of a flow, without FCS, `STAMP` in its place.

    `frame_bytes` includes the FCS, VLAN tags (the flow's or `tags`), MPLS `labels`, and what is
    around it with `vxlan`, see `Profile`. The IPv4 header checksum is the same for all sizes, as
    length and identification add up to the same. Raises InputError if no such frame exists.
    """
    tag_bytes = VLAN_BYTES * (len(tags) + (flow.vlan is not None))
    outer_bytes = mpls.BYTES * len(labels) + (0 if vxlan is None else overlay.BYTES)
    least = MIN_FRAME_BYTES + tag_bytes + outer_bytes
    if not least <= frame_bytes <= MAX_FRAME_BYTES:
        tagged = "" if not tag_bytes else " and VLAN tag" + "s" * (len(tags) > 1)
        tagged += " and MPLS labels" if labels else ""
        around = "" if vxlan is None else " and VXLAN headers"
        raise InputError(
            f"frame size {frame_bytes}: from {least} to {MAX_FRAME_BYTES} bytes, "
            f"FCS{tagged}{around} included"
        )
    if vxlan is not None:
        inside = template(overlay.inner(flow), frame_bytes - tag_bytes - outer_bytes)
        varied = MAX_FRAME_BYTES - len(inside)
        header = ethernet(flow, tags, labels)
        return overlay.wrap(header, flow, vxlan, inside, identification=varied)
    # Here, so that a pytest run without traffic never imports scapy.
    from scapy.layers.inet import IP, UDP
    from scapy.packet import Raw

    payload = frame_bytes - FCS_BYTES - HEADER_BYTES - tag_bytes - outer_bytes
    pattern = bytes(range(256)) * (payload // 256 + 1)
    packet = (
        ethernet(flow, tags, labels)
        / IP(src=flow.src_ip, dst=flow.dst_ip, ttl=64, id=MAX_FRAME_BYTES - payload)
        / UDP(sport=49184, dport=49184, chksum=0)
        / Raw(STAMP + pattern[: payload - STAMP_BYTES])
    )
    return bytes(packet)


def ethernet(flow: Flow, tags: Sequence[int] = (), labels: Sequence[int] = ()) -> Packet:
    """The Ethernet header of a flow with its tag, or with `tags`, for scapy to build on.

    MPLS `labels` come behind it. Raises InputError when both kinds of tags are asked for, and
    for a VLAN id or a label that there is not.
    """
    from scapy.layers.l2 import Dot1AD, Dot1Q, Ether

    header = Ether(src=flow.src_mac, dst=flow.dst_mac)
    if flow.vlan is not None:
        if tags:
            raise InputError(
                f"VLAN tags: this topology gives frames a tag itself ({flow.vlan}), "
                "so the profile must have none"
            )
        return mpls.stack(header / Dot1Q(vlan=flow.vlan), labels)
    for tag in tags:
        if not 1 <= tag <= 4094:
            raise InputError(f"VLAN id {tag}: from 1 to 4094 (IEEE 802.1Q)")
    for tag in tags[:-1]:
        header /= Dot1AD(vlan=tag)
    tagged = header / Dot1Q(vlan=tags[-1]) if tags else header
    return mpls.stack(tagged, labels)


def is_tagged(frame: bytes) -> bool:
    """Whether a VLAN tag comes first after the addresses (IEEE 802.1Q, 802.1ad)."""
    return frame[12:14] in (b"\x81\x00", b"\x88\xa8")


def stamp_offset(frame: bytes) -> int:
    """Where the stamp is in a template, or in what a DUT makes of it [bytes].

    Raises InputError when it is not there once.
    """
    if frame.count(STAMP) != 1:
        raise InputError("the topology's transform() does not leave a frame's payload as it was")
    return frame.index(STAMP)
