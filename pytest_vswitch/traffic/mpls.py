"""MPLS label stacks (RFC 3032) between a frame's Ethernet header, tags included, and its packet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_vswitch.errors import InputError

if TYPE_CHECKING:
    from scapy.packet import Packet

BYTES = 4
"""Of one entry of the stack."""
FIRST, LAST = 16, (1 << 20) - 1
"""Labels; those below `FIRST` have meanings of their own (RFC 3032 section 2.1)."""
MOST = 4
"""Labels of a frame."""

_TYPE = b"\x88\x47"
_TTL = 64


def stack(header: Packet, labels: Sequence[int]) -> Packet:
    """`header` with the labels behind it, the outermost first, for scapy to build on.

    Raises InputError for a label that there is not.
    """
    if not labels:
        return header
    from scapy.contrib.mpls import MPLS

    for place, label in enumerate(labels, start=1):
        if not FIRST <= label <= LAST:
            raise InputError(f"MPLS label {label}: from {FIRST} to {LAST} (RFC 3032)")
        header /= MPLS(label=label, s=place == len(labels), ttl=_TTL)
    return header


def stack_bytes(frame: bytes) -> int:
    """How long the label stack is that follows the Ethernet type at the beginning of `frame`."""
    if frame[:2] != _TYPE:
        return 0
    entries = range(2, len(frame) - BYTES + 1, BYTES)
    last = next((at for at in entries if frame[at + 2] & 1), 2 - BYTES)
    return last + BYTES - 2
