"""A vSwitch with endpoints behind it: the arithmetic of its path, what it does to a frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_vswitch.topologies import macswap
from pytest_vswitch.topologies.chain import Chain, Snapshot
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.topology import Flow, MemifPort, plain_flow
from pytest_vswitch.topologies.vswitches import Reading

PORTS = [MemifPort(f"memif{index}", f"/run/memif{index}", 10e9) for index in range(2)]


@dataclass
class Swapper:
    """An endpoint that swaps MAC addresses, and wants a VLAN tag on what enters its port 1."""

    name: str

    def transform(self, frame: bytes, entered: int) -> bytes:
        return macswap.transform(frame) + bytes([entered])

    def flow(self, entered: int, plain: Flow) -> Flow:
        if not entered:
            return plain
        return Flow(plain.src_mac, plain.dst_mac, plain.src_ip, plain.dst_ip, vlan=7)


@dataclass
class Counters:
    """Counters of a chain, made by sending frames through it that are lost here and there."""

    endpoints: int
    ports: dict[str, dict[str, Any]] = field(default_factory=dict)

    def _port(self, name: str) -> dict[str, Any]:
        empty = {"rx": 0, "tx": 0, "rx_drops": {}, "tx_drops": {}, "discards": {}}
        return self.ports.setdefault(name, empty)

    def _drop(self, name: str, where: str, why: str, count: int) -> None:
        drops = self._port(name)[where]
        drops[why] = drops.get(why, 0) + count

    def send(self, port: int, frames: int) -> None:
        """At each place one frame more than at the one before is lost."""
        lost = iter(range(1, 99))
        line = [f"memif{port}"]
        order = range(self.endpoints) if port == 0 else reversed(range(self.endpoints))
        for number in order:
            entered, left = (2 * number + way for way in (port, 1 - port))
            line += [f"vhost{entered}", f"virtio{entered}", f"virtio{left}", f"vhost{left}"]
        line.append(f"memif{1 - port}")
        pairs = list(itertools.pairwise(line))
        self._port(line[0])["rx"] += frames
        for index, (here, there) in enumerate(pairs):
            if index % 2 == 0:  # through a program
                self._drop(here, "discards", "no flow", drop := next(lost))
                frames -= drop
                self._drop(there, "tx_drops", "TX-dropped", drop := next(lost))
                frames -= drop
                self._port(there)["tx"] += frames
            else:  # over a ring
                self._drop(there, "rx_drops", "RX-missed", drop := next(lost))
                frames -= drop
                self._port(there)["rx"] += frames

    def snapshot(self) -> Snapshot:
        def counts(name: str) -> PortCounts:
            port = self._port(name)
            drops = {kind: dict(port[kind]) for kind in ("rx_drops", "tx_drops", "discards")}
            return PortCounts(port["rx"], port["tx"], **drops)

        vhosts = [f"vhost{index}" for index in range(2 * self.endpoints)]
        return Snapshot(
            Reading({name: counts(name) for name in ("memif0", "memif1", *vhosts)}),
            [
                (counts(f"virtio{2 * number}"), counts(f"virtio{2 * number + 1}"))
                for number in range(self.endpoints)
            ],
        )


def chain(endpoints: int) -> Chain:
    """Enough of one for arithmetic."""

    def facts(before: Reading, after: Reading) -> Mapping[str, str]:
        return {"cache": "hot"}

    return Chain(
        "it",
        SimpleNamespace(),
        PORTS,
        SimpleNamespace(name="switch", facts_between=facts),
        [Swapper(f"guest {number}") for number in range(endpoints)],  # type: ignore[misc]
        generator_cpu=None,
        pages=SimpleNamespace(),  # type: ignore[arg-type]
        remarks=(),
        variant={},
    )


@pytest.mark.parametrize("endpoints", [0, 1, 2, 3])
@pytest.mark.parametrize("port", [0, 1])
def test_the_books_of_a_path_balance_and_join(endpoints: int, port: int) -> None:
    counters = Counters(endpoints)
    counters.send(0, 5000)
    counters.send(1, 7000)
    before = counters.snapshot()
    counters.send(0, 10_000)
    counters.send(1, 20_000)
    hops = chain(endpoints).path(port, before, counters.snapshot())
    assert len(hops) == 1 + 4 * endpoints
    assert hops[0].entered == (10_000, 20_000)[port]
    assert all(hop.balanced and hop.lost > 0 for hop in hops)
    assert all(one.left == other.entered for one, other in itertools.pairwise(hops))


def test_each_loss_has_the_name_of_its_hop() -> None:
    counters = Counters(2)
    before = counters.snapshot()
    counters.send(1, 100_000)
    hops = chain(2).path(1, before, counters.snapshot())
    assert [hop.name for hop in hops] == [
        "switch: memif1 -> vhost3",
        "vhost3 -> virtio3",
        "guest 1: virtio3 -> virtio2",
        "virtio2 -> vhost2",
        "switch: vhost2 -> vhost1",
        "vhost1 -> virtio1",
        "guest 0: virtio1 -> virtio0",
        "virtio0 -> vhost0",
        "switch: vhost0 -> memif0",
    ]
    assert [dict(hop.drops) for hop in hops[:3]] == [
        {"no flow": 1, "TX-dropped": 2},
        {"RX-missed": 3},
        {"no flow": 4, "TX-dropped": 5},
    ]
    assert [dict(hop.facts) for hop in hops] == [
        {"cache": "hot"} if hop.name.startswith("switch") else {} for hop in hops
    ]


def test_what_a_port_missed_is_lost_at_the_vswitch() -> None:
    """A NIC counts frames that never reached the program."""
    counters = Counters(0)
    before = counters.snapshot()
    counters.send(0, 100)
    counters._drop("memif0", "rx_drops", "RX-missed", 11)
    [hop] = chain(0).path(0, before, counters.snapshot())
    assert (hop.entered, hop.left) == (111, 97)
    assert dict(hop.drops) == {"RX-missed": 11, "no flow": 1, "TX-dropped": 2}
    assert hop.balanced


def test_a_frame_goes_through_every_endpoint_in_order() -> None:
    frame = bytes(range(14)) + b"payload"
    there, back = (chain(2).transform(frame, port) for port in (0, 1))
    assert there == frame + b"\0\0"  # swapped twice, entered by ports 0 and 0
    assert back == frame + b"\1\1"
    assert chain(1).transform(frame, 1)[:12] == frame[6:12] + frame[:6]
    assert chain(0).transform(frame, 1) == frame


def test_an_endpoint_says_how_frames_must_be_addressed() -> None:
    assert chain(0).flow(1) == plain_flow(1, 0)
    assert chain(1).flow(0).vlan is None
    assert chain(1).flow(1).vlan == 7


def test_the_drawing_has_each_box() -> None:
    def boxes() -> Iterator[tuple[str, Sequence[str]]]:
        for endpoint in (made := chain(2)).endpoints:
            endpoint.__dict__["where"] = "guest"
        yield from ((node.name, node.ports) for node in made.nodes)

    assert list(boxes()) == [
        ("generator", ("memif0", "memif1")),
        ("switch", ("memif0", "memif1", "vhost0", "vhost1", "vhost2", "vhost3")),
        ("guest 0", ("virtio0", "virtio1")),
        ("guest 1", ("virtio2", "virtio3")),
    ]
