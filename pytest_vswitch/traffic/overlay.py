"""VXLAN (RFC 7348): Ethernet frames within UDP datagrams of the network below."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_vswitch.topologies.topology import Flow

if TYPE_CHECKING:
    from scapy.packet import Packet

UDP_PORT = 4789
"""Where VXLAN is expected (RFC 7348 section 8)."""
BYTES = 50
"""Outer Ethernet, IPv4, UDP and VXLAN headers, without VLAN tags."""
MOST_VNI = (1 << 24) - 1

_HEADER_BYTES = 8
_SOURCE_PORT = 49152
_VNI_IS_VALID = 0x08


def inner(flow: Flow) -> Flow:
    """Addresses of the frames inside: the same networks, other stations, no tag."""
    return replace(
        flow, src_mac=f"06{flow.src_mac[2:]}", dst_mac=f"06{flow.dst_mac[2:]}", vlan=None
    )


def wrap(
    ethernet: Packet,
    flow: Flow,
    vni: int,
    frame: bytes,
    *,
    source_port: int = _SOURCE_PORT,
    identification: int = 0,
) -> bytes:
    """`frame` (without FCS) within a datagram of `flow`, behind the header `ethernet`.

    Its UDP checksum is absent, as RFC 7348 section 5 wants.
    """
    from scapy.layers.inet import IP, UDP
    from scapy.packet import Raw

    header = bytes([_VNI_IS_VALID, 0, 0, 0]) + vni.to_bytes(3, "big") + b"\0"
    ip = IP(src=flow.src_ip, dst=flow.dst_ip, ttl=64, id=identification)
    udp = UDP(sport=source_port, dport=UDP_PORT, chksum=0)
    return bytes(ethernet / ip / udp / Raw(header + frame))


def field(place: int) -> str | None:
    """What a byte is at `place` behind the outer UDP header; None if the inner frame's."""
    return "VXLAN header" if place < _HEADER_BYTES else None


def inner_place(place: int) -> int:
    """Where in the inner frame the byte is that is at `place` behind the outer UDP header."""
    return place - _HEADER_BYTES
