"""A port on a wire to itself: what it loses, it says."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import frames
from pytest_vswitch.traffic.af_packet.port import PacketPort
from pytest_vswitch.traffic.engine import Direction, Engine
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.stream import Stream
from tests.traffic.wires import Wires, inside, ip, wires

FRAME = frames.template(plain_flow(0, 1), 64)
STAMP = frames.stamp_offset(FRAME)
SHAPE = Shape(FRAME, FRAME, (STAMP, STAMP))
CLOCKS_NS = 2000
"""So exactly two clocks are compared."""


@pytest.fixture
def where() -> Iterator[Wires]:
    with wires() as made:
        for end in "01":
            silent = ["addrgenmode", "none", "multicast", "off"]
            ip("-n", made.generator, "link", "set", "dev", f"g{end}", *silent)
            ip("-n", made.generator, "link", "set", "dev", f"g{end}", "up")
        yield made


@pytest.fixture
def ends(where: Wires) -> Iterator[list[PacketPort]]:
    """Both ends of one wire."""
    ports = []
    for space, name in ((where.generator, "g0"), (where.dut, "d0")):
        with inside(space):
            ports.append(PacketPort(name, ring_size=64))
    for port in ports:
        port.connect(10.0)
    yield ports
    for port in ports:
        port.close()


def engine(ports: list[PacketPort]) -> Engine:
    return Engine(ports, spin=False, watch=lambda: None)


def test_a_trial_over_a_wire(ends: list[PacketPort]) -> None:
    (counts,) = engine(ends).trial([Direction(0, 1, [SHAPE])], rate_pps=5000, duration_s=0.5)
    assert counts.intended == 2500
    assert counts.received == counts.sent - counts.refused
    assert counts.corrupted == counts.foreign == counts.duplicated == counts.reordered == 0


def test_what_this_host_sends_is_not_seen(where: Wires, ends: list[PacketPort]) -> None:
    """Neither what the port sends, nor what another program does."""
    with inside(where.generator):
        other = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        other.bind(("g0", 0))
    with other:
        for _ in range(10):
            other.send(bytes(60))
    ends[0].tx.lengths[:10] = 60 << 32
    ends[0].tx.give(10)
    deadline = time.monotonic() + 30
    while ends[1].rx.filled() < 20 and time.monotonic() < deadline:
        pass  # the condition: all have arrived at the other end
    assert ends[1].rx.filled() == 20
    assert ends[0].rx.filled() == 0


def test_a_delay_is_known_however_late_one_looks(ends: list[PacketPort]) -> None:
    """Steps: a frame arrives; it is looked for 50 ms later.

    Verify: its delay is no longer than it took to send it. (The kernel begins to note times a
    while after it is asked to: so there are several frames.)
    """
    ends[0].tx.keep_times(True)
    ends[1].rx.keep_times(True)
    deadline = time.monotonic() + 30
    while True:
        stream = Stream(ends[0], ends[1], [SHAPE], stream_id=7, intended=1)
        began_ns = time.monotonic_ns()
        stream.send(1)
        sent_ns = time.monotonic_ns()
        while time.monotonic_ns() < sent_ns + 50_000_000:
            pass  # the condition: nobody looked for so long
        assert stream.collect() == 1
        latency = stream.counts(0, 1).latency
        assert latency is not None
        assert latency.min_us > 0
        if 1e3 * latency.max_us < sent_ns - began_ns + CLOCKS_NS:
            return
        assert time.monotonic() < deadline, latency


def test_away_for_less_than_a_frame_takes(ends: list[PacketPort]) -> None:
    """Steps: a frame takes 50 ms; the generator is away for 40 ms, then for 10 s.

    Verify: of two frames that came due meanwhile, the first in its middle and the second in the
    end, only that in the middle of the second time is timed from when it was due.
    """
    near, far = ends
    near.tx.keep_times(True)
    near.rx.keep_times(True)
    stream = Stream(near, near, [SHAPE], stream_id=7, intended=5)
    stream.offer(1, time.monotonic_ns())
    end_ns = time.monotonic_ns() + 50_000_000
    while not far.rx.filled() or time.monotonic_ns() < end_ns:
        pass  # the condition: it has arrived, and time has passed
    far.tx.frame(far.tx.slot)[: len(FRAME)] = far.rx.frame(far.rx.slot)[: len(FRAME)]
    far.tx.lengths[far.tx.slot] = len(FRAME) << 32
    far.tx.give(1)
    deadline = time.monotonic() + 30
    while not stream.collect():
        assert time.monotonic() < deadline
    for due, away_ns, late in ((3, 40_000_000, 0), (5, 10_000_000_000, 1)):
        now_ns = time.monotonic_ns()
        stream.offer(due - 2, now_ns - away_ns)
        stream.offer(due, now_ns)
        latency = stream.counts(0, 0).latency
        assert latency is not None
        assert latency.late == late


def test_frames_that_the_generator_lost_are_not_the_duts_loss(ends: list[PacketPort]) -> None:
    """Steps: room for hardly a frame; a trial with bursts of many.

    Verify: not a loss, but an error that says whose; the next trial begins anew.
    """
    directions = [Direction(0, 1, [SHAPE])]
    ends[1]._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with pytest.raises(HostError, match=r"the generator could not keep up on d0: it lost \d+ fr"):
        engine(ends).trial(directions, rate_pps=100_000, duration_s=0.2)
    ends[1]._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    (counts,) = engine(ends).trial(directions, rate_pps=1000, duration_s=0.2)
    assert counts.received == 200


def test_an_interface_that_is_not_there(where: Wires) -> None:
    with (
        inside(where.generator),
        pytest.raises(HostError, match="cannot send frames on the interface g9: no interface with"),
    ):
        PacketPort("g9", ring_size=64)


def test_an_interface_that_is_down(where: Wires, ends: list[PacketPort]) -> None:
    ip("-n", where.generator, "link", "set", "dev", "g0", "down")
    with pytest.raises(DutError, match="g0 is down: ip link set dev g0 up"):
        ends[0].connect(10.0)
    assert ends[0].lost() == (
        "the interface g0 went down or away while frames were sent on it (ENETDOWN)"
    )
    assert ends[0].lost() == ""
