"""The account of a stream of mixed sizes and many flows, with this test as the server."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import frames
from pytest_vswitch.traffic import stream as stream_module
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pattern import Pattern, Shape
from pytest_vswitch.traffic.stream import Stream
from tests.traffic.test_memif_stream import SIZE, Wire

MIX = (64, 1518, 64, 594, 65, 70, 9000)
TAGS = ((), (100,), (100, 200))


class Mixed(Wire):
    """A wire with frames of `sizes` in turn."""

    def __init__(
        self, sizes: Sequence[int] = MIX, flows: int = 1, tags: Sequence[int] = ()
    ) -> None:
        self.port = MemifPort("unconnected", interface_id=0, secret="", ring_size=SIZE)
        self.port.tx.reset(0)
        self.port.rx.reset(SIZE)
        self.sizes = [size + 4 * len(tags) for size in sizes]
        distinct = sorted(set(self.sizes))
        shapes = []
        for size in distinct:
            frame = frames.template(plain_flow(0, 0), size, tags)
            place = frames.stamp_offset(frame)
            shapes.append(Shape(frame, frame, (place, place)))
        self.stream = Stream(
            self.port,
            self.port,
            shapes,
            order=[distinct.index(size) for size in self.sizes],
            flows=flows,
            stream_id=7,
            intended=10**6,
        )
        self.taken = 0
        self.given = 0

    def pass_on(self, count: int, fault: Callable[[list[bytes]], list[bytes]] = list) -> None:
        """Send frames, which the server hands back as the fault will have it."""
        self.stream.send(count)
        self.put(fault(self.take(count)))
        self.stream.collect()

    def put(self, sent: list[bytes]) -> None:
        """As DPDK does: the length of a buffer is what it has room for."""
        for number in range(self.given, self.given + len(sent)):
            assert int(self.port.rx.lengths[number % SIZE]) >> 32 == self.port.rx.capacity
        super().put(sent)

    def counts(self) -> dict[str, int]:
        counts = self.stream.counts(0, 0)
        names = ("sent", "received", "lost", "duplicated", "reordered", "corrupted", "foreign")
        return {name: getattr(counts, name) for name in names if getattr(counts, name)}


@pytest.fixture
def wire() -> Iterator[Mixed]:
    wire = Mixed(flows=50)
    yield wire
    wire.port.close()


@pytest.mark.parametrize("flows", [1, 50])
@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("sizes", [MIX, (64, 1518), (1518, 64), (64, 65)])
def test_many_laps(
    sizes: tuple[int, ...], tags: tuple[int, ...], flows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rings, ledger, sizes and flows all begin anew at different frames; none is mistaken."""
    monkeypatch.setattr(stream_module, "_LEDGER", 256)
    wire = Mixed(sizes, flows, tags)
    judged = 0
    judge = wire.stream._judge

    def counted(*arguments: int) -> int:
        nonlocal judged
        judged += 1
        return judge(*arguments)

    monkeypatch.setattr(wire.stream, "_judge", counted)
    for lap in range(60):
        wire.pass_on(47 + lap % 7)
    total = sum(47 + lap % 7 for lap in range(60))
    assert wire.counts() == {"sent": total, "received": total}
    assert not judged, "right frames were judged one by one, which is slow"
    wire.port.close()


def test_sizes_and_flows_as_asked_for(wire: Mixed) -> None:
    wire.stream.send(60)
    sent = wire.take(60)
    assert [len(frame) + 4 for frame in sent] == [MIX[n % len(MIX)] for n in range(60)]
    assert len({frame[26:36] for frame in sent}) == 50


def test_losses_among_mixed_sizes(wire: Mixed) -> None:
    rng = random.Random(1)
    kept = 0

    def lose(sent: list[bytes]) -> list[bytes]:
        nonlocal kept
        left = [frame for frame in sent if rng.random() > 0.2]
        kept += len(left)
        return left

    for _ in range(40):
        wire.pass_on(SIZE - 1, lose)
    assert wire.counts() == {
        "sent": 40 * (SIZE - 1), "received": kept, "lost": 40 * (SIZE - 1) - kept,
    }  # fmt: skip


def test_a_wrong_bit_anywhere_in_any_size(wire: Mixed) -> None:
    """At the edges of headers, stamp, cache lines and frames."""
    wrong = 0
    for number, size in enumerate(MIX):
        places = {0, 25, 27, 29, 35, 41, 42, 43, 44, 51, 52, 59, size - 5}
        places |= {place for place in (60, 61, 123, 124, 507, 1500) if place < size - 4}
        for place in sorted(places):

            def spoil(sent: list[bytes], number: int = number, place: int = place) -> list[bytes]:
                frame = bytearray(sent[number])
                frame[place] ^= 0x10
                return [*sent[:number], bytes(frame), *sent[number + 1 :]]

            before = wire.stream.accepted
            wire.pass_on(len(MIX), spoil)
            assert wire.stream.accepted == before + len(MIX)
            wrong += 1
            assert wire.stream.corrupted == wrong, (size, place)
    sent = wrong * len(MIX)
    assert wire.counts() == {
        "sent": sent, "received": sent - wrong, "lost": wrong, "corrupted": wrong,
    }  # fmt: skip


def test_a_frame_with_another_ones_length(wire: Mixed) -> None:
    """Cut to the length of the shorter ones, or filled up to that of longer ones."""

    def cut_and_fill(sent: list[bytes]) -> list[bytes]:
        return [sent[0] + sent[3][60:590], sent[1][:60], *sent[2:]]

    wire.pass_on(7, cut_and_fill)
    wire.pass_on(7)
    assert wire.counts() == {"sent": 14, "received": 12, "lost": 2, "corrupted": 2}


def test_another_flows_address(wire: Mixed) -> None:
    """A right frame but for the flow, which is that of the frame after."""

    def confuse(sent: list[bytes]) -> list[bytes]:
        return [sent[0][:24] + sent[2][24:36] + sent[0][36:], *sent[1:]]

    wire.pass_on(7, confuse)
    assert wire.counts() == {"sent": 7, "received": 6, "lost": 1, "corrupted": 1}


def test_repeated_and_out_of_order(wire: Mixed) -> None:
    wire.pass_on(7, lambda sent: [sent[1], sent[0], sent[6], sent[6], *sent[2:6]])
    assert wire.counts() == {"sent": 7, "received": 7, "duplicated": 1, "reordered": 5}


def test_foreign_frames_leave_nothing_behind(wire: Mixed) -> None:
    """What strangers leave in a buffer is not held against a shorter frame after them."""
    wire.put([b"\xff" * 1000] * 20)
    wire.stream.collect()
    for _ in range(10):
        wire.pass_on(SIZE - 1)
    total = 10 * (SIZE - 1)
    assert wire.counts() == {"sent": total, "received": total, "foreign": 20}


def test_payload_that_depends_on_the_size_is_refused() -> None:
    one, other = (frames.template(plain_flow(0, 1), size) for size in (128, 256))
    with pytest.raises(InputError, match="payload depends on its size"):
        Pattern([one[:-1] + b"\0", other], 42, order=(0, 1), stream_id=7, run=8)
