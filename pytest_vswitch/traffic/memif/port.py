"""A memif port: two rings in memory that its server, the DUT, reads and writes."""

from __future__ import annotations

import fcntl
import functools
import mmap
import os
import select

from pytest_vswitch.traffic.memif.protocol import Control, RingOffer
from pytest_vswitch.traffic.port import refuse_length
from pytest_vswitch.traffic.ring import MAX_FRAME_BYTES, Ring, buffer_bytes, header_bytes


class MemifPort:
    """One memif interface: its memory and the server that uses it; see `port.Port`."""

    events = select.POLLIN

    def __init__(
        self, path: str, *, interface_id: int, secret: str, ring_size: int, rings: int = 1
    ) -> None:
        """`rings`: transmit queues of the server, of which one thread at a time may send.

        They are all offered the same ring. A server keeps its place in the ring itself (DPDK's
        does), so it matters not which queue it sends on, as long as they take turns.
        """
        ring_bytes, area_bytes = header_bytes(ring_size), buffer_bytes(ring_size)
        self._bytes = 2 * (ring_bytes + area_bytes)
        self._rings = rings
        # The size is sealed, so that neither side can make the other fault.
        self._fd = os.memfd_create("memif", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, self._bytes)
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        memory = mmap.mmap(self._fd, self._bytes)
        self.tx = Ring(memory, path, ring_size, 0, 2 * ring_bytes)
        self.rx = Ring(memory, path, ring_size, ring_bytes, 2 * ring_bytes + area_bytes)
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
            RingOffer(ring is self.tx, ring.offset, log2_size, ring.interrupt_fd)
            for ring in (self.tx, *[self.rx] * self._rings)
        ]
        self._control.connect(self._fd, self._bytes, rings, timeout_s=timeout_s)
        self.tx.reset(0)
        self.rx.lengths[:] = self.rx.capacity << 32
        self.rx.mask_interrupts()
        self.rx.reset(self.rx.size)

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
        for fd in (self._fd, self.tx.interrupt_fd, self.rx.interrupt_fd):
            os.close(fd)
