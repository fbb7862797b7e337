"""Replaying exact frames, e.g. of a pcap file, in a loop; counting what comes back of them.

These frames carry no stamp, so what comes back is known by its bytes alone:

- received: its bytes are those of a frame that was sent, and no more such came than were sent;
- duplicated: more came of these bytes than were sent;
- foreign: all else. A corrupted frame is one of these: whose it was cannot be told.

Order and delay are not told, and a frame of an earlier trial that comes late counts as one of
this. Each frame is looked at by itself, so a replay is slower than stamped frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.pieces import read_exact
from pytest_vswitch.traffic.port import Port


class Replay:
    """One direction of a trial, with the same use as a `stream.Stream`."""

    def __init__(
        self, tx: Port, rx: Port, frames: Sequence[bytes], expected: Sequence[bytes], intended: int
    ) -> None:
        """`expected` is what must arrive at `rx` of each of the frames, which are sent in turn."""
        self.intended = intended
        self.not_offered = 0
        self.refused = 0
        self.accepted = 0
        """Frames given to the DUT: the number of the next one."""
        self._expected = expected
        self._known = frozenset(expected)
        self._seen: Counter[bytes] = Counter()
        self._right = 0
        self._foreign = 0
        self._tx = tx.tx
        self._rx = rx.rx
        self._tx.lay_out(max(map(len, frames)))
        self._rx.lay_out(max(map(len, expected)))
        self._rows = np.zeros((len(frames), self._tx.rows.shape[1]), np.int64)
        for row, frame in zip(self._rows, frames, strict=True):
            row.view(np.uint8)[: len(frame)] = np.frombuffer(frame, np.uint8)
        self._lengths = np.array([len(frame) << 32 for frame in frames], np.int64)
        self._count = np.arange(self._tx.size, dtype=np.int64)

    @property
    def accounted(self) -> int:
        return self.accepted + self.refused + self.not_offered

    @property
    def complete(self) -> bool:
        return self._right >= self.accepted and self._received() >= self.accepted

    @property
    def caught_up(self) -> bool:
        return self.complete

    @property
    def pending(self) -> int:
        return self._tx.pending()

    def offer(self, due: int, at_ns: int = 0) -> None:
        """As `Stream.offer`; nothing is timed."""
        del at_ns
        count = due - self.accounted
        if count <= 0:
            return
        if count > self._tx.size:
            self.not_offered += count - self._tx.size
            count = self._tx.size
        room = self._tx.size - self._tx.pending()
        self.refused += max(0, count - room)
        self._send(min(count, room))

    def fill(self) -> None:
        """Offer whatever the DUT has room for."""
        self._send(self._tx.size - self._tx.pending())

    def collect(self) -> int:
        """Count and give back all frames that have arrived; returns how many."""
        if not self._rx.filled():
            return 0
        frames = read_exact(self._rx)
        known = [frame for frame in frames if frame in self._known]
        self._seen.update(known)
        self._right += len(known)
        self._foreign += len(frames) - len(known)
        return len(frames)

    def counts(self, tx_port: int, rx_port: int) -> DirectionCounts:
        received = self._received()
        return DirectionCounts(
            tx_port=tx_port,
            rx_port=rx_port,
            intended=self.intended,
            sent=self.accepted + self.refused,
            refused=self.refused,
            received=received,
            duplicated=self._right - received,
            reordered=0,
            corrupted=0,
            foreign=self._foreign,
        )

    def _received(self) -> int:
        """Of each frame's bytes no more than were sent."""
        laps, rest = divmod(self.accepted, len(self._expected))
        sent = Counter(self._expected[:rest])
        for frame, times in Counter(self._expected).items():
            sent[frame] += laps * times
        return sum(min(count, sent[frame]) for frame, count in self._seen.items())

    def _send(self, count: int) -> None:
        if not count:
            return
        left, slot = count, self._tx.slot
        while left:
            end = min(slot + left, self._tx.size)
            chosen = (self._count[: end - slot] + self.accepted) % len(self._rows)
            self._tx.rows[slot:end] = self._rows[chosen]
            self._tx.lengths[slot:end] = self._lengths[chosen]
            self.accepted += end - slot
            left -= end - slot
            slot = end & (self._tx.size - 1)
        self._tx.give(count)
