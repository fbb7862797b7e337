"""Which MAC addresses frames have in turn, where a profile asks for many.

Address number n of a direction is its own source address with n in the upper 20 of its lower 24
bits, by exclusive or: so no two are alike, number 0 is the direction's own, and ports whose
addresses differ in the last hexadecimal digit have none in common.

They stand as source, or, to see whether the DUT has learned where they are, as destination of
frames into the same port: a bridge that knows them keeps such frames back (IEEE 802.1D 7.7).
"""

from __future__ import annotations

from typing import TypeVar

from pytest_vswitch.traffic.ring import Words

MOST = 1 << 20
"""As many addresses as one direction can have."""

Number = TypeVar("Number", int, Words)

MAC_BYTES = 6
LOW_BYTES = 3
"""The last so many of an address vary."""
_KEPT_BITS = 4


def low(base: int, number: Number) -> Number:
    """The last three bytes, as a number, of address `number`; `base`: those of number 0."""
    return number << _KEPT_BITS ^ base


def put(frame: bytes, source: bytes, number: int, place: int) -> bytes:
    """The frame with address `number` at `place` [bytes]; number 0 is `source`."""
    base = int.from_bytes(source[-LOW_BYTES:], "big")
    mac = source[:-LOW_BYTES] + low(base, number).to_bytes(LOW_BYTES, "big")
    return frame[:place] + mac + frame[place + MAC_BYTES :]
