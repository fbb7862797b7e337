"""What frame number n of a stream looks like, as 64-bit words of a buffer.

Frames differ in few words. Those of the stamp differ in every frame. Size and flow, which
come again and again in a fixed order, are columns: a word of the row, or two that are written
as one, and its values in that order, so that as many frames as one likes are written with one
copy per column.

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
from typing import cast

import numpy as np
import numpy.typing as npt

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic import flows, macs
from pytest_vswitch.traffic.frames import STAMP_BYTES
from pytest_vswitch.traffic.lines import Lines
from pytest_vswitch.traffic.ring import LINE_BYTES, Words, row_bytes

Truths = npt.NDArray[np.bool_]
Values = npt.NDArray[np.int64] | npt.NDArray[np.void]

_PAIR = np.dtype((np.void, 16))
"""Two words, which are copied as fast as one."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One size of frame."""

    frame: bytes
    """As it is sent."""
    expected: bytes
    """As it must come back."""
    stamps: tuple[int, int]
    """Place of the stamp in the two [bytes]; the same in all shapes of a direction."""
    macs: tuple[int, int] = (0, 0)
    """Place of the MAC address that varies, if one does, likewise; see `macs`."""


@dataclass(frozen=True, slots=True)
class Column:
    """A word, or a pair of them, that varies from frame to frame."""

    index: int
    values: Values
    """Of as many frames as come before it begins anew, then from the first on again."""
    period: int

    @property
    def indices(self) -> range:
        return range(self.index, self.index + self.values.itemsize // 8)

    def of(self, first: int, count: int) -> Values:
        """The values of `count` frames from number `first` on."""
        place = first % self.period
        return self.values[place : place + count]

    def of_each(self, numbers: Words) -> Values:
        """The values of these frames."""
        return self.values[numbers % self.period]

    def place(self, rows: Words) -> Values:
        """Where it stands in such rows, to be written."""
        return cast(Values, rows[:, self.index : self.indices.stop].view(self.values.dtype)[:, 0])


class Columns:
    """Some columns, and where they are written again and again."""

    def __init__(self, columns: Sequence[tuple[Values, Column]]) -> None:
        """With each column its place in all rows."""
        self._columns = [(place, column.values, column.period) for place, column in columns]

    def write(self, start: int, end: int, first: int) -> None:
        """Into the rows from `start` to before `end`, for frame `first` and the following."""
        for place, values, period in self._columns:
            begin = first % period
            place[start:end] = values[begin : begin + end - start]


class Pattern:
    """The frames of one direction, as they are sent or as they must come back."""

    def __init__(
        self,
        frames: Sequence[bytes],
        stamp: int,
        *,
        order: Sequence[int] = (0,),
        flow_count: int = 1,
        mac_count: int = 1,
        mac: int = 0,
        stream_id: int,
        run: int,
    ) -> None:
        """`frames`: one of each size, their stamps at `stamp` and the address at `mac` [bytes].

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
            base = tuple(self.row[self.word - 3 : self.word - 1].tolist())
            pairs = _flow_words(base, flows.header_sum(longest, stamp), flow_count, run)
            self._flows.append(Column(self.word - 3, pairs, flow_count))
        if mac_count > 1:
            self._flows.append(_mac_column(self.row, self.pad + mac, mac_count, run))
        varying = {index for column in self._flows for index in column.indices}
        if any(column.index in varying for column in self._sizes):
            raise InputError(
                "what the topology makes of a frame's addresses depends on its size: flows "
                "of mixed sizes cannot be checked there"
            )

    def lines(self, rows: Words) -> Lines | None:
        """What lies behind the heads, in such rows; None if there is but one size."""
        if not self.mixed:
            return None
        return Lines(rows, self.row, self.head, self._lengths, self.pad, self._order)

    def image(self) -> Words:
        """Heads of frames in turn, once and then a run again, all but flow and stamp written."""
        heads = np.tile(self.row[: self.head], (len(self.lengths.values), 1))
        for column in self._sizes:
            column.place(heads)[:] = column.values
        return heads

    def flows_in(self, rows: Words) -> Columns:
        """What tells flows apart, to be written into such rows."""
        return Columns([(column.place(rows), column) for column in self._flows])

    def all_in(self, rows: Words, lengths: Words) -> Columns:
        """What tells flows and sizes apart, and the frames' lengths, see `Ring.lengths`."""
        columns = [(column.place(rows), column) for column in (*self._sizes, *self._flows)]
        return Columns([*columns, (lengths, self.lengths)] if self.mixed else columns)

    def right(self, rows: Words, lengths: Words, numbers: Words) -> Truths:
        """Which rows hold the frames with these numbers, apart from the stamp's two words."""
        heads = np.tile(self.row[: self.head], (len(rows), 1))
        for column in (*self._sizes, *self._flows):
            column.place(heads)[:] = column.of_each(numbers)
        equal = rows[:, : self.head] == heads
        equal[:, self.word : self.word + 2] = True
        right: Truths = equal.all(axis=1)
        right &= lengths << 32 == self.lengths.of_each(numbers)
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
def _flow_words(base: tuple[int, int], total: int, count: int, run: int) -> npt.NDArray[np.void]:
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
    pairs: npt.NDArray[np.void] = np.stack(words, axis=1).view(_PAIR)[:, 0]
    return pairs[np.arange(count + run) % count]


def _mac_column(row: Words, place: int, count: int, run: int) -> Column:
    """The address at `place` [bytes] of such a row: all in turn, and a run of them again."""
    begin = place + macs.MAC_BYTES - macs.LOW_BYTES
    index, end = begin // 8, (place + macs.MAC_BYTES - 1) // 8 + 1
    template = row[index:end].view(np.uint8)
    numbers = np.arange(count, dtype=np.int64) * flows.step(count) % count
    varied = slice(begin - 8 * index, begin - 8 * index + macs.LOW_BYTES)
    low = macs.low(int.from_bytes(template[varied].tobytes(), "big"), numbers)
    made = np.tile(template, (count, 1))
    made[:, varied] = low.astype(">u4").view(np.uint8).reshape(count, 4)[:, -macs.LOW_BYTES :]
    values = cast(Values, made.view(np.int64 if end - index == 1 else _PAIR)[:, 0])
    return Column(index, values[np.arange(count + run) % count], count)


def _big_endian(values: Words) -> npt.NDArray[np.uint64]:
    """16-bit numbers as they are sent, read by a little-endian machine."""
    swapped: npt.NDArray[np.uint64] = values.astype(np.uint16).byteswap().astype(np.uint64)
    return swapped
