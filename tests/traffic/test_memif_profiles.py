"""Profiles through a real testpmd, and how bursts come due."""

from __future__ import annotations

import itertools

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import engine as engine_module
from pytest_vswitch.traffic import frames, imix
from pytest_vswitch.traffic.engine import Direction, Engine
from pytest_vswitch.traffic.flows import MOST
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.traffic.stream import Stream
from tests.traffic.conftest import Connect, Loop, run_trial


def swap(frame: bytes) -> bytes:
    return frame[6:12] + frame[:6] + frame[12:]


def test_through_testpmd(testpmd: Loop, connect: Connect) -> None:
    """All at once, then plain again: every frame comes back right."""
    mixed = (72, 602, 72, 72, 1518)
    profiles = [
        Profile(sizes=imix.SIMPLE),
        Profile(flows=MOST),
        Profile(sizes=imix.SIMPLE, flows=1000),
        Profile(sizes=mixed, flows=1000, tags=(100, 200), burst_frames=32),
        Profile(),
    ]
    with testpmd("macswap"), connect(swap) as generator:
        for profile in profiles:
            for counts in run_trial(generator, Offer(4000.0, 0.5, 64, profile)):
                assert counts.received == counts.sent == counts.intended == 1000, profile
                wrong = counts.corrupted + counts.foreign + counts.duplicated + counts.reordered
                assert not wrong, profile


def test_a_topology_that_hides_who_sent_is_refused(testpmd: Loop, connect: Connect) -> None:
    """Flows cannot be told apart behind an address translation."""

    def translated(frame: bytes) -> bytes:
        return frame[:26] + b"\x0a\0\0\1" + frame[30:] if len(frame) > 42 else frame

    refused = pytest.raises(InputError, match="flows: the topology's transform")
    with testpmd("io"), connect(translated) as generator, refused:
        generator.start(Offer(1000.0, 0.1, 64, Profile(flows=2)))


def test_bursts_come_due_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the last one, which is what is left."""
    due: list[int] = []
    ticks = itertools.count(10**9, 10**6)
    monkeypatch.setattr(engine_module, "monotonic_ns", lambda: next(ticks))
    monkeypatch.setattr(Stream, "offer", lambda stream, count, at_ns: due.append(count))
    port = MemifPort("unconnected", interface_id=0, secret="", ring_size=64)
    port.tx.reset(0)
    port.rx.reset(64)
    frame = frames.template(plain_flow(0, 0), 64)
    engine = Engine([port], spin=True, watch=lambda: None)
    one_way = Direction(0, 0, [Shape(frame, frame, (42, 42))])
    engine.trial([one_way], rate_pps=1030, duration_s=0.1, burst_frames=20)
    port.close()
    assert due[-1] == 103
    assert set(due[:-1]) == {0, 20, 40, 60, 80, 100}
