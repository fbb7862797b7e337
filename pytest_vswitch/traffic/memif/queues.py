"""Several rings behind one: what a server with several queues takes and sends.

Stream and engine see one ring in each direction, in this process's own memory. What is given
to the one is spread over those to the server, by flow; what the server fills is put together.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_vswitch.traffic.ring import NEXT, Ring, Words, buffer_bytes, header_bytes

# As a little-endian machine reads them.
_IPV4 = 0x0008
_TAGS = (0x0081, 0xA888)
_MOST_TAGS = 2
_UDP = 17
_MOST_BYTES = 0xFFFFFFFF
"""That a length can say, if a server wants."""


class OwnRing(Ring):
    """A ring in this process's own memory, laid out as those that it stands for are."""

    def __init__(self, rings: Sequence[Ring], name: str, size: int) -> None:
        memory = mmap.mmap(-1, header_bytes(size) + buffer_bytes(size))
        super().__init__(memory, name, size, 0, header_bytes(size))
        self._rings = rings
        self._count = np.arange(size, dtype=np.int64)

    def lay_out(self, capacity: int, pad: int = 0) -> None:
        super().lay_out(capacity, pad)
        for ring in self._rings:
            ring.lay_out(capacity, pad)


class SpreadRing(OwnRing):
    """Frames that are given to the server on several rings, all of a flow on the same."""

    def give(self, count: int) -> None:
        slots = (self.slot + self._count[:count]) & (self.size - 1)
        super().give(count)
        queues = queue_of(self, slots, len(self._rings))
        for number, ring in enumerate(self._rings):
            mine = slots[queues == number]
            if not len(mine):
                continue
            there = (ring.slot + self._count[: len(mine)]) & (ring.size - 1)
            copy_frames(self, mine, ring, there)
            ring.give(len(mine))

    def pending(self) -> int:
        """Frames in the fullest ring: whatever the next ones are, it may be theirs."""
        return max(ring.pending() for ring in self._rings)


class MergeRing(OwnRing):
    """Frames of several rings, put together when one looks whether there are any.

    Each ring's own order is kept. Between rings there is none, so a stream's frames are put in
    that of their numbers, which is quicker to check.
    """

    _word: int | None = None

    @property
    def merges(self) -> bool:
        return True

    def lay_out(self, capacity: int, pad: int = 0) -> None:
        super().lay_out(capacity, pad)
        self._word = None

    def number_by(self, word: int) -> None:
        self._word = word

    def filled(self) -> int:
        self._merge()
        return super().filled()

    def _merge(self) -> None:
        # As much of each, or those that come last would not get a turn.
        most = (self.size - super().filled()) // len(self._rings)
        came = [(ring, whole_frames(ring, most)) for ring in self._rings]
        came = [(ring, slots) for ring, slots in came if len(slots)]
        if not came:
            return
        here, done = (self.tail + self._places(came)) & (self.size - 1), 0
        for ring, slots in came:
            copy_frames(ring, slots, self, here[done : done + len(slots)])
            done += len(slots)
            ring.lengths[slots] = ring.capacity << 32
            ring.give_back(len(slots))
        self.tail += done

    def _places(self, came: Sequence[tuple[Ring, Words]]) -> Words:
        """Which place each of these frames takes, ring by ring, among those that came now."""
        count = sum(len(slots) for _, slots in came)
        one_by_one = self._count[:count]
        # The pieces of a frame stay together.
        pieces = any(np.any(ring.lengths[slots] & NEXT) for ring, slots in came)
        if self._word is None or len(came) == 1 or pieces:
            return one_by_one
        numbers = [np.maximum.accumulate(ring.rows[slots, self._word]) for ring, slots in came]
        places = np.empty(count, np.int64)
        places[np.argsort(np.concatenate(numbers), kind="stable")] = one_by_one
        return places


def whole_frames(ring: Ring, most: int) -> Words:
    """Slots, `most` of them at most, of frames that have arrived to their end; see `ring.NEXT`.

    A frame that fills the whole ring, and does not end, is taken for one.
    """
    count = min(ring.filled(), most)
    slots = (ring.slot + np.arange(count)) & (ring.size - 1)
    if count and ring.lengths[slots[-1]] & NEXT:
        ends = np.flatnonzero((ring.lengths[slots] & NEXT) == 0)
        used = int(ends[-1]) + 1 if len(ends) else count if count == ring.size else 0
        return slots[:used]
    return slots


def copy_frames(ring: Ring, slots: Words, other: Ring, there: Words) -> None:
    """From these slots to those of a ring that is laid out alike; no byte beyond a frame."""
    lengths = ring.lengths[slots]
    other.lengths[there] = lengths
    lengths >>= 32
    sizes = set(lengths[:1].tolist() if np.all(lengths == lengths[:1]) else lengths.tolist())
    for size in sizes:
        # As one item each, which are copied faster than words are.
        kind = np.dtype((np.void, ring.pad + min(size & _MOST_BYTES, ring.capacity)))
        mine = slice(None) if len(sizes) == 1 else np.flatnonzero(lengths == size)
        sent: npt.NDArray[np.void] = np.ndarray(
            (ring.size,), kind, ring.rows, 0, ring.rows.strides[:1]
        )
        came: npt.NDArray[np.void] = np.ndarray(
            (other.size,), kind, other.rows, 0, other.rows.strides[:1]
        )
        came[there[mine]] = sent[slots[mine]]


def queue_of(ring: Ring, slots: Words, queues: int) -> Words:
    """Which queue the frame in each slot takes: its UDP source port, modulo their number.

    That port tells flows apart, see `flows`. Frames without one, and those with options in
    their IPv4 header, take the first queue.
    """
    halves = ring.rows.view(np.uint16)
    kind = np.full(len(slots), (ring.pad + 12) // 2)
    plain = halves[slots, kind] == _IPV4
    if not plain.all():
        for _ in range(_MOST_TAGS):
            kind += 2 * np.isin(halves[slots, kind], _TAGS)
        plain = halves[slots, kind] == _IPV4
    # Behind the Ethernet type: the protocol in byte 9, and the ports after 20 bytes.
    udp = plain & (halves[slots, kind + 5] >> 8 == _UDP)
    port = halves[slots, kind + 11].byteswap()
    queue: Words = np.where(udp, port % queues, 0).astype(np.int64)
    return queue
