"""A port that floods: several memif servers behind one port, as a switch has several ports.

Live migration wants it (guide, 1.2 and 2.2: "the switch is configured to broadcast traffic on
all the NIC ports"): a frame goes to every server, and what any of them sends comes back by the
same port. A frame is taken only when every server has room for it, so that all of them get the
same frames; a server that goes away is left out from then on.
"""

from __future__ import annotations

import select
from collections.abc import Sequence

import numpy as np

from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.memif.queues import OwnRing, copy_frames, whole_frames
from pytest_vswitch.traffic.port import refuse_length
from pytest_vswitch.traffic.ring import MAX_FRAME_BYTES, Ring


class FloodPort:
    """Several links that look like one port; see `port.Port`."""

    events = select.POLLIN

    def __init__(self, links: Sequence[MemifPort], *, ring_size: int) -> None:
        """The links' rings have that size, too."""
        self.name = " + ".join(link.name for link in links)
        self._links = list(links)
        self._closing = tuple(links)
        self._watch = select.epoll()
        self.tx = FloodRing(self._links, self.name, ring_size)
        self.rx = GatherRing(self._links, self.name, ring_size)
        self.tx.lay_out(64)
        self.tx.reset(0)
        self.rx.lay_out(2048)
        self.rx.reset(ring_size)

    @property
    def peer(self) -> str:
        return ", ".join(dict.fromkeys(link.peer for link in self._closing))

    def connect(self, timeout_s: float) -> None:
        """Raises DutError when one of the servers is missing or refuses."""
        for link in self._links:
            link.connect(timeout_s)
            self._watch.register(link.fileno(), link.events)

    def fileno(self) -> int:
        return self._watch.fileno()

    def lost(self) -> str:
        """Why the last of the servers is gone; those that went before are left out."""
        reason = ""
        for link in list(self._links):
            if reason := link.lost():
                self._watch.unregister(link.fileno())
                self._links.remove(link)
        return reason if not self._links else ""

    def check_length(self, longest: int) -> None:
        refuse_length(self.name, longest, MAX_FRAME_BYTES)

    def keep_tags(self, tagged: bool) -> None:
        """Nobody takes them out here."""

    def check_kept_up(self) -> None:
        """A server that finds no empty buffer counts what it drops itself."""

    def discard(self) -> None:
        for link in self._links:
            link.discard()
        if count := self.rx.filled():
            self.rx.lengths[:] = self.rx.capacity << 32
            self.rx.give_back(count)

    def close(self) -> None:
        self._watch.close()
        for link in self._closing:
            link.close()


class FloodRing(OwnRing):
    """Frames that are given to every link at once, in the same slots."""

    def __init__(self, links: Sequence[MemifPort], name: str, size: int) -> None:
        super().__init__([link.tx for link in links], name, size)
        self._links = links

    def give(self, count: int) -> None:
        slot = self.slot
        super().give(count)
        for link in self._links:
            ring, first, left = link.tx, slot, count
            while left:
                end = min(first + left, self.size)
                ring.rows[first:end] = self.rows[first:end]
                ring.lengths[first:end] = self.lengths[first:end]
                left -= end - first
                first = 0
            ring.give(count)

    def pending(self) -> int:
        """Frames that the slowest of the servers has not taken yet."""
        return max((link.tx.pending() for link in self._links), default=0)


class GatherRing(OwnRing):
    """Frames of all links, gathered when one looks whether there are any."""

    def __init__(self, links: Sequence[MemifPort], name: str, size: int) -> None:
        super().__init__([link.rx for link in links], name, size)
        self._links = links
        self._numbers = {id(link): number for number, link in enumerate(links)}
        self._origins = np.zeros(size, np.int8)

    def link(self, slot: int) -> int:
        return int(self._origins[slot])

    def filled(self) -> int:
        for link in self._links:
            self._gather(link.rx, self._numbers[id(link)])
        return super().filled()

    def _gather(self, ring: Ring, number: int) -> None:
        """Take whole frames only: those of another link must not come between their parts."""
        there = whole_frames(ring, self.size - super().filled())
        count = len(there)
        here = (self.tail + self._count[:count]) & (self.size - 1)
        copy_frames(ring, there, self, here)
        self._origins[here] = number
        ring.lengths[there] = ring.capacity << 32
        ring.give_back(count)
        self.tail += count
