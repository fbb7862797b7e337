"""One direction of a trial: what is sent, and the judgement of each frame that comes back."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_STAMP = struct.Struct("<HQQ")
"""Stream, number, and a seal of the number: a wrong bit in one of them makes no other frame."""
_MIX = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Form:
    """A frame before it is stamped, and what the DUT makes of it."""

    frame: bytes
    expected: bytes
    stamps: tuple[int, int]
    """Place of the stamp in the two [bytes]."""


class Stream:
    """The frames from one port to another, each of the next flow and the next size."""

    def __init__(
        self,
        tx: int,
        rx: int,
        forms: Sequence[Form],
        *,
        stream_id: int,
        intended: int,
        order: Sequence[int] = (0,),
    ) -> None:
        """`forms`: each flow's of the first size, then of the next; `order`: sizes in turn."""
        self.tx = tx
        self.rx = rx
        self.intended = intended
        self.sent = 0
        """Frames that the kernel took: the next one's number."""
        self.refused = 0
        self.not_offered = 0
        """Frames that came due while the generator was late by more than a ring."""
        self._received = 0
        self._duplicated = 0
        self._reordered = 0
        self._corrupted = 0
        self._foreign = 0
        self._forms = forms
        self._order = order
        self._flows = len(forms) // (max(order) + 1)
        self._stream_id = stream_id
        self._salt = random.getrandbits(64)
        self._places = sorted({form.stamps[1] for form in forms})
        self._seen: set[int] = set()
        self._highest = -1

    @property
    def accounted(self) -> int:
        return self.sent + self.refused + self.not_offered

    @property
    def complete(self) -> bool:
        """Whether every frame that was sent has come back, right or wrong."""
        return self._received + self._corrupted >= self.sent

    def next_frame(self) -> bytes:
        form = self._form(self.sent)
        return self._stamped(form.frame, form.stamps[0], self.sent)

    def judge(self, frame: bytes) -> None:
        """Count a frame that came to `rx`, whoever sent it."""
        ours = False
        for place in self._places:
            if len(frame) < place + _STAMP.size:
                ours |= frame[place : place + 2] == self._stream_id.to_bytes(2, "little")
                continue
            stream_id, number, seal = _STAMP.unpack_from(frame, place)
            known = number < self.sent and seal == self._seal(number)
            ours |= known or stream_id == self._stream_id
            if known and frame == self._expected(number):
                self._receive(number)
                return
        if ours:
            self._corrupted += 1
        else:
            self._foreign += 1

    def counts(self) -> dict[str, int]:
        """As `DirectionCounts` names them."""
        return {
            "tx_port": self.tx,
            "rx_port": self.rx,
            "intended": self.intended,
            "sent": self.sent + self.refused,
            "refused": self.refused,
            "received": self._received,
            "duplicated": self._duplicated,
            "reordered": self._reordered,
            "corrupted": self._corrupted,
            "foreign": self._foreign,
        }

    def _receive(self, number: int) -> None:
        if number in self._seen:
            self._duplicated += 1
            return
        self._seen.add(number)
        self._received += 1
        self._reordered += number < self._highest
        self._highest = max(self._highest, number)

    def _expected(self, number: int) -> bytes:
        form = self._form(number)
        return self._stamped(form.expected, form.stamps[1], number)

    def _form(self, number: int) -> Form:
        size = self._order[number % len(self._order)]
        return self._forms[size * self._flows + number % self._flows]

    def _stamped(self, frame: bytes, place: int, number: int) -> bytes:
        stamp = _STAMP.pack(self._stream_id, number, self._seal(number))
        return frame[:place] + stamp + frame[place + _STAMP.size :]

    def _seal(self, number: int) -> int:
        return (number * _MIX + self._salt) & _WORD
