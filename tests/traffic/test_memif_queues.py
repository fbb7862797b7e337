"""Flows spread over several rings of a memif port, and put together again."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab import loader
from pytest_vswitch.topologies.topology import MemifPort as DutPort
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import flows as flow_numbers
from pytest_vswitch.traffic import frames, overlay
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.memif.flood import FloodPort
from pytest_vswitch.traffic.memif.generator import attach, on_sockets
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.memif.queues import queue_of
from pytest_vswitch.traffic.order import FlowOrder
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.traffic.ring import Ring
from pytest_vswitch.traffic.stream import Stream
from tests.traffic.conftest import DEADLINE_S, run_trial
from tests.traffic.crossed import Crossed
from tests.traffic.memif_server import Server

SIZE = 64
MIX = (64, 594, 1518)
FLOWS = 50

Frames = dict[int, list[bytes]]
"""By queue."""


class Wire:
    """A port of several queues that is its own peer; the server moves frames when told to."""

    def __init__(self, queues: int, rings: int) -> None:
        self.queues = queues
        self.port = MemifPort(
            "unconnected", interface_id=0, secret="", ring_size=SIZE, rings=rings, queues=queues
        )
        for ring in self.port.from_server:
            ring.reset(SIZE)
        self.port.rx.reset(self.port.rx.size)
        shapes = []
        for size in MIX:
            frame = frames.template(plain_flow(0, 0), size)
            shapes.append(Shape(frame, frame, (42, 42)))
        self.stream = Stream(
            self.port, self.port, shapes, order=(0, 1, 2), flows=FLOWS, stream_id=7, intended=10**6
        )
        self.taken: dict[int, int] = defaultdict(int)
        self.given: dict[int, int] = defaultdict(int)

    def take(self) -> Frames:
        """All that the client has given."""
        taken: Frames = {}
        for queue, ring in enumerate(self.port.to_server):
            count = ring.pending()
            slots = [(self.taken[queue] + n) % SIZE for n in range(count)]
            self.taken[queue] += count
            ring.tail = self.taken[queue]
            taken[queue] = [
                ring.frame(slot)[: int(ring.lengths[slot]) >> 32].tobytes() for slot in slots
            ]
        return taken

    def put(self, sent: Frames) -> None:
        for queue, queued in sent.items():
            ring: Ring = self.port.from_server[queue]
            for frame in queued:
                slot = self.given[queue] % SIZE
                assert int(ring.lengths[slot]) == ring.capacity << 32
                ring.frame(slot)[: len(frame)] = np.frombuffer(frame, np.uint8)
                ring.lengths[slot] = len(frame) << 32
                self.given[queue] += 1
            ring.tail = self.given[queue]

    def counts(self) -> dict[str, int]:
        counts = self.stream.counts(0, 0)
        names = ("sent", "received", "lost", "duplicated", "reordered", "corrupted", "foreign")
        return {name: getattr(counts, name) for name in names if getattr(counts, name)}


@pytest.fixture(params=[(2, 2), (4, 4), (3, 5)], ids=lambda count: f"{count[0]} queues")
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    wire = Wire(*request.param)
    yield wire
    wire.port.close()


def source(frame: bytes) -> bytes:
    """What tells its flow."""
    return frame[26:36]


def number(frame: bytes) -> int:
    return int.from_bytes(frame[44:52], "little")


def test_a_flow_keeps_its_queue_and_its_order(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify: every queue has its share, flows one of them; nothing is mistaken in many laps,
    nor right frames judged one by one, which is slow."""
    monkeypatch.setattr(wire.stream, "_judge", None)
    queue_by_flow: dict[bytes, int] = {}
    shares: dict[int, int] = defaultdict(int)
    last: dict[int, int] = defaultdict(int)
    for lap in range(60):
        wire.stream.send(1 + lap % SIZE)
        sent = wire.take()
        for queue, queued in sent.items():
            for frame in queued:
                assert queue_by_flow.setdefault(source(frame), queue) == queue
                assert int.from_bytes(frame[34:36], "big") % wire.queues == queue
                assert number(frame) >= last[queue]
                last[queue] = number(frame)
                shares[queue] += 1
        wire.put(sent)
        wire.stream.collect()
    total = wire.stream.accepted
    assert wire.counts() == {"sent": total, "received": total}
    assert len(queue_by_flow) == FLOWS
    assert min(shares.values()) > 0.8 * total / wire.queues


def test_a_queue_that_is_late_reorders_no_flow(wire: Wire) -> None:
    """Steps: hold one queue's frames back while the others' of the next turn pass."""
    held: Frames = {}
    for lap in range(200):
        wire.stream.send(20)
        sent = wire.take()
        late = lap % wire.queues
        wire.put({queue: queued for queue, queued in sent.items() if queue != late})
        wire.stream.collect()
        wire.put(held)
        wire.stream.collect()
        wire.put({late: sent[late]})
        held = {}
        if lap % 3:
            wire.stream.collect()
    wire.stream.collect()
    assert wire.counts() == {"sent": 4000, "received": 4000}


def test_frames_of_a_flow_out_of_order_are_counted(wire: Wire) -> None:
    """Verify: of two frames of a flow that change places one is late, of two flows' none."""
    wire.stream.send(60)  # the flows of ten frames come again
    sent = wire.take()
    swapped = 0
    for queued in sent.values():
        places: dict[bytes, int] = {}
        for place, frame in enumerate(queued):
            if source(frame) in places and not swapped:
                earlier = places[source(frame)]
                queued[earlier], queued[place] = queued[place], queued[earlier]
                swapped += 1
            places[source(frame)] = place
    assert swapped == 1
    wire.put(sent)
    wire.stream.collect()
    assert wire.counts() == {"sent": 60, "received": 60, "reordered": 1}
    wire.stream.send(20)
    sent = wire.take()
    wire.put({queue: queued[::-1] for queue, queued in sent.items()})
    wire.stream.collect()
    assert wire.counts() == {"sent": 80, "received": 80, "reordered": 1}


def test_what_is_lost_repeated_and_spoilt_is_counted_exactly(wire: Wire) -> None:
    rng = random.Random(5)
    lost = repeated = spoilt = foreign = 0
    for _ in range(100):
        wire.stream.send(24)
        sent = wire.take()
        back: Frames = {}
        for queue, queued in sent.items():
            back[queue] = []
            for frame in queued:
                match rng.randrange(20):
                    case 0:
                        lost += 1
                    case 1:
                        back[queue] += [frame, frame]
                        repeated += 1
                    case 2:
                        back[queue].append(frame[:-1] + bytes([frame[-1] ^ 1]))
                        spoilt += 1
                    case 3:
                        back[queue] += [b"\xff" * 80, frame, b""]
                        foreign += 2
                    case _:
                        back[queue].append(frame)
        wire.put(back)
        wire.stream.collect()
    assert wire.counts() == {
        "sent": 2400, "received": 2400 - lost - spoilt, "lost": lost + spoilt,
        "duplicated": repeated, "corrupted": spoilt, "foreign": foreign,
    }  # fmt: skip


def test_a_length_that_no_buffer_has(wire: Wire) -> None:
    """Verify: a frame that is said to have 4 GB is none of ours, and harms no other."""
    wire.stream.send(24)
    sent = wire.take()
    wire.put(sent)
    slot = len(sent[0]) - 1
    wire.port.from_server[0].lengths[slot] = -1 << 32
    wire.stream.collect()
    assert wire.counts() == {"sent": 24, "received": 23, "lost": 1, "foreign": 1}


def test_a_full_queue_is_waited_for(wire: Wire) -> None:
    """Verify: what the server has not taken is pending, and has no room, whatever comes next."""
    wire.stream.fill()
    assert wire.stream.accepted == SIZE
    fullest = wire.stream.pending
    assert fullest >= SIZE // wire.queues
    wire.stream.fill()
    assert wire.stream.accepted == 2 * SIZE - fullest
    assert wire.stream.pending <= SIZE
    sent = wire.take()
    assert sum(map(len, sent.values())) == wire.stream.accepted
    assert wire.stream.pending == 0


@pytest.mark.parametrize("tags", [(), (100,), (100, 200)])
@pytest.mark.parametrize("pad", [0, 4])
def test_the_queue_of_a_frame(tags: tuple[int, ...], pad: int) -> None:
    """By its UDP source port, behind any tags; whatever is no UDP takes the first."""
    port = MemifPort("unconnected", interface_id=0, secret="", ring_size=SIZE)
    ring = port.tx
    ring.lay_out(1500, pad)
    plain = frames.template(plain_flow(0, 1), 200, tags)
    end = frames.stamp_offset(plain)
    sent = [flow_numbers.put(plain, end, n) for n in range(SIZE - 3)]
    arp = plain[:12] + b"\x08\x06" + plain[14:]
    tcp = bytearray(plain)
    tcp[end - 28 + 9] = 6
    sent += [arp, bytes(tcp), bytes(60)]
    for slot, frame in enumerate(sent):
        ring.frame(slot)[: len(frame)] = np.frombuffer(frame, np.uint8)
    expected = [flow_numbers.source_port(n) % 4 for n in range(SIZE - 3)] + [0, 0, 0]
    assert queue_of(ring, np.arange(SIZE), 4).tolist() == expected
    port.close()


def test_frames_within_others_go_by_the_outer_header() -> None:
    port = MemifPort("unconnected", interface_id=0, secret="", ring_size=SIZE)
    port.tx.lay_out(1500)
    frame = frames.template(plain_flow(0, 1), 200, vxlan=7)
    assert len(frame) > overlay.BYTES
    for slot in range(3):
        port.tx.frame(slot)[: len(frame)] = np.frombuffer(frame, np.uint8)
    outer = int.from_bytes(frame[34:36], "big")
    assert queue_of(port.tx, np.arange(3), 4).tolist() == [outer % 4] * 3
    port.close()


def test_the_order_of_flows() -> None:
    """Against a count of one frame after the other, over many flows and few."""
    rng = random.Random(3)
    for flows in (1, 7, 100):
        order = FlowOrder(flows)
        highest: dict[int, int] = {}
        first = 0
        for _ in range(50):
            count = rng.randrange(1, 300)
            numbers = list(range(first, first + count))
            first += count
            expected = 0
            if rng.random() < 0.5:
                order.note_run(numbers[0], count)
                highest.update({n % flows: n for n in numbers})
                continue
            for _ in range(20):
                one, other = rng.randrange(count), rng.randrange(count)
                numbers[one], numbers[other] = numbers[other], numbers[one]
            for n in numbers:
                expected += n < highest.get(n % flows, -1)
                highest[n % flows] = max(n, highest.get(n % flows, -1))
            assert order.late(np.array(numbers)) == expected


@pytest.mark.parametrize("queues", [1, 2])
def test_a_flood_over_ports_with_queues(queues: int) -> None:
    """Verify: each of two servers gets every frame; what both return is received once."""
    links = [
        MemifPort("unconnected", interface_id=0, secret="", ring_size=SIZE, queues=queues)
        for _ in range(2)
    ]
    for link in links:
        for ring in link.from_server:
            ring.reset(SIZE)
        link.rx.reset(link.rx.size)
    port = FloodPort(links, ring_size=SIZE)
    frame = frames.template(plain_flow(0, 0), 64)
    shape = Shape(frame, frame, (42, 42))
    stream = Stream(port, port, [shape], flows=9, stream_id=7, intended=1000)
    sent = 0
    for lap in range(1, 30):
        stream.send(lap)
        sent += lap
        for link in links:
            for to, back in zip(link.to_server, link.from_server, strict=True):
                count = to.pending()
                for slot in np.arange(to.slot - count, to.slot) % SIZE:
                    back.rows[slot] = to.rows[slot]
                    back.lengths[slot] = to.lengths[slot]
                to.tail += count
                back.tail += count
        stream.collect()
        stream.collect()
    counts = stream.counts(0, 0)
    assert counts.sent == counts.received == counts.duplicated == sent
    assert not counts.corrupted + counts.foreign
    port.close()


def swap(frame: bytes) -> bytes:
    return frame[6:12] + frame[:6] + frame[12:]


@pytest.mark.parametrize("queues", [2, 4])
def test_through_a_server(host: LocalHost, sockets: list[Path], queues: int) -> None:
    """Verify: flows of mixed sizes come back to the frame; each queue had its share of them."""
    ports = [DutPort(path.name, str(path), 10e9, rings=queues) for path in sockets]
    made = on_sockets(host, ports, Crossed(swap), queues=queues)
    offer = Offer(4000.0, 0.5, 128, Profile(sizes=MIX, flows=1000))
    assert f"{queues} queues" in made.description
    with Server(sockets, lambda port, number, frame: [swap(frame)]) as server, made as generator:
        for _ in range(2):
            for counts in run_trial(generator, offer):
                assert counts.received == counts.sent == counts.intended == 1000
                assert not counts.reordered + counts.duplicated + counts.corrupted
        for by_queue in server.by_queue:
            assert sorted(by_queue) == list(range(queues))
            assert {len(queued) for queued in by_queue.values()} == {2000 // queues}


def test_another_server_takes_the_place_of_the_first(sockets: list[Path]) -> None:
    """Steps: a server dies amid frames that it has not taken; its successor is connected to.

    Verify: those are lost, and all that are sent from then on come back.
    """
    tx, rx = (
        MemifPort(str(path), interface_id=0, secret="", ring_size=SIZE, queues=2)
        for path in sockets
    )
    frame = frames.template(plain_flow(0, 1), 64)
    stream = Stream(tx, rx, [Shape(frame, frame, (42, 42))], flows=9, stream_id=7, intended=100)

    def collect(received: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while stream.received < received:
            assert time.monotonic() < deadline
            stream.collect()

    with Server(sockets, lambda port, number, frame: [frame]) as first:
        for port in (tx, rx):
            port.connect(DEADLINE_S)
        stream.send(20)
        collect(20)
        first.die()
        stream.send(10)
        for path in sockets:
            path.unlink()
    with Server(sockets, lambda port, number, frame: [frame]):
        for port in (tx, rx):
            port.reconnect(DEADLINE_S)
        stream.send(20)
        collect(40)
        counts = stream.counts(0, 1)
        assert (counts.sent, counts.received, counts.lost) == (50, 40, 10)
        assert not counts.reordered + counts.duplicated + counts.corrupted + counts.foreign
        for port in (tx, rx):
            port.close()


def lab(tmp_path: Path, generator: str, kind: str = "memif") -> Path:
    path = tmp_path / "x.yaml"
    host = "sim" if kind == "sim" else "local"
    path.write_text(
        f"dut: {{host: {host}}}\nports: [{{kind: {kind}}}, {{kind: {kind}}}]\n"
        f"generator: {generator}\n"
    )
    return path


class Ports(Crossed):
    """A topology whose server has two queues."""

    generator_cpu = None
    ports = (DutPort("memif0", "/nowhere/0", 10e9, rings=2),)


@pytest.mark.parametrize(
    ("generator", "wrong"),
    [
        ("{queues: 4}", r"x.yaml:3: 4 queues, and memif0 of the DUT has 2"),
        ("{queues: 2, buffer_bytes: 2048}", "have one queue; take `queues` or `buffer_bytes` out"),
    ],
)
def test_queues_that_there_are_not(
    tmp_path: Path, host: LocalHost, generator: str, wrong: str
) -> None:
    with pytest.raises(InputError, match=wrong):
        attach(loader.load(str(lab(tmp_path, generator))), host, Ports())


def test_queues_are_for_memif_ports(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind `sim` has no queues; take `queues` out"):
        loader.load(str(lab(tmp_path, "{queues: 2}", "sim")))


def test_the_lab_says_how_many(tmp_path: Path, host: LocalHost) -> None:
    generator = attach(loader.load(str(lab(tmp_path, "{queues: 2}"))), host, Ports())
    assert "2 queues" in generator.description
