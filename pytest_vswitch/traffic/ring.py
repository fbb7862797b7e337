"""A ring of frames and their buffers, as numpy views: what engine and stream work on.

A memif port shares it with its server; other ports play the server's part themselves.

Layout of a ring (DPDK's drivers/net/memif/memif.h): cookie u32, flags u16, head u16;
from byte 64 tail u16; from byte 128 one 16-byte descriptor per slot (flags u16,
region u16, length u32, offset u32, metadata u32). Head and tail count slots modulo
65536. In both rings the client moves the head and the server the tail: in the ring
to the server the head gives frames, in the ring from the server it gives empty
buffers. Slot i owns buffer i for good, since a server consumes and returns buffers
in place and in order.

A frame's 64-byte lines decide the speed: buffers lie as densely as the frame size
allows, so that a ring of 1024 minimal frames is 64 KiB and stays in the L2 cache.

Stores must reach the server in program order, which x86 guarantees.
"""

from __future__ import annotations

import mmap
import os
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pytest_vswitch.errors import DutError

Words: TypeAlias = npt.NDArray[np.int64]

MAX_FRAME_BYTES = 9720
"""Longest frame without FCS that fits a buffer."""
COOKIE = 0x3E31F20
"""First word of every ring."""
NEXT = 1
"""Descriptor flag: the frame goes on in the next slot."""

LINE_BYTES = 64
_BUFFER_BYTES = 9792
_MANY_LINES = 8
_HEADER_BYTES = 128
_DESCRIPTOR_BYTES = 16
_MASK_INTERRUPT = 1
_MODULO = 0xFFFF
_PAGE = mmap.PAGESIZE


def header_bytes(size: int) -> int:
    """What head, tail and descriptors of a ring take, in whole pages."""
    return -(-(_HEADER_BYTES + _DESCRIPTOR_BYTES * size) // _PAGE) * _PAGE


def buffer_bytes(size: int) -> int:
    """What the buffers of a ring take."""
    return size * _BUFFER_BYTES


def row_bytes(capacity: int, pad: int) -> int:
    """What a buffer takes: whole cache lines; of many, an odd number.

    Then the first lines of all buffers do not compete for the same few places of a cache.
    """
    lines = -(-(pad + capacity) // LINE_BYTES)
    return LINE_BYTES * (lines | 1 if lines >= _MANY_LINES else lines)


class Ring:
    """One ring and its buffers, seen from the client."""

    def __init__(self, memory: mmap.mmap, name: str, size: int, offset: int, buffers: int) -> None:
        self.name = name
        self.size = size
        self.offset = offset
        self.interrupt_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A view's element is one 16-bit load or store: the server never sees half of one.
        header = memoryview(memory)[offset : offset + _HEADER_BYTES].cast("H")
        self._header = header
        header[0], header[1] = COOKIE & 0xFFFF, COOKIE >> 16
        header[2] = _MASK_INTERRUPT
        self._area = np.frombuffer(memory, np.uint8, buffer_bytes(size), buffers)
        self._buffers = buffers
        self._slots = np.arange(size, dtype=np.int64)
        words = np.frombuffer(memory, np.int64, 2 * size, offset + _HEADER_BYTES).reshape(size, 2)
        self.lengths: Words = words[:, 0]
        """First half of each descriptor: length << 32 | region (0) << 16 | flags."""
        self._offsets = words[:, 1]
        self._position = 0
        self.capacity = 0
        """Bytes of a buffer that may hold a frame."""
        self.rows = np.empty((0, 0), np.int64)
        """The buffers: one row of 64-bit words each, whole cache lines."""
        self.times: Words | None = None
        """When the frame of each slot left or came [ns], where that is noted; see `keep_times`."""

    def lay_out(self, capacity: int, pad: int = 0) -> None:
        """Give every slot a buffer of `capacity` bytes, `pad` bytes into its row.

        Clears all buffers: the bytes around a frame are and stay zero. Only while
        the server has no business with the ring.
        """
        stride = row_bytes(capacity, pad)
        area = self._area[: self.size * stride]
        area[:] = 0
        self.rows = area.view(np.int64).reshape(self.size, stride // 8)
        self.capacity = capacity
        self.pad = pad
        self._offsets[:] = self._buffers + pad + stride * self._slots
        self.lengths[:] = capacity << 32

    def frame(self, slot: int) -> npt.NDArray[np.uint8]:
        """The bytes of one buffer that may hold a frame, to be read or written."""
        row: npt.NDArray[np.uint8] = self.rows[slot].view(np.uint8)
        return row[self.pad : self.pad + self.capacity]

    def reset(self, head: int) -> None:
        """Begin anew, after the server has zeroed head and tail on connecting."""
        self._position = 0
        self._header[3] = head

    def mask_interrupts(self) -> None:
        """Tell the server, as the ring's producer, not to signal."""
        self._header[2] |= _MASK_INTERRUPT

    @property
    def slot(self) -> int:
        """The next slot to fill or to read."""
        return self._position & (self.size - 1)

    def keep_times(self, wanted: bool) -> None:
        """Whether to note when each frame leaves or comes, where more is known than that.

        In memory that is shared with a server, nothing more is known.
        """

    @property
    def merges(self) -> bool:
        """Whether it puts together what comes on several queues, in no order between them."""
        return False

    def number_by(self, word: int) -> None:
        """Which word of a row numbers frames from now on, for a ring that merges."""

    def link(self, slot: int) -> int:
        """Which link of the port the frame in this slot came from, if it has several."""
        del slot
        return 0

    @property
    def tail(self) -> int:
        """How far the server is, modulo 65536; for a port that plays the server's part."""
        return self._header[32]

    @tail.setter
    def tail(self, count: int) -> None:
        self._header[32] = count & _MODULO

    # The ring to the server.

    def pending(self) -> int:
        """Frames given that the server has not taken yet."""
        count = (self._position - self._header[32]) & _MODULO
        if count > self.size:
            raise DutError(f"{self.name}: the server took frames that were never given")
        return count

    def give(self, count: int) -> None:
        """Let the server have the next `count` frames, which are complete."""
        self._position += count
        self._header[3] = self._position & _MODULO
        if not self._header[2] & _MASK_INTERRUPT:
            os.eventfd_write(self.interrupt_fd, 1)

    # The ring from the server.

    def filled(self) -> int:
        """Slots that the server has filled and that were not given back."""
        count = (self._header[32] - self._position) & _MODULO
        if count > self.size:
            raise DutError(f"{self.name}: the server filled more buffers than it was given")
        return count

    def give_back(self, count: int) -> None:
        """Return the next `count` buffers to the server, empty."""
        self._position += count
        self._header[3] = (self._position + self.size) & _MODULO
