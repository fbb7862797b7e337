"""The frames that generators send: one Ethernet/IPv4/UDP template per direction.

Addresses are those of RFC 2544 appendix C (198.18.0.0/15) and locally administered
MAC addresses. The 18 bytes after the headers, all that a 64-byte frame has room
for, are the stamp: stream id (u16), sequence number (u64), time of sending [ns]
(u64), little-endian. The rest is a fixed pattern. The UDP checksum is absent (0, as
RFC 768 allows), for the stamp changes with every frame.
"""

from __future__ import annotations

from pytest_vswitch.errors import InputError

FCS_BYTES = 4
"""Counted in every frame size of the API, never part of a frame's bytes."""
MIN_FRAME_BYTES = 64
MAX_FRAME_BYTES = 9724
HEADER_BYTES = 42
STAMP_BYTES = 18
STAMP = b"\xa5stamp goes here\x5a\xa5"
"""Stands in a template where each frame's stamp will be."""


def template(tx_port: int, rx_port: int, frame_bytes: int) -> bytes:
    """The frame from one generator port to another, without FCS, `STAMP` in its place.

    `frame_bytes` includes the FCS. Raises InputError if no such frame exists.
    """
    if not MIN_FRAME_BYTES <= frame_bytes <= MAX_FRAME_BYTES:
        raise InputError(
            f"frame size {frame_bytes}: from {MIN_FRAME_BYTES} to {MAX_FRAME_BYTES} bytes, "
            "FCS included"
        )
    # Here, so that a pytest run without traffic never imports scapy.
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    payload = frame_bytes - FCS_BYTES - HEADER_BYTES
    pattern = bytes(range(256)) * (payload // 256 + 1)
    packet = (
        Ether(src=mac(tx_port), dst=mac(rx_port))
        / IP(src=address(tx_port), dst=address(rx_port), ttl=64, id=0)
        / UDP(sport=49184, dport=49184, chksum=0)
        / Raw(STAMP + pattern[: payload - STAMP_BYTES])
    )
    return bytes(packet)


def mac(port: int) -> str:
    """MAC address of a generator port."""
    return f"02:00:c6:12:00:{port + 1:02x}"


def address(port: int) -> str:
    """IPv4 address of a generator port, in a network of its own per port."""
    return f"198.{18 + port % 2}.{port // 2}.1"


def stamp_offset(frame: bytes) -> int:
    """Where the stamp is in a template, or in what a DUT makes of it [bytes].

    Raises InputError when it is not there once.
    """
    if frame.count(STAMP) != 1:
        raise InputError("the topology's transform() does not leave a frame's payload as it was")
    return frame.index(STAMP)
