"""The account of a stream, with this test as the server: it moves frames by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import frames
from pytest_vswitch.traffic import stream as stream_module
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.ring import Ring
from pytest_vswitch.traffic.stream import Stream

SIZE = 64


class Wire:
    """A port that is its own peer, and a server that carries frames when it is told to."""

    def __init__(self, frame_bytes: int = 64, *, timed: bool = True, stream_id: int = 7) -> None:
        self.port = MemifPort("unconnected", interface_id=0, secret="", ring_size=SIZE)
        self.port.tx.reset(0)
        self.port.rx.reset(SIZE)
        frame = frames.template(plain_flow(0, 0), frame_bytes)
        place = frames.stamp_offset(frame)
        self.stream = Stream(
            self.port,
            self.port,
            [Shape(frame, frame, (place, place))],
            stream_id=stream_id,
            intended=10**6,
            timed=timed,
        )
        self.taken = 0
        self.given = 0

    def take(self, count: int) -> list[bytes]:
        """The server takes frames from the client."""
        ring = self.port.tx
        slots = [(self.taken + number) % SIZE for number in range(count)]
        self.taken += count
        self._tail(ring, self.taken)
        return [ring.frame(slot)[: int(ring.lengths[slot]) >> 32].tobytes() for slot in slots]

    def put(self, sent: list[bytes]) -> None:
        """The server fills the client's empty buffers."""
        ring = self.port.rx
        for frame in sent:
            slot = self.given % SIZE
            ring.frame(slot)[: len(frame)] = np.frombuffer(frame, np.uint8)
            ring.lengths[slot] = len(frame) << 32
            self.given += 1
        self._tail(ring, self.given)

    @staticmethod
    def _tail(ring: Ring, count: int) -> None:
        ring._header[32] = count & 0xFFFF


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.port.close()


def test_offered_as_due(wire: Wire) -> None:
    wire.stream.offer(10)
    wire.stream.offer(10)
    wire.stream.offer(25)
    assert wire.stream.accepted == 25
    assert wire.stream.pending == 25
    assert wire.stream.refused == wire.stream.not_offered == 0


def test_a_full_ring_refuses(wire: Wire) -> None:
    wire.stream.offer(SIZE)
    wire.stream.offer(SIZE + 10)
    counts = wire.stream.counts(0, 0)
    assert (counts.sent, counts.refused, counts.lost) == (SIZE + 10, 10, SIZE + 10)
    wire.put(wire.take(SIZE))
    wire.stream.collect()
    wire.stream.offer(SIZE + 15)
    counts = wire.stream.counts(0, 0)
    assert (counts.sent, counts.refused, counts.received) == (SIZE + 15, 10, SIZE)


def test_what_comes_due_too_late_is_not_offered(wire: Wire) -> None:
    """The generator was away for ten rings: nine of them are its own fault."""
    wire.stream.offer(10 * SIZE)
    counts = wire.stream.counts(0, 0)
    assert (counts.sent, counts.refused) == (SIZE, 0)
    assert wire.stream.not_offered == 9 * SIZE
    assert wire.stream.accounted == 10 * SIZE


def test_late_and_full(wire: Wire) -> None:
    wire.stream.offer(SIZE // 2)
    wire.stream.offer(SIZE // 2 + 3 * SIZE)
    assert wire.stream.not_offered == 2 * SIZE
    assert wire.stream.refused == SIZE // 2
    assert wire.stream.counts(0, 0).sent == SIZE // 2 + SIZE


@pytest.mark.parametrize("frame_bytes", [64, 65, 67, 128, 1518, 9000])
@pytest.mark.parametrize("timed", [True, False])
def test_many_laps(frame_bytes: int, timed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rings, their 16-bit pointers and the ledger all wrap around; no frame is mistaken."""
    monkeypatch.setattr(stream_module, "_LEDGER", 256)
    wire = Wire(frame_bytes, timed=timed)
    for lap in range(1400):
        wire.stream.send(47 + lap % 7)
        wire.put(wire.take(wire.stream.pending))
        wire.stream.collect()
    counts = wire.stream.counts(0, 0)
    assert counts.sent == counts.received == sum(47 + lap % 7 for lap in range(1400)) > 1 << 16
    assert counts.duplicated == counts.reordered == counts.corrupted == counts.foreign == 0
    assert wire.stream.complete
    assert (counts.latency is not None) == timed
    wire.port.close()


def test_stamped_frames(wire: Wire) -> None:
    wire.stream.offer(3)
    sent = wire.take(3)
    stamps = [frame[42:60] for frame in sent]
    assert [stamp[:2] for stamp in stamps] == [b"\x07\x00"] * 3
    assert [int.from_bytes(stamp[2:10], "little") for stamp in stamps] == [0, 1, 2]
    assert len({len(frame) for frame in sent}) == 1
    assert len(sent[0]) == 60


@pytest.mark.parametrize("gap", [1, 5, 50])
def test_losses_of_every_shape(gap: int) -> None:
    """Every kept run is received, whether short or long, at the ring's end or not."""
    wire = Wire()
    kept = 0
    for lap in range(300):
        wire.stream.send(SIZE - 1)
        sent = wire.take(SIZE - 1)
        start = lap % (SIZE - gap)
        wire.put(sent[:start] + sent[start + gap :])
        kept += SIZE - 1 - len(sent[start : start + gap])
        wire.stream.collect()
    counts = wire.stream.counts(0, 0)
    assert counts.received == kept
    assert counts.lost == counts.sent - kept > 0
    assert counts.duplicated == counts.reordered == counts.corrupted == counts.foreign == 0
    wire.port.close()


def test_truncated_to_what_the_buffer_still_holds(wire: Wire) -> None:
    """The missing byte is there, from the frame before: it must not count."""
    wire.stream.send(SIZE)
    wire.put(wire.take(SIZE))
    wire.stream.collect()
    wire.stream.send(2)
    first, second = wire.take(2)
    wire.put([first[:-1]])
    wire.stream.collect()
    wire.put([second])
    wire.stream.collect()
    counts = wire.stream.counts(0, 0)
    assert (counts.received, counts.corrupted) == (SIZE + 1, 1)


def test_buffers_are_returned_whole(wire: Wire) -> None:
    """After a short frame its buffer takes a whole one again."""
    wire.put([b"short"])
    wire.stream.collect()
    assert set(wire.port.rx.lengths.tolist()) == {wire.port.rx.capacity << 32}


def test_repeated_after_a_loss(wire: Wire) -> None:
    wire.stream.send(6)
    sent = wire.take(6)
    wire.put([sent[5], sent[2], sent[1]])
    wire.stream.collect()
    wire.put([sent[2], sent[5], sent[0]])
    wire.stream.collect()
    counts = wire.stream.counts(0, 0)
    assert (counts.received, counts.reordered, counts.duplicated) == (4, 3, 2)


def test_overtaken_by_a_whole_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right frame that is too old to be told from a duplicate is foreign, not corrupted."""
    monkeypatch.setattr(stream_module, "_LEDGER", 256)
    wire = Wire()
    wire.stream.send(1)
    (old,) = wire.take(1)
    for _ in range(10):
        wire.stream.send(SIZE)
        wire.put(wire.take(SIZE))
        wire.stream.collect()
    wire.put([old])
    wire.stream.collect()
    counts = wire.stream.counts(0, 0)
    assert (counts.lost, counts.foreign, counts.corrupted) == (1, 1, 0)
    wire.port.close()


def test_a_frame_whose_rest_has_not_come(wire: Wire) -> None:
    """A frame in two buffers is judged when both are there, even across the ring's end."""
    wire.stream.send(SIZE - 1)
    sent = wire.take(SIZE - 1)
    wire.put(sent)
    wire.stream.collect()
    wire.stream.send(1)
    (frame,) = wire.take(1)
    wire.put([frame[:40]])
    wire.port.rx.lengths[SIZE - 1] |= 1
    assert wire.stream.collect() == 0
    wire.put([frame[40:]])
    assert wire.stream.collect() == 2
    assert wire.stream.counts(0, 0).received == SIZE
    assert not wire.stream.counts(0, 0).foreign


def test_a_frame_without_end(wire: Wire) -> None:
    wire.put([bytes(60)] * SIZE)
    wire.port.rx.lengths[:] |= 1
    assert wire.stream.collect() == SIZE
    assert wire.stream.counts(0, 0).foreign == 1


def test_impossible_pointers(wire: Wire) -> None:
    wire.taken = 1
    wire.take(0)
    with pytest.raises(DutError, match="never given"):
        wire.stream.offer(1)
    wire.given = SIZE + 1
    wire.put([])
    with pytest.raises(DutError, match="more buffers than it was given"):
        wire.stream.collect()


def test_memory_is_nowhere_on_disk_and_cannot_shrink(wire: Wire) -> None:
    import os

    path = os.readlink(f"/proc/self/fd/{wire.port._fd}")
    assert path.startswith("/memfd:")
    with pytest.raises(PermissionError):
        os.ftruncate(wire.port._fd, 0)


def test_interrupts_only_when_wanted(wire: Wire) -> None:
    wire.stream.send(1)
    fd = wire.port.tx.interrupt_fd
    assert Path(f"/proc/self/fdinfo/{fd}").read_text().split("eventfd-count:")[1].split()[0] == "0"
    wire.port.tx._header[2] = 0  # the server wants to be woken
    wire.stream.send(1)
    assert Path(f"/proc/self/fdinfo/{fd}").read_text().split("eventfd-count:")[1].split()[0] == "1"
