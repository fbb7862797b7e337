"""A switch with an endpoint behind it: the arithmetic of its path, what it does to a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_vswitch.apps.testpmd import PortCounters
from pytest_vswitch.topologies.topology import MemifPort, NicPort
from pytest_vswitch.topologies.vhost_chain import Snapshot, VhostChain

NONE = PortCounters(**dict.fromkeys((f.name for f in fields(PortCounters)), 0))
PORTS = [MemifPort(f"memif{index}", f"/run/memif{index}", 10e9) for index in range(2)]


def wired(ports: Sequence[MemifPort | NicPort] = PORTS) -> VhostChain:
    """Enough of one for arithmetic."""
    made: Any = object.__new__(VhostChain)
    made.ports = ports
    made.endpoint = SimpleNamespace(name="guest testpmd")
    return made  # type: ignore[no-any-return]


def counters(**counts: int) -> PortCounters:
    return replace(NONE, **counts)


def snapshot(sent: tuple[int, int], scale: int = 1) -> Snapshot:
    """After `sent[i]` frames into port i; every hop drops a few, by a number of its own.

    Into port 0: 10 at vhost0, 7 missed by the guest, 2 errors there, 5 in the guest's
    forwarding, 4 missed by vhost1, 3 at memif1. Into port 1: the same, times two.
    """

    def after(index: int) -> tuple[int, int, int, int, int, int]:
        times = (index + 1) * scale
        entered = sent[index]
        vhost = entered - 10 * times
        virtio = vhost - 9 * times
        forwarded = virtio - 5 * times
        returned = forwarded - 4 * times
        return entered, vhost, virtio, forwarded, returned, returned - 3 * times

    there, back = after(0), after(1)

    def memif(mine: tuple[int, ...], other: tuple[int, ...], times: int) -> PortCounters:
        return counters(rx_packets=mine[0], tx_packets=other[5], tx_dropped=3 * times * scale)

    def vhost(mine: tuple[int, ...], other: tuple[int, ...], own: int, others: int) -> PortCounters:
        return counters(
            tx_packets=mine[1],
            tx_dropped=10 * own * scale,
            rx_packets=other[4],
            rx_missed=4 * others * scale,
        )

    def virtio(
        mine: tuple[int, ...], other: tuple[int, ...], own: int, others: int
    ) -> PortCounters:
        return counters(
            rx_packets=mine[2],
            rx_missed=7 * own * scale,
            rx_errors=2 * own * scale,
            tx_packets=other[3],
            tx_dropped=5 * others * scale,
        )

    return Snapshot(
        {
            0: memif(there, back, 2),
            1: memif(back, there, 1),
            2: vhost(there, back, 1, 2),
            3: vhost(back, there, 2, 1),
        },
        {0: virtio(there, back, 1, 2), 1: virtio(back, there, 2, 1)},
    )


BEFORE = snapshot((1000, 2000))
AFTER = snapshot((5000, 7000), scale=3)


@pytest.mark.parametrize("tx_port", [0, 1])
def test_a_path_without_faults_balances(tx_port: int) -> None:
    path = wired().path(tx_port, BEFORE, AFTER)
    assert all(hop.balanced for hop in path)
    assert path[0].entered == (4000, 5000)[tx_port]
    times = 2 * (tx_port + 1)
    lost = [10 * times, 9 * times, 5 * times, 4 * times, 3 * times]
    assert [hop.lost for hop in path] == lost
    # What leaves one hop enters the next.
    assert [hop.left for hop in path[:-1]] == [hop.entered for hop in path[1:]]


def test_the_hops_are_those_of_the_drawing() -> None:
    names = [hop.name for hop in wired().path(0, BEFORE, AFTER)]
    assert names == [
        "host testpmd: memif0 -> vhost0",
        "vhost0 -> virtio0",
        "guest testpmd: virtio0 -> virtio1",
        "virtio1 -> vhost1",
        "host testpmd: vhost1 -> memif1",
    ]
    back = [hop.name for hop in wired().path(1, BEFORE, AFTER)]
    swapped = str.maketrans("01", "10")
    assert back == [name.translate(swapped) for name in names]


@pytest.mark.parametrize("tx_port", [0, 1])
@pytest.mark.parametrize(
    ("where", "ports", "counter", "hops"),
    [
        ("switch", (0, 1), "rx_packets", [0]),
        ("switch", (2, 3), "tx_dropped", [0]),
        ("switch", (2, 3), "tx_packets", [0, 1]),
        ("endpoint", (0, 1), "rx_missed", [1]),
        ("endpoint", (0, 1), "rx_errors", [1]),
        ("endpoint", (0, 1), "rx_packets", [1, 2]),
        ("endpoint", (1, 0), "tx_dropped", [2]),
        ("endpoint", (1, 0), "tx_packets", [2, 3]),
        ("switch", (3, 2), "rx_missed", [3]),
        ("switch", (3, 2), "rx_packets", [3, 4]),
        ("switch", (1, 0), "tx_dropped", [4]),
        ("switch", (1, 0), "tx_packets", [4]),
    ],
)
def test_one_wrong_counter_breaks_its_hops_only(
    tx_port: int, where: str, ports: tuple[int, int], counter: str, hops: list[int]
) -> None:
    """`ports`: the port that counts, by the port that is sent into."""
    port = ports[tx_port]
    counts = dict(getattr(AFTER, where))
    counts[port] = replace(counts[port], **{counter: getattr(counts[port], counter) + 1})
    wrong = replace(AFTER, **{where: counts})

    path = wired().path(tx_port, BEFORE, wrong)
    assert [number for number, hop in enumerate(path) if not hop.balanced] == hops
    # The other direction has counters of its own.
    assert all(hop.balanced for hop in wired().path(1 - tx_port, BEFORE, wrong))


def test_frames_come_out_of_the_other_port_with_their_addresses_swapped() -> None:
    frame = bytes.fromhex("0200000000aa 0200000000bb 0800") + bytes(range(46))
    made = wired()
    assert made.transform(frame) == (
        bytes.fromhex("0200000000bb 0200000000aa 0800") + bytes(range(46))
    )
    assert made.transform(made.transform(frame)) == frame
    assert [made.peer(0), made.peer(1)] == [1, 0]


@pytest.mark.parametrize("tx_port", [0, 1])
def test_what_a_nic_misses_is_its_hops_loss(tx_port: int) -> None:
    nics = [NicPort(f"nic{index}", f"0000:11:00.{index}", "", 10e9) for index in range(2)]
    counts = dict(AFTER.switch)
    counts[tx_port] = replace(counts[tx_port], rx_missed=42)
    hop, *others = wired(nics).path(tx_port, BEFORE, replace(AFTER, switch=counts))
    assert hop.name == f"host testpmd: nic{tx_port} -> vhost{tx_port}"
    assert hop.drops["RX-missed"] == 42
    assert hop.balanced
    assert all(other.balanced for other in others)
