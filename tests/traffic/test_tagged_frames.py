"""Frames with a VLAN tag on a real wire: the kernel takes the tag out, the port puts it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import frames
from pytest_vswitch.traffic.af_packet.port import PacketPort
from pytest_vswitch.traffic.engine import Direction, Engine
from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.pattern import Shape
from tests.traffic.wires import Wires, inside, ip, wires

TAGGED = frames.template(replace(plain_flow(0, 1), vlan=1000), 128)
TWICE = frames.template(plain_flow(0, 1), 128, tags=(100, 200))
PLAIN = frames.template(plain_flow(0, 1), 128)


@pytest.fixture(scope="module")
def where() -> Iterator[Wires]:
    with wires() as made:
        silent = ["addrgenmode", "none", "multicast", "off"]
        ip("-n", made.generator, "link", "set", "dev", "g0", *silent)
        ip("-n", made.generator, "link", "set", "dev", "g0", "up")
        yield made


def passed(where: Wires, frame: bytes) -> DirectionCounts:
    """What arrives at the other end of the wire."""
    with ExitStack() as stack:
        ports = []
        for space, name in ((where.generator, "g0"), (where.dut, "d0")):
            with inside(space):
                port = PacketPort(name, ring_size=64)
            ports.append(stack.enter_context(closing(port)))
        for port in ports:
            port.connect(10.0)
        stamp = frames.stamp_offset(frame)
        engine = Engine(ports, spin=False, watch=lambda: None)
        direction = Direction(0, 1, [Shape(frame, frame, (stamp, stamp))])
        (counts,) = engine.trial([direction], rate_pps=1000, duration_s=0.2)
        return counts


@pytest.mark.parametrize("frame", [TAGGED, TWICE, PLAIN], ids=["tagged", "QinQ", "plain"])
def test_every_byte_arrives(where: Wires, frame: bytes) -> None:
    counts = passed(where, frame)
    assert counts.received == counts.sent - counts.refused > 0
    assert counts.corrupted == counts.foreign == 0


def test_a_tag_would_be_missed_otherwise(where: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is why a port is told whether its frames are tagged."""
    monkeypatch.setattr(PacketPort, "keep_tags", lambda port, tagged: None)
    assert passed(where, TAGGED).received == 0
