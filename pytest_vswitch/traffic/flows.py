"""Which addresses and ports the flows of a direction have, and where they stand in a frame.

Flow number n of a direction has the source address x.y.(a / 254).(1 + a mod 254), in the
network (/16) of the direction's own source address, with a = n mod 65,024, and a UDP source port
of 49152 to 65535 (RFC 6335 section 6), such that no two flows have both alike. A frame's
checksum is right in each (RFC 791 section 3.1).

The functions take one number, or a numpy array of numbers and return such.

Frames send their flows in turn, in a fixed order that leaps about: a cache that keeps what
lies close together is not flattered.
"""

from __future__ import annotations

import math
import struct
from typing import TypeVar

from pytest_vswitch.traffic.ring import Words

MOST = 1 << 20
"""As many flows as one direction can have."""

Number = TypeVar("Number", int, Words)

_HOSTS = 256 * 254
_FIRST_PORT = 49152
_PORTS = 65536 - _FIRST_PORT
_GOLDEN = 0.6180339887

# Where things are, counted back from the first byte after Ethernet, IPv4 and UDP headers.
_IP, _CHECKSUM, _LOW_SOURCE, _UDP = 28, 18, 14, 8


def step(flows: int) -> int:
    """Frame number s is of flow s * step mod flows; no flow comes again before all have come."""
    stride = max(1, int(flows * _GOLDEN))
    while math.gcd(stride, flows) > 1:
        stride += 1
    return stride


def low_source(number: Number) -> Number:
    """The last two bytes of the source address."""
    host = number % _HOSTS
    return (host // 254 << 8) + 1 + host % 254


def source_port(number: Number) -> Number:
    """65,025 and 16,384 have no common divisor: those of one address all differ."""
    return _FIRST_PORT + (number // _HOSTS + number) % _PORTS


def header_sum(frame: bytes, end: int) -> int:
    """Sum of the IPv4 header without checksum and `low_source`; its headers end at `end`."""
    words: tuple[int, ...] = struct.unpack_from(">10H", frame, end - _IP)
    return sum(words) - words[5] - words[7]


def checksum(total: Number) -> Number:
    """The IPv4 header checksum of a sum of its other words."""
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def put(frame: bytes, end: int, number: int) -> bytes:
    """The frame as one of flow `number`; its headers end at `end`."""
    low = low_source(number)
    made = bytearray(frame)
    struct.pack_into(">H", made, end - _CHECKSUM, checksum(header_sum(frame, end) + low))
    struct.pack_into(">H", made, end - _LOW_SOURCE, low)
    struct.pack_into(">H", made, end - _UDP, source_port(number))
    return bytes(made)
