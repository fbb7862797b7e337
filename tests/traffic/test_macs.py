"""Many MAC addresses in turn: in buffers, as an account of them, and against a Linux bridge."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.topologies.topology import MemifPort as DutPort
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import flows, frames, macs
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.memif.generator import on_sockets
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pattern import Pattern, Shape
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.traffic.stream import Stream
from tests.traffic.conftest import run_trial
from tests.traffic.crossed import Crossed
from tests.traffic.wires import Topology, attached, ip, wires

SOURCE, DESTINATION = 6, 0


@pytest.mark.parametrize("place", [SOURCE, DESTINATION])
@pytest.mark.parametrize("tags", [(), (100,), (100, 200)])
@pytest.mark.parametrize("sizes", [(128,), (72, 594, 1518)])
def test_patterns_hold_what_put_makes(
    sizes: tuple[int, ...], tags: tuple[int, ...], place: int
) -> None:
    """The bytes that are copied into buffers, against frames built one by one."""
    count, first, run = 1000, 990, 64
    templates = [frames.template(plain_flow(0, 1), size, tags) for size in sizes]
    source = templates[0][6:12]
    templates = [macs.put(frame, source, 0, place) for frame in templates]
    stamp = frames.stamp_offset(templates[0])
    pattern = Pattern(
        templates,
        stamp,
        order=range(len(sizes)),
        flow_count=7,
        mac_count=count,
        mac=place,
        stream_id=7,
        run=run,
    )
    rows = np.tile(pattern.row, (run, 1))
    lengths = np.full(run, len(templates[0]) << 32)
    pattern.all_in(rows, lengths).write(0, run, first)
    for number, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True), first):
        frame = templates[number % len(sizes)]
        frame = flows.put(frame, stamp, number % 7 * flows.step(7) % 7)
        frame = macs.put(frame, source, number % count * flows.step(count) % count, place)
        expected = bytearray(frame)
        expected[stamp : stamp + frames.STAMP_BYTES] = b"\x07" + bytes(17)
        assert row.tobytes()[pattern.pad :][: length >> 32] == expected


def test_they_name_the_case() -> None:
    assert Profile(macs=5).parameters == {"macs": 5}
    back = Profile(macs=5, macs_as="destination")
    assert back.parameters == {"macs": 5, "macs_as": "destination"}


def test_no_two_addresses_are_alike() -> None:
    """Nor those of two ports; the first is the port's own."""
    seen: set[bytes] = set()
    for port in range(4):
        own = plain_flow(port, 0).src_mac
        source = bytes.fromhex(own.replace(":", ""))
        made = {macs.put(bytes(60), source, number, 0)[:6] for number in range(5000)}
        assert macs.put(bytes(60), source, 0, 6)[6:12] == source
        assert len(made) == 5000
        assert not seen & made
        seen |= made
    assert macs.low(0x120001, macs.MOST - 1) < 1 << 24


def test_another_address_is_no_right_frame() -> None:
    """A frame that comes back with the address of the next is corrupted; so is no other."""
    port = MemifPort("unconnected", interface_id=0, secret="", ring_size=64)
    port.rx.reset(64)
    frame = frames.template(plain_flow(0, 0), 64)
    shape = Shape(frame, frame, (42, 42), (6, 6))
    stream = Stream(port, port, [shape], macs=50, stream_id=7, intended=100)
    stream.send(60)
    port.rx.rows[:60] = port.tx.rows[:60]
    port.rx.lengths[:60] = port.tx.lengths[:60]
    port.rx.frame(3)[6:12] = port.tx.frame(4)[6:12]
    port.tx.tail = port.rx.tail = 60
    stream.collect()
    counts = stream.counts(0, 0)
    assert (counts.received, counts.corrupted, counts.foreign) == (59, 1, 0)
    port.close()


def test_a_topology_that_sets_addresses_is_refused(host: LocalHost) -> None:
    def routed(frame: bytes) -> bytes:
        return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02" + frame[12:]

    ports = [DutPort(f"memif{n}", f"/nowhere/{n}", 10e9) for n in range(2)]
    generator = on_sockets(host, ports, Crossed(routed))
    with pytest.raises(InputError, match="does not leave them in a frame"):
        generator.start(Offer(1000.0, 1.0, 64, Profile(macs=10)))


def test_a_linux_bridge_keeps_back_what_it_has_learned(host: LocalHost) -> None:
    """Steps: frames from 200 addresses into each port of a bridge, then frames to these.

    Verify: none of them passes. When the bridge is made to forget half-way, all do but those
    to the first address, which is where these frames come from.
    """
    new = Offer(2000.0, 0.2, 64, Profile(macs=200))
    back = Offer(2000.0, 0.2, 64, Profile(macs=200, macs_as="destination"))
    with wires() as where:
        ip("-n", where.dut, "link", "add", "br0", "type", "bridge")
        for port in ("d0", "d1"):
            ip("-n", where.dut, "link", "set", "dev", port, "master", "br0")
        ip("-n", where.dut, "link", "set", "dev", "br0", "addrgenmode", "none", "up")
        with attached(host, where, Topology(transform=bytes)) as generator:
            for held in (True, False):
                for counts in run_trial(generator, new):
                    assert counts.received == counts.sent == 200
                if not held:
                    forget = ["bridge", "-n", where.dut, "fdb", "flush", "dev", "br0"]
                    subprocess.run(forget, check=True, timeout=30)
                for counts in run_trial(generator, back):
                    assert counts.sent == 200
                    assert counts.received == (0 if held else 199)
                    assert counts.corrupted == counts.duplicated == 0
