"""Exact frames in a loop, e.g. of a pcap file: they carry no stamp, their bytes alone tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Replay:
    """One direction of a trial, with the same use as a `stream.Stream`.

    Of the bytes of a frame, no more count as received than were sent; the rest is duplicated.
    What has the bytes of none is foreign: whose a corrupted frame was cannot be told.
    """

    def __init__(
        self, tx: int, rx: int, frames: Sequence[bytes], expected: Sequence[bytes], *, intended: int
    ) -> None:
        """`expected` is what the DUT makes of each of `frames`, which are sent in turn."""
        self.tx = tx
        self.rx = rx
        self.intended = intended
        self.sent = 0
        self.refused = 0
        self.not_offered = 0
        self._frames = frames
        self._expected = expected
        self._known = frozenset(expected)
        self._seen: Counter[bytes] = Counter()
        self._foreign = 0

    @property
    def accounted(self) -> int:
        return self.sent + self.refused + self.not_offered

    @property
    def complete(self) -> bool:
        return self._seen.total() >= self.sent and self._received() >= self.sent

    def next_frame(self) -> bytes:
        return self._frames[self.sent % len(self._frames)]

    def judge(self, frame: bytes) -> None:
        """Count a frame that came to `rx`, whoever sent it."""
        if frame in self._known:
            self._seen[frame] += 1
        else:
            self._foreign += 1

    def counts(self) -> dict[str, int]:
        """As `DirectionCounts` names them."""
        received = self._received()
        return {
            "tx_port": self.tx,
            "rx_port": self.rx,
            "intended": self.intended,
            "sent": self.sent + self.refused,
            "refused": self.refused,
            "received": received,
            "duplicated": self._seen.total() - received,
            "reordered": 0,
            "corrupted": 0,
            "foreign": self._foreign,
        }

    def _received(self) -> int:
        laps, rest = divmod(self.sent, len(self._expected))
        sent = Counter(self._expected[:rest])
        for frame, times in Counter(self._expected).items():
            sent[frame] += laps * times
        return sum((sent & self._seen).values())
