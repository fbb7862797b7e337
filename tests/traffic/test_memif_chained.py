"""Frames in several buffers, through a real testpmd and with this test as the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab import loader
from pytest_vswitch.topologies.topology import MemifPort as DutPort
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import frames
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.memif.chained import ChainedPort
from pytest_vswitch.traffic.memif.generator import on_sockets
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.pieces import read_exact
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.traffic.ring import NEXT
from pytest_vswitch.traffic.stream import Stream
from tests.traffic.conftest import Loop, run_trial
from tests.traffic.crossed import Crossed

PIECE = 2048
RING = 64
MIX = (64, 9018, 2052, 2053, 4100)
"""Frames of 60, 9014, 2048, 2049 and 4096 bytes: at the edges of buffers."""


class Wire:
    """A chained port that is its own peer, and a server that hands frames back."""

    def __init__(self) -> None:
        self.link = MemifPort("unconnected", interface_id=0, secret="", ring_size=RING)
        self.port = ChainedPort(self.link, ring_size=RING, piece_bytes=PIECE)
        self.link.tx.reset(0)
        self.link.rx.reset(RING)
        sizes = sorted(set(MIX))
        shapes = []
        for size in sizes:
            frame = frames.template(plain_flow(0, 0), size)
            shapes.append(Shape(frame, frame, (42, 42)))
        order = [sizes.index(size) for size in MIX]
        self.stream = Stream(
            self.port, self.port, shapes, order=order, flows=9, stream_id=7, intended=10**6
        )
        self.taken = 0
        self.given = 0

    def take(self) -> list[bytes]:
        """The server takes all that there is, piece by piece."""
        ring = self.link.tx
        whole, piece = [], b""
        for _ in range(ring.pending()):
            slot = self.taken % RING
            part = ring.frame(slot)[: int(ring.lengths[slot]) >> 32].tobytes()
            assert len(part) <= PIECE
            piece += part
            if not int(ring.lengths[slot]) & NEXT:
                whole.append(piece)
                piece = b""
            self.taken += 1
        ring.tail = self.taken
        assert not piece
        return whole

    def put(self, sent: list[bytes]) -> None:
        ring = self.link.rx
        for frame in sent:
            for begin in range(0, len(frame), PIECE):
                part = frame[begin : begin + PIECE]
                slot = self.given % RING
                assert int(ring.lengths[slot]) == PIECE << 32
                ring.frame(slot)[: len(part)] = memoryview(part)
                more = begin + PIECE < len(frame)
                ring.lengths[slot] = len(part) << 32 | (NEXT if more else 0)
                self.given += 1
        ring.tail = self.given


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.port.close()


def test_many_laps(wire: Wire) -> None:
    size = wire.port.tx.size
    assert size == 8  # of 9,720 bytes each, in 64 buffers
    lengths = []
    for lap in range(200):
        wire.stream.send(1 + lap % size)
        sent = wire.take()
        lengths += [len(frame) + 4 for frame in sent]
        wire.put(sent)
        wire.stream.collect()
    counts = wire.stream.counts(0, 0)
    assert counts.sent == counts.received == len(lengths) > 4 * RING
    assert not counts.corrupted + counts.foreign + counts.duplicated + counts.reordered
    assert lengths == [MIX[number % len(MIX)] for number in range(len(lengths))]


def test_a_frame_is_under_way_until_its_last_piece_is_taken(wire: Wire) -> None:
    wire.stream.send(2)  # one piece, and five
    for taken, pending in ((0, 2), (1, 1), (5, 1), (6, 0)):
        wire.link.tx.tail = taken
        assert wire.stream.pending == pending


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (lambda frame: [frame[:-1] + b"\xff"], (1, 0)),
        (lambda frame: [frame[:4096]], (1, 0)),
        (lambda frame: [frame + bytes(400)], (1, 0)),
        (lambda frame: [bytes(9014), frame], (0, 1)),
        (lambda frame: [bytes(12000), frame], (0, 1)),
    ],
)
def test_faults_in_a_chain(
    wire: Wire, fault: Callable[[bytes], list[bytes]], expected: tuple[int, int]
) -> None:
    wire.stream.send(3)
    short, jumbo, other = wire.take()
    wire.put([short, *fault(jumbo), other])
    wire.stream.collect()
    counts = wire.stream.counts(0, 0)
    assert (counts.corrupted, counts.foreign) == expected
    assert counts.received == 3 - expected[0]


def test_what_is_under_way_can_be_thrown_away(wire: Wire) -> None:
    wire.stream.send(3)
    wire.put(wire.take())
    wire.port.discard()
    assert wire.stream.collect() == 0
    assert read_exact(wire.link.rx) == []


def swap(frame: bytes) -> bytes:
    return frame[6:12] + frame[:6] + frame[12:]


def test_through_testpmd(host: LocalHost, sockets: list[Path], testpmd: Loop) -> None:
    """Which has mbufs of 2,048 bytes: it follows chains, and makes them."""
    ports = [DutPort(path.name, str(path), 10e9) for path in sockets]
    # Room for all frames of a trial: a testpmd without CPU for a moment refuses none.
    made = on_sockets(host, ports, Crossed(swap), ring_size=4096, buffer_bytes=512)
    with testpmd("macswap"), made as generator:
        exact = [bytes([number]) * (60 + 17 * number) for number in range(100)]
        assert generator.exchange({0: exact}, wait_s=30.0)[1] == list(map(swap, exact))
        for profile in (Profile(), Profile(sizes=(64, 516, 517, 1518), flows=9)):
            for counts in run_trial(generator, Offer(400.0, 0.5, 1518, profile)):
                assert counts.received == counts.sent == counts.intended == 100
                assert not counts.corrupted + counts.foreign + counts.duplicated


def test_buffers_are_for_memif_ports(tmp_path: Path) -> None:
    lab = tmp_path / "x.yaml"
    lab.write_text(
        "dut: {host: sim}\nports: [{kind: sim}, {kind: sim}]\ngenerator: {buffer_bytes: 2048}\n"
    )
    with pytest.raises(InputError, match="kind `sim` has no buffers; take `buffer_bytes` out"):
        loader.load(str(lab))
