"""What frame number n of a stream looks like, as 64-bit words of a buffer.

Frames differ in few words. Those of the stamp differ in every frame. Size and flow, which
come again and again in a fixed order, are columns: a word of the row, and its values in that
order, so that as many frames as one likes are written with one copy per column.

    word of the row   stamp - 4            - 3                - 2                  - 1
    holds             ..., IP length, id   ..., checksum, src src, dst, UDP port   UDP length, ...
    varies with       size                 flow               flow                 size

(A template's length and id add up to the same for all sizes, so its checksum does not vary.)

All sizes have the same payload as far as they go. So what lies behind the stamp never
changes in a buffer to be sent; how it is compared in what came back, see `lines`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic import flows
from pytest_vswitch.traffic.frames import STAMP_BYTES
from pytest_vswitch.traffic.lines import Lines
from pytest_vswitch.traffic.ring import LINE_BYTES, Words, row_bytes

Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shape:
    """One size of frame."""

    frame: bytes
    """As it is sent."""
    expected: bytes
    """As it must come back."""
    stamps: tuple[int, int]
    """Place of the stamp in the two [bytes]; the same in all shapes of a direction."""


@dataclass(frozen=True, slots=True)
class Column:
    """A word that varies from frame to frame."""

    index: int
    values: Words
    """Of as many frames as come before it begins anew, then from the first on again."""
    period: int

    def of(self, first: int, count: int) -> Words:
        """The values of `count` frames from number `first` on."""
        place = first % self.period
        return self.values[place : place + count]

    def of_each(self, numbers: Words) -> Words:
        """The values of these frames."""
        return self.values[numbers % self.period]


class Pattern:
    """The frames of one direction, as they are sent or as they must come back."""

    def __init__(
        self,
        frames: Sequence[bytes],
        stamp: int,
        *,
        order: Sequence[int] = (0,),
        flow_count: int = 1,
        stream_id: int,
        run: int,
    ) -> None:
        """`frames`: one of each size, their stamps at `stamp` [bytes].

        Frame number n is `frames[order[n % len(order)]]`. `run`: how many are written or
        compared at once, at most. Raises InputError when frames differ where they must not.
        """
        # The stamp ends with a cache line; sequence number and time are its last two words.
        self.pad = -(stamp + STAMP_BYTES) % LINE_BYTES
        self.word = (self.pad + stamp + 2) // 8
        longest = max(frames, key=len)
        self.capacity = len(longest)
        rows = [self._row(frame, stamp, stream_id) for frame in frames]
        self.row = rows[frames.index(longest)]
        self.id_place = (self.pad + stamp) // 2
        self.stamp_end = stamp + STAMP_BYTES
        self._lengths = [len(frame) for frame in frames]
        self._order = order
        self.lengths = Column(0, _in_turn([n << 32 for n in self._lengths], order, run), len(order))
        self.mixed = len(frames) > 1
        self.head = self.word + 2 if self.mixed else len(self.row)
        """So many words, from the first on, are compared frame by frame."""
        self._sizes: list[Column] = []
        if self.mixed:
            for index in range(self.head):
                values = [row.item(index) for row in rows]
                if len(set(values)) > 1:
                    self._sizes.append(Column(index, _in_turn(values, order, run), len(order)))
            self._check_payload(rows)
        self._flows: list[Column] = []
        if flow_count > 1:
            varying = [self.word - 3, self.word - 2]
            if any(column.index in varying for column in self._sizes):
                raise InputError(
                    "what the topology makes of a frame's addresses depends on its size: flows "
                    "of mixed sizes cannot be checked there"
                )
            base = tuple(self.row[self.word - 3 : self.word - 1].tolist())
            words = _flow_words(base, flows.header_sum(longest, stamp), flow_count, run)
            for index, table in zip(varying, words, strict=True):
                self._flows.append(Column(index, table, flow_count))

    def lines(self, rows: Words) -> Lines | None:
        """What lies behind the heads, in such rows; None if there is but one size."""
        if not self.mixed:
            return None
        return Lines(rows, self.row, self.head, self._lengths, self.pad, self._order)

    def image(self) -> Words:
        """Heads of frames in turn, once and then a run again, all but flow and stamp written."""
        heads = np.tile(self.row[: self.head], (len(self.lengths.values), 1))
        for column in self._sizes:
            heads[:, column.index] = column.values
        return heads

    def write_flows(self, rows: Words, first: int) -> None:
        """Into all these rows, for frame `first` and the following."""
        for column in self._flows:
            rows[:, column.index] = column.of(first, len(rows))

    def write_sizes(self, rows: Words, first: int) -> None:
        """Into all these rows, for frame `first` and the following."""
        for column in self._sizes:
            rows[:, column.index] = column.of(first, len(rows))

    def right(self, rows: Words, lengths: Words, numbers: Words) -> Truths:
        """Which rows hold the frames with these numbers, apart from the stamp's two words."""
        heads = np.tile(self.row[: self.head], (len(rows), 1))
        for column in (*self._sizes, *self._flows):
            heads[:, column.index] = column.of_each(numbers)
        equal = rows[:, : self.head] == heads
        equal[:, self.word : self.word + 2] = True
        right: Truths = equal.all(axis=1)
        right &= lengths == self.lengths.of_each(numbers) >> 32
        if self.mixed:
            for length in set(lengths[right].tolist()):
                mine = np.flatnonzero(right & (lengths == length))
                right[mine] = self._has_payload(rows[mine], length)
        return right

    def _has_payload(self, rows: Words, length: int) -> Truths:
        """Which rows hold, behind the head, what a frame of so many bytes has there."""
        begin, end = 8 * self.head, self.pad + length
        expected = self.row.view(np.uint8)[begin:end]
        found: Truths = (rows.view(np.uint8)[:, begin:end] == expected).all(axis=1)
        return found

    def _check_payload(self, rows: Sequence[Words]) -> None:
        for row, length in zip(rows, self._lengths, strict=True):
            if not self._has_payload(row.reshape(1, -1), length).all():
                raise InputError(
                    "what the topology makes of a frame's payload depends on its size: mixed "
                    "sizes cannot be checked there"
                )

    def _row(self, frame: bytes, stamp: int, stream_id: int) -> Words:
        """A buffer with this frame, zero around the frame."""
        stamped = bytearray(frame)
        stamped[stamp : stamp + STAMP_BYTES] = stream_id.to_bytes(2, "little") + bytes(16)
        size = row_bytes(self.capacity, self.pad)
        return np.frombuffer((bytes(self.pad) + bytes(stamped)).ljust(size, b"\0"), np.int64)


def _in_turn(values: Sequence[int], order: Sequence[int], run: int) -> Words:
    """The values in that order, and from its beginning again for a whole run."""
    return np.resize(np.array([values[index] for index in order], np.int64), len(order) + run)


@functools.lru_cache(maxsize=8)
def _flow_words(base: tuple[int, int], total: int, count: int, run: int) -> tuple[Words, Words]:
    """The two words that tell flows apart, of all flows in turn, and of a run of them again.

    `base` is those words of the template. The first ends with checksum and the upper half of
    the source; the second begins with its lower half and ends with the UDP source port.
    """
    numbers = np.arange(count, dtype=np.int64) * flows.step(count) % count
    low = flows.low_source(numbers)
    checksum = _big_endian(flows.checksum(total + low))
    port = _big_endian(flows.source_port(numbers))
    first, second = (word & (1 << 64) - 1 for word in base)
    words = (
        np.uint64(first & ~(0xFFFF << 32)) | checksum << np.uint64(32),
        np.uint64(second & 0xFFFFFFFF << 16) | _big_endian(low) | port << np.uint64(48),
    )
    one, other = (np.resize(word.view(np.int64), count + run) for word in words)
    return one, other


def _big_endian(values: Words) -> npt.NDArray[np.uint64]:
    """16-bit numbers as they are sent, read by a little-endian machine."""
    swapped: npt.NDArray[np.uint64] = values.astype(np.uint16).byteswap().astype(np.uint64)
    return swapped
