"""Frames that lie in several buffers of a ring, one after the other: put together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_vswitch.traffic.ring import NEXT, Ring, Words


def join(ring: Ring, slots: Sequence[int]) -> bytes:
    """The frame that these slots hold."""
    pieces = []
    for slot in slots:
        length = int(ring.lengths[slot]) >> 32
        pieces.append(ring.frame(slot)[:length].tobytes())
    return b"".join(pieces)


def read_exact(ring: Ring) -> list[bytes]:
    """Take out, whole, all frames that have arrived in a ring from the server."""
    frames = []
    slots: list[int] = []
    used = 0
    for number in range(ring.filled()):
        slots.append(ring.slot + number & (ring.size - 1))
        if ring.lengths[slots[-1]] & NEXT:
            continue
        frames.append(join(ring, slots))
        ring.lengths[slots] = ring.capacity << 32
        used += len(slots)
        slots = []
    if used:
        ring.give_back(used)
    return frames


def join_rows(ring: Ring, slots: Words, rows: Words, lengths: Words) -> tuple[Words, Words, int]:
    """Make one row and length of every frame in several pieces; also how many slots were used.

    A last frame whose end has not arrived stays where it is.
    """
    ends = np.flatnonzero((lengths & NEXT) == 0)
    used = int(ends[-1]) + 1 if len(ends) else 0
    if not used and len(slots) == ring.size:
        used = ring.size  # a frame without end
        ends = np.array([used - 1])
    starts = np.concatenate(([0], ends + 1))[: len(ends)]
    for start, end in zip(starts[ends > starts], ends[ends > starts], strict=True):
        whole = join(ring, slots[start : end + 1].tolist())
        part = np.frombuffer(whole, np.uint8, min(len(whole), ring.capacity))
        rows[start].view(np.uint8)[ring.pad : ring.pad + len(part)] = part
        lengths[start] = len(whole) << 32
    return rows[starts], lengths[starts], used
