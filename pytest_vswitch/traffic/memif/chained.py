"""A memif port whose buffers are shorter than long frames: those lie in several, chained.

So do clients that are not made for jumbo frames only (DPDK's and VPP's have buffers of 2,048
bytes), and a server has to follow the chain, and to make one itself: in a ring, each
descriptor but a frame's last one has the flag NEXT (DPDK's drivers/net/memif/memif.h).

Stream and engine see whole frames, in rings of this process's own; each is copied to and
from its pieces, which costs a microsecond for every piece.
"""

from __future__ import annotations

import mmap
from collections import deque

import numpy as np

from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pieces import read_exact
from pytest_vswitch.traffic.port import refuse_length
from pytest_vswitch.traffic.ring import (
    MAX_FRAME_BYTES,
    NEXT,
    Ring,
    buffer_bytes,
    header_bytes,
)


class ChainedPort:
    """As the memif port under it, with whole frames; see `port.Port`."""

    def __init__(self, link: MemifPort, *, ring_size: int, piece_bytes: int) -> None:
        """`ring_size` is the link's; `piece_bytes`: what a buffer of it holds."""
        self._link = link
        self.events = link.events
        self.name = link.name
        longest = -(-MAX_FRAME_BYTES // piece_bytes)
        # As many whole frames as fit the link's ring, however long.
        size = 1 << (ring_size // longest).bit_length() - 1
        self.tx = SplitRing(link, size, piece_bytes)
        self.rx = JoinRing(link, size, piece_bytes)
        self.tx.lay_out(64)
        self.tx.reset(0)
        self.rx.lay_out(2048)
        self.rx.reset(size)

    @property
    def peer(self) -> str:
        return self._link.peer

    def connect(self, timeout_s: float) -> None:
        """Raises DutError when the server is missing or refuses."""
        self._link.connect(timeout_s)

    def fileno(self) -> int:
        return self._link.fileno()

    def lost(self) -> str:
        return self._link.lost()

    def check_length(self, longest: int) -> None:
        refuse_length(self.name, longest, MAX_FRAME_BYTES)

    def keep_tags(self, tagged: bool) -> None:
        """Nobody takes them out here."""

    def check_kept_up(self) -> None:
        """A server that finds no empty buffer counts what it drops itself."""

    def discard(self) -> None:
        self._link.discard()
        self.rx.forget()
        if count := self.rx.filled():
            self.rx.lengths[:] = self.rx.capacity << 32
            self.rx.give_back(count)

    def close(self) -> None:
        self._link.close()


class _WholeRing(Ring):
    """A ring of whole frames in this process's own memory."""

    def __init__(self, link: MemifPort, ring: Ring, size: int, piece_bytes: int) -> None:
        memory = mmap.mmap(-1, header_bytes(size) + buffer_bytes(size))
        super().__init__(memory, link.name, size, 0, header_bytes(size))
        self._link = link
        self._pieces = ring
        self._piece_bytes = piece_bytes

    def lay_out(self, capacity: int, pad: int = 0) -> None:
        super().lay_out(capacity, pad)
        self._pieces.lay_out(self._piece_bytes)


class SplitRing(_WholeRing):
    """Frames that are given to the server in pieces."""

    def __init__(self, link: MemifPort, size: int, piece_bytes: int) -> None:
        super().__init__(link, link.tx, size, piece_bytes)
        self._given = 0
        self._ends: deque[int] = deque()  # of frames under way, in pieces given

    def give(self, count: int) -> None:
        first = self.slot
        super().give(count)
        ring, mask = self._pieces, self._pieces.size - 1
        slot = ring.slot
        used = 0
        for number in range(count):
            whole = first + number & (self.size - 1)
            frame = self.frame(whole)[: int(self.lengths[whole]) >> 32]
            for begin in range(0, len(frame), self._piece_bytes):
                part = frame[begin : begin + self._piece_bytes]
                here = slot + used & mask
                ring.frame(here)[: len(part)] = part
                more = begin + self._piece_bytes < len(frame)
                ring.lengths[here] = len(part) << 32 | (NEXT if more else 0)
                used += 1
            self._ends.append(self._given + used)
        self._given += used
        ring.give(used)

    def pending(self) -> int:
        """Frames of which the server has not taken all pieces."""
        taken = self._given - self._pieces.pending()
        while self._ends and self._ends[0] <= taken:
            self._ends.popleft()
        return len(self._ends)


class JoinRing(_WholeRing):
    """Frames whose pieces are put together when one looks whether there are any."""

    def __init__(self, link: MemifPort, size: int, piece_bytes: int) -> None:
        super().__init__(link, link.rx, size, piece_bytes)
        self._waiting: deque[bytes] = deque()

    def filled(self) -> int:
        """Of a frame that is longer than a buffer the rest is lost, but not its length."""
        tail, room = self.tail, self.size - super().filled()
        if len(self._waiting) < room:
            self._waiting.extend(read_exact(self._pieces))
        for number in range(tail, tail + min(room, len(self._waiting))):
            frame = self._waiting.popleft()
            slot = number & (self.size - 1)
            part = memoryview(frame)[: self.capacity]
            self.frame(slot)[: len(part)] = np.frombuffer(part, np.uint8)
            self.lengths[slot] = len(frame) << 32
            self.tail = number + 1
        return super().filled()

    def forget(self) -> None:
        """Throw away what was put together and not asked for yet."""
        self._waiting.clear()
