"""Stamping, sending and checking: the middle of the generators that run on this machine.

Work is done per ring, not per frame: the template is written into every buffer
once, then only the stamps change, through a strided view. What comes back is
compared as one block with what must be there; only when that fails, each frame is
judged by itself (still in numpy, so that a lossy DUT does not slow the generator).

Every frame received is one of:

- received: right in every byte, stamp included, and seen for the first time;
  also `reordered` if a later frame of the stream came before it (RFC 4737 section 3), or a
  later one of its flow, where there are several queues;
- duplicated: right in every byte, but received before;
- corrupted: of this stream (by its stream id or by its whole stamp), a byte is wrong;
- foreign: everything else. Frames of an earlier trial are foreign, for the stream id
  changes with each trial, and so is one that 262144 later ones have overtaken.

Delays count from when a frame was sent, as long as that was when it was due. While the
generator is away (others have its core, the machine stalls), frames come due that it sends
afterwards, at once: these are timed from when they were due, or the stall that held
up generator and DUT alike would hardly be seen (coordinated omission). See `_on_time_ns` for
when it is seen all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import monotonic_ns, time_ns

import numpy as np
import numpy.typing as npt

from pytest_vswitch.traffic.frames import STAMP_BYTES
from pytest_vswitch.traffic.generator import Announcement, DirectionCounts, Silence
from pytest_vswitch.traffic.latency import Delays
from pytest_vswitch.traffic.lines import Heads
from pytest_vswitch.traffic.order import FlowOrder
from pytest_vswitch.traffic.pattern import Pattern, Shape
from pytest_vswitch.traffic.pieces import join_rows
from pytest_vswitch.traffic.port import Port
from pytest_vswitch.traffic.ring import NEXT, Words

_SHORT_RUN = 48
_ON_TIME_NS = 200_000
"""A frame sent so soon after it was due is on time: twice the longest tick of the engine."""
_PIECES = 64
"""Frames that are late are timed in so many groups."""
_LEDGER = 1 << 18  # how many frames a stream can have under way
_SILENCES = 8  # how many times without a frame are told
_RARP = 0x3580  # as a little-endian machine reads the Ethernet type 0x8035
_ANNOUNCEMENTS = 64  # more are no announcements of a machine


class Stream:
    """One direction of a trial: the frames from one port to another."""

    def __init__(
        self,
        tx: Port,
        rx: Port,
        shapes: Sequence[Shape],
        *,
        order: Sequence[int] = (0,),
        flows: int = 1,
        macs: int = 1,
        stream_id: int,
        intended: int,
        timed: bool = True,
    ) -> None:
        """Write frames into all buffers of `tx`, and make ready for what must arrive at `rx`.

        There is a shape for each size, and `order` is that in which they are sent; see
        `Pattern`. `timed=False` saves stamping the time, and yields no latency. The port's
        ring must be empty. Raises InputError for what cannot be checked.
        """
        self.intended = intended
        self.not_offered = 0
        """Frames that came due while the generator was late by more than a ring."""
        self.refused = 0
        self.accepted = 0
        """Frames given to the DUT: the next sequence number."""
        self.received = 0
        self.duplicated = 0
        self.reordered = 0
        self.corrupted = 0
        self.foreign = 0
        self._timed = timed
        self._delays = Delays()
        self._looked_ns = 0  # when `offer` was last told what was due
        self._heard_ns = 0
        # (length, when it began), the longest first.
        self._silences: list[tuple[int, int]] = []
        self._announcements: list[tuple[int, int, str]] = []
        self._next = 0  # one more than the highest sequence number received
        # When each frame under way was sent; negative once it has come back.
        self._ledger: Words = np.zeros(_LEDGER, np.int64)
        # The same by batch, for frames that come back in order: (next batch's first, time).
        self._batches: deque[tuple[int, int]] = deque()

        def pattern(frames: Sequence[bytes], end: int, run: int) -> Pattern:
            stamp, mac = shapes[0].stamps[end], shapes[0].macs[end]
            count = {"flow_count": flows, "mac_count": macs, "mac": mac}
            return Pattern(frames, stamp, order=order, stream_id=stream_id, run=run, **count)

        self._tx = tx.tx
        self._sent = pattern([s.frame for s in shapes], 0, self._tx.size)
        word = self._sent.word
        self._tx.lay_out(self._sent.capacity, self._sent.pad)
        self._tx.rows[:] = self._sent.row
        self._tx_sequence = self._tx.rows[:, word]
        self._tx_time = self._tx.rows[:, word + 1]
        self._tx_time[:] = 1
        self._tx_columns = self._sent.all_in(self._tx.rows, self._tx.lengths)
        self._count = np.arange(self._tx.size, dtype=np.int64)

        self._rx = rx.rx
        self._right = pattern([s.expected for s in shapes], 1, self._rx.size)
        self._word = self._right.word
        # No room for more than the longest frame: what is longer arrives in two pieces.
        self._rx.lay_out(self._right.capacity, self._right.pad)
        self._rx.number_by(self._word)
        self._order = FlowOrder(flows) if self._rx.merges else None
        self._stream_id = stream_id
        self._image_bytes = bytearray(self._right.image().tobytes())
        self._image = np.frombuffer(self._image_bytes, np.int64).reshape(-1, self._right.head)
        self._image_flows = self._right.flows_in(self._image)
        self._heads = Heads(self._rx.rows, self._right.head)
        self._lines = self._right.lines(self._rx.rows)
        if self._lines:
            self._rx.rows[:] = self._right.row
        self._empty = np.full(self._rx.size, self._right.capacity << 32, np.int64)

        # When each frame under way left, if the ports know that better than the ledger.
        self._left: Words | None = None
        if timed and self._tx.times is not None and self._rx.times is not None:
            self._left = np.zeros(_LEDGER, np.int64)

    @property
    def accounted(self) -> int:
        return self.accepted + self.refused + self.not_offered

    @property
    def complete(self) -> bool:
        """Whether every frame given to the DUT has come back, right or wrong."""
        return self.received + self.corrupted >= self.accepted

    @property
    def caught_up(self) -> bool:
        """Whether the last frame given to the DUT has come back."""
        return self._next == self.accepted

    def offer(self, due: int, at_ns: int = 0) -> None:
        """Offer what is due at `at_ns` of the intended frames, `due` counted from the start.

        More than a ring at once cannot be offered evenly any more: the excess is not
        offered at all. Of the rest, the DUT refuses what its ring has no room for.
        """
        away_ns, self._looked_ns = at_ns - (self._looked_ns or at_ns), at_ns
        count = new = due - self.accounted
        if count <= 0:
            return
        if count > self._tx.size:
            self.not_offered += count - self._tx.size
            count = self._tx.size
        left_out = new - count
        room = self._tx.size - self._tx.pending()
        if count > room:
            self.refused += count - room
            count = room
        if self._timed and away_ns > self._on_time_ns:
            self._send_late(left_out, count, new, away_ns)
        else:
            self.send(count)

    @property
    def _on_time_ns(self) -> int:
        """How long the generator may be away and all that is missing is its own lateness.

        Where ports note the frames' own times: for no longer than a frame takes. Then as many
        frames as came due were to come back meanwhile, and show whether something else stalled.
        """
        if self._left is None:
            return _ON_TIME_NS
        return max(_ON_TIME_NS, self._delays.histogram.shortest_ns)

    def _send_late(self, left_out: int, count: int, new: int, away_ns: int) -> None:
        """Send `count` of the frames that came due evenly while the generator was away.

        `left_out` came due before, and are not sent.
        """
        back_ns = self._looked_ns
        if left_out:
            waited_ns = monotonic_ns() - back_ns
            first_ns, last_ns = away_ns, away_ns * (new - left_out) // new
            self._delays.never_sent(left_out, first_ns + waited_ns, last_ns + waited_ns)
        pieces = min(count, _PIECES)
        for piece in range(pieces):
            first, end = count * piece // pieces, count * (piece + 1) // pieces
            middle = left_out + (first + end + 1) / 2
            due_ns = back_ns - away_ns + int(away_ns * middle / new)
            # What comes due in another stream at that time must not look like this one's.
            self.send(end - first, due_ns & -16 | self._stream_id & 15)

    def fill(self) -> None:
        """Offer whatever the DUT has room for (to measure the generator itself)."""
        self.send(self._tx.size - self._tx.pending())

    def send(self, count: int, due_ns: int = 0) -> None:
        """Stamp and give `count` frames, for which there is room."""
        if not count:
            return
        left, slot = count, self._tx.slot
        now_ns = monotonic_ns() if self._timed else 1
        late = due_ns > 0 and now_ns - due_ns > _ON_TIME_NS
        if late:
            now_ns = due_ns
            self._delays.late += count
        first = self.accepted
        while left:
            entry = self.accepted & (_LEDGER - 1)
            step = min(left, self._tx.size - slot, _LEDGER - entry)
            end = slot + step
            np.add(self._count[:step], self.accepted, out=self._tx_sequence[slot:end])
            if self._timed:
                self._tx_time[slot:end] = now_ns
            self._tx_columns.write(slot, end, self.accepted)
            self._ledger[entry : entry + step] = now_ns
            self.accepted += step
            slot = end & (self._tx.size - 1)
            left -= step
        if self._left is not None and self._tx.times is not None:
            slots = self._tx.slot + self._count[:count] & self._tx.size - 1
            self._tx.times[slots] = now_ns
            self._tx.give(count)
            entries = first + self._count[:count] & _LEDGER - 1
            self._left[entries] = now_ns if late else self._tx.times[slots]
            return
        if self._timed:
            self._batches.append((self.accepted, now_ns))
        self._tx.give(count)

    @property
    def pending(self) -> int:
        """Frames that the DUT has not taken yet."""
        return self._tx.pending()

    def collect(self) -> int:
        """Check and give back all frames that have arrived; returns how many slots."""
        rx = self._rx
        filled = rx.filled()
        if not filled:
            return 0
        now_ns = monotonic_ns()
        received = self.received
        done = 0
        while done < filled:
            slot = rx.slot + done & (rx.size - 1)
            step = min(filled - done, rx.size - slot)
            taken = self._take(slot, self._next, step, now_ns) or self._resume(slot, step, now_ns)
            if not taken:
                done += self._judge(slot, filled - done, now_ns)
                break
            done += taken
        if done:
            rx.give_back(done)
        if self.received > received:
            self._hear(now_ns)
        return done

    def _hear(self, now_ns: int) -> None:
        """Note how long nothing has come until now."""
        silence, self._heard_ns = (now_ns - self._heard_ns, self._heard_ns), now_ns
        longest = self._silences
        if silence[1] and (len(longest) < _SILENCES or silence > longest[-1]):
            longest.append(silence)
            longest.sort(reverse=True)
            del longest[_SILENCES:]

    def counts(self, tx_port: int, rx_port: int) -> DirectionCounts:
        ahead_ns = time_ns() - monotonic_ns()
        return DirectionCounts(
            tx_port=tx_port,
            rx_port=rx_port,
            intended=self.intended,
            sent=self.accepted + self.refused,
            refused=self.refused,
            received=self.received,
            duplicated=self.duplicated,
            reordered=self.reordered,
            corrupted=self.corrupted,
            foreign=self.foreign,
            latency=self._delays.summary() if self._timed else None,
            silences=tuple(
                Silence((began + ahead_ns) / 1e9, length / 1e6) for length, began in self._silences
            ),
            announcements=tuple(
                Announcement((at + ahead_ns) / 1e9, link, mac)
                for at, link, mac in self._announcements
            ),
        )

    def _take(self, slot: int, first: int, count: int, now_ns: int) -> int:
        """Accept frames if they are right and number `first` and the following; returns how many.

        Some may be left over for the next call; none is accepted unless all are right.
        """
        rx = self._rx
        entry = first & (_LEDGER - 1)
        count = min(count, _LEDGER - entry)
        end = slot + count
        lengths = rx.lengths[slot:end]
        if np.count_nonzero(lengths == self._right.lengths.of(first, count)) != count:
            return 0
        sent = self._ledger[entry : entry + count]
        place = first % self._right.lengths.period
        image = self._image[place : place + count]
        np.add(self._count[:count], first, out=image[:, self._word])
        image[:, self._word + 1] = sent
        self._image_flows.write(place, place + count, first)
        # Faster than numpy: it compares the memory, at that place.
        if not self._image_bytes.startswith(
            self._heads.of(slot, end).data, 8 * self._right.head * place
        ):
            return 0
        if self._lines:
            if not self._lines.are_right(slot, first, count):
                return 0
            lengths[:] = self._empty[:count]
        if self._left is not None and rx.times is not None:
            numbers = first + self._count[:count]
            self._time(rx.times[slot:end], numbers, self._left[entry : entry + count])
        elif self._timed:
            self._time_run(now_ns, first, first + count)
        np.negative(sent, out=sent)
        if self._order:
            self._order.note_run(first, count)
        self._next = first + count
        self.received += count
        return count

    def _resume(self, slot: int, count: int, now_ns: int) -> int:
        """Around a loss: accept the run of frames before or after the gap; returns how many."""
        sequence = self._rx.rows[slot : slot + count, self._word]
        first = sequence.item(0)
        if not self._next <= first < self.accepted:
            return 0
        gaps = sequence - self._count[:count] != first
        run = int(gaps.argmax()) or count
        # Many short runs are faster judged one by one.
        if run < min(count, _SHORT_RUN):
            return 0
        return self._take(slot, first, run, now_ns)

    def _judge(self, slot: int, count: int, now_ns: int) -> int:
        """Judge frames one by one; returns how many slots they took."""
        rx = self._rx
        slots = (slot + np.arange(count)) & (rx.size - 1)
        lengths = rx.lengths[slots]
        rows = rx.rows[slots]
        used = count
        if np.any(lengths & NEXT):
            rows, lengths, used = join_rows(rx, slots, rows, lengths)
        rx.lengths[slots[:used]] = self._empty[:used]
        if self._lines:
            rx.rows[slots[:used]] = self._right.row
        lengths >>= 32
        announced = self._announced(slots, rows, now_ns)

        sequence = rows[:, self._word]
        time = rows[:, self._word + 1]
        right = self._right.right(rows, lengths, sequence)
        tagged = rows.view(np.uint16)[:, self._right.id_place] == self._stream_id
        tagged &= lengths >= self._right.stamp_end - STAMP_BYTES + 2
        known = (sequence >= max(0, self.accepted - _LEDGER)) & (sequence < self.accepted)
        noted = np.where(known, self._ledger[sequence & (_LEDGER - 1)], 0)
        stamped = (noted != 0) & (np.abs(noted) == time) & (lengths >= self._right.stamp_end)

        fresh = np.flatnonzero(right & stamped & (noted > 0))
        came = np.full(len(rows), now_ns) if rx.times is None else rx.times[slots]
        self._receive(sequence[fresh], came[fresh])
        self.duplicated += int(np.count_nonzero(right & stamped & (noted < 0)))
        wrong = ~(right & stamped)
        overtaken = right & (sequence >= 0) & (sequence < self.accepted - _LEDGER)
        ours = ((tagged & ~overtaken) | (stamped & self._timed)) & ~announced
        self.corrupted += int(np.count_nonzero(wrong & ours))
        self.foreign += int(np.count_nonzero(wrong & ~ours))
        return used

    def _announced(self, slots: Words, rows: Words, now_ns: int) -> npt.NDArray[np.bool_]:
        """Which rows are RARP frames: none of ours, whatever is in their padding."""
        pad = self._rx.pad
        announced: npt.NDArray[np.bool_] = rows.view(np.uint16)[:, (pad + 12) // 2] == _RARP
        for index in np.flatnonzero(announced)[: _ANNOUNCEMENTS - len(self._announcements)]:
            # The address that its sender has, after Ethernet and eight bytes of RARP.
            mac = rows[index].view(np.uint8)[pad + 22 : pad + 28].tobytes().hex(":")
            self._announcements.append((now_ns, self._rx.link(int(slots[index])), mac))
        return announced

    def _receive(self, sequence: Words, came: Words) -> None:
        """Note right frames, none received before, in order of arrival, and when they came."""
        if not len(sequence):
            return
        _, first = np.unique(sequence, return_index=True)
        if len(first) < len(sequence):
            self.duplicated += len(sequence) - len(first)
            sequence, came = sequence[np.sort(first)], came[np.sort(first)]
        highest = np.maximum.accumulate(np.concatenate(([self._next - 1], sequence)))
        if self._order:
            self.reordered += self._order.late(sequence)
        else:
            self.reordered += int(np.count_nonzero(sequence < highest[:-1]))
        self._next = int(highest[-1]) + 1
        self.received += len(sequence)
        entries = sequence & (_LEDGER - 1)
        sent = self._ledger[entries]
        if self._timed:
            left = sent if self._left is None else self._left[entries]
            order = np.argsort(sequence)
            self._time(came[order], sequence[order], left[order])
        self._ledger[entries] = -sent

    def _time_run(self, now_ns: int, first: int, end: int) -> None:
        """Note the delays of frames `first` to before `end`, seen now, none later seen before."""
        batches = self._batches
        while first < end:
            behind, sent_ns = batches[0]
            if behind > first:
                stop = min(behind, end)
                self._delays.add(first, stop - first, now_ns - sent_ns)
                first = stop
            if behind <= first:
                batches.popleft()

    def _time(self, came: Words, sequence: Words, left: Words) -> None:
        """Note the delays of frames found now, in the order they were sent."""
        noted = self._delays
        delays = np.maximum(came - left, 0)
        joined = np.diff(sequence, prepend=noted.next - 1) == 1
        changes = np.abs(np.diff(delays, prepend=noted.last_ns))[joined]
        for histogram, values in ((noted.histogram, delays), (noted.changes, changes)):
            different, counts = np.unique(values, return_counts=True)
            for value, count in zip(different.tolist(), counts.tolist(), strict=True):
                histogram.add(value, count)
        noted.apart += len(sequence) - len(changes)
        noted.next, noted.last_ns = sequence.item(-1) + 1, delays.item(-1)
