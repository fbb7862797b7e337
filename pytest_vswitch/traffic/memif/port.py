"""A memif port: rings in memory that its server, the DUT, reads and writes."""

from __future__ import annotations

import fcntl
import functools
import mmap
import os
import select

from pytest_vswitch.traffic.memif.protocol import Control, RingOffer
from pytest_vswitch.traffic.memif.queues import MergeRing, OwnRing, SpreadRing
from pytest_vswitch.traffic.port import refuse_length
from pytest_vswitch.traffic.ring import MAX_FRAME_BYTES, Ring, buffer_bytes, header_bytes

_MOST_MERGED = 16384
"""Frames; heads and tails count modulo 65536."""


class MemifPort:
    """One memif interface: its memory and the server that uses it; see `port.Port`."""

    events = select.POLLIN

    def __init__(
        self,
        path: str,
        *,
        interface_id: int,
        secret: str,
        ring_size: int,
        rings: int = 1,
        queues: int = 1,
    ) -> None:
        """`rings`: transmit queues of the server; `queues`: its receive queues that are used.

        With one queue, one thread of the server at a time may send: all its transmit queues are
        offered the same ring. A server keeps its place in the ring itself (DPDK's does), so it
        matters not which queue it sends on, as long as they take turns. With several, each
        queue of the server has a ring, and they may all be used at once.
        """
        ring_bytes, area_bytes = header_bytes(ring_size), buffer_bytes(ring_size)
        count = queues + (1 if queues == 1 else max(queues, rings))
        self._bytes = count * (ring_bytes + area_bytes)
        # The size is sealed, so that neither side can make the other fault.
        self._fd = os.memfd_create("memif", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, self._bytes)
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        memory = mmap.mmap(self._fd, self._bytes)
        made = [
            Ring(memory, path, ring_size, n * ring_bytes, count * ring_bytes + n * area_bytes)
            for n in range(count)
        ]
        # What is shared with the server, queue by queue.
        self.to_server, self.from_server = made[:queues], made[queues:]
        self.tx, self.rx = made[0], made[-1]
        if queues > 1:
            self.tx = SpreadRing(self.to_server, path, ring_size)
            room = ring_size << (len(self.from_server) - 1).bit_length()
            self.rx = MergeRing(self.from_server, path, min(room, _MOST_MERGED))
        elif rings > 1:
            self.from_server *= rings
        self.tx.lay_out(64)
        self.rx.lay_out(2048)
        self.name = f"memif {path}"
        self._new_control = functools.partial(
            Control, path, interface_id=interface_id, secret=secret
        )
        self._control = self._new_control()

    @property
    def peer(self) -> str:
        return self._control.peer

    def fileno(self) -> int:
        return self._control.fileno()

    def lost(self) -> str:
        return self._control.lost()

    def connect(self, timeout_s: float) -> None:
        """Raises DutError when the server is missing or refuses."""
        log2_size = self.tx.size.bit_length() - 1
        rings = [
            RingOffer(ring in self.to_server, ring.offset, log2_size, ring.interrupt_fd)
            for ring in (*self.to_server, *self.from_server)
        ]
        self._control.connect(self._fd, self._bytes, rings, timeout_s=timeout_s)
        for ring in {self.tx, *self.to_server}:
            ring.reset(0)
        for ring in {self.rx, *self.from_server}:
            ring.lengths[:] = ring.capacity << 32
            ring.mask_interrupts()
            ring.reset(ring.size)
            if isinstance(ring, OwnRing):  # of which there is no server
                ring.tail = 0

    def reconnect(self, timeout_s: float) -> None:
        """Connect again, to a server that took the place of one that is gone.

        Frames that lay in the rings are lost. Raises DutError while nobody answers.
        """
        self._control.close()
        self._control = self._new_control()
        self.connect(timeout_s)

    def check_length(self, longest: int) -> None:
        refuse_length(self.name, longest, MAX_FRAME_BYTES)

    def keep_tags(self, tagged: bool) -> None:
        """Nobody takes them out here."""

    def check_kept_up(self) -> None:
        """A server that finds no empty buffer counts what it drops itself."""

    def discard(self) -> None:
        count = self.rx.filled()
        if count:
            self.rx.lengths[:] = self.rx.capacity << 32
            self.rx.give_back(count)

    def close(self) -> None:
        self._control.close()
        rings = {self.tx, self.rx, *self.to_server, *self.from_server}
        for fd in (self._fd, *(ring.interrupt_fd for ring in rings)):
            os.close(fd)
