"""Programs written apart count the same; a step of the clock and crossed wires fool none."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.measure.way import check_way
from pytest_vswitch.registry import Attach
from pytest_vswitch.topologies.topology import Facts, Hop, Node
from pytest_vswitch.traffic.af_packet.generator import attach as af_packet
from pytest_vswitch.traffic.contract import counted, wrong
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.profile import PLAIN, Profile, Replayed
from pytest_vswitch.traffic.scapy.generator import attach as scapy
from tests.traffic.benches import BENCHES
from tests.traffic.wires import Topology, Wires, ip, lab, reflector, sniffer, wires

ON_INTERFACES: Mapping[str, Attach] = {"af_packet": af_packet, "scapy": scapy}
PROFILES = {
    "plain": PLAIN,
    "IMIX": Profile(sizes=(64,) * 7 + (570,) * 4 + (1518,), flows=50),
    "bursts of VLAN": Profile(burst_frames=10, tags=(100,)),
    "replay": Profile(replay=Replayed("three", (bytes(60), b"1" * 200, b"2" * 1000))),
}
OFFER = Offer(rate_pps=2000.0, duration_s=0.5, frame_bytes=128)

JUMPS = """
import runpy, sys, time
real, real_ns, calls = time.time, time.time_ns, 0
def step_s():
    global calls
    calls += 1
    return calls * 7919 % 86400 - 43200
time.time = lambda: real() + step_s()
time.time_ns = lambda: real_ns() + step_s() * 10**9
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
"""Runs a module whose wall clock steps by up to half a day whenever it is read."""


class Stepping(LocalHost):
    """This machine, where programs see a clock that steps."""

    def python(self, module: str) -> list[str]:
        package = Path(__file__).parents[2]
        return ["env", f"PYTHONPATH={package}", sys.executable, "-c", JUMPS, module]


@pytest.fixture
def where() -> Iterator[Wires]:
    with wires() as made:
        yield made


def seen_by_loop(frames: Sequence[bytes]) -> tuple[object, object]:
    """How many frames there were of each size; and of each flow, the rarest first."""
    flows = Counter((frame[26:34], frame[34:38]) for frame in frames)
    return Counter(map(len, frames)), sorted(flows.values())


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_streams_on_the_same_loop_are_counted_the_same(
    host: LocalHost, where: Wires, profile: str
) -> None:
    """Steps: one DUT that loses every tenth frame; one generator after the other.

    Verify: the same frames went into it; the difference of all counts is 0 frames.
    """
    offer = Offer(OFFER.rate_pps, OFFER.duration_s, OFFER.frame_bytes, PROFILES[profile])
    told, went_in = [], []
    with reflector(where) as err, sniffer(where.dut, "d0") as seen:
        for attach in ON_INTERFACES.values():
            err("drop")
            with attach(lab(where.generator), host, Topology()) as generator:
                seen()
                counts = counted(generator, offer, lost=50)
                told.append([(c.intended, c.sent, c.received, wrong(c)) for c in counts])
                went_in.append(seen_by_loop(seen()))
    assert told[0] == told[1] == [(500, 500, 450, {"lost": 50})] * 2
    assert went_in[0] == went_in[1]


@pytest.mark.parametrize("name", ["af_packet", "memif", "scapy", "trex"])
def test_a_clock_that_steps_spoils_nothing(tmp_path: Path, host: LocalHost, name: str) -> None:
    """Steps: a trial in a program whose wall clock jumps by hours, to and fro.

    Verify: every frame is counted, no time is negative, none as long as a step.
    """
    stepping = Stepping(Path(host.scratch).name, host.transcript, Path(host.scratch))
    with stepping, BENCHES[name](stepping).loop() as loop:
        began = time.monotonic()
        for counts in counted(loop.generator, OFFER):
            assert (counts.intended, counts.sent, counts.received) == (500, 500, 500)
            assert wrong(counts) == {}
            if counts.latency:
                assert 0 < counts.latency.min_us <= counts.latency.max_us < 60e6
            assert all(0 <= silence.length_ms < 60e3 for silence in counts.silences)
        assert OFFER.duration_s <= time.monotonic() - began < 60


Counters = Mapping[str, tuple[int, int]]
"""Frames received and sent, by interface."""


class Chain(Topology):
    """The reflector as a topology whose counters are those of the kernel."""

    name = "reflector"

    def __init__(self, where: Wires, wired_to: Sequence[str]) -> None:
        super().__init__(wired_to)
        self._where = where

    def snapshot(self) -> object:
        told = json.loads(ip("-n", self._where.dut, "-s", "-j", "link", "show", "type", "veth"))
        return {
            one["ifname"]: (one["stats64"]["rx"]["packets"], one["stats64"]["tx"]["packets"])
            for one in told
        }

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        then, now = cast("Counters", before), cast("Counters", after)
        into, out = f"d{tx_port}", f"d{1 - tx_port}"
        entered, left = now[into][0] - then[into][0], now[out][1] - then[out][1]
        return [Hop(f"reflector: {into} -> {out}", entered, left)]

    @property
    def nodes(self) -> Sequence[Node]:
        return ()

    @property
    def facts(self) -> Facts:
        return Facts({}, "", "veth", "none", "none", (), ())

    @property
    def variant(self) -> Mapping[str, str]:
        return {}

    def check_alive(self) -> None: ...


@pytest.mark.parametrize("attach", ON_INTERFACES.values(), ids=ON_INTERFACES)
def test_crossed_wires_are_named(host: LocalHost, where: Wires, attach: Attach) -> None:
    """Steps: the lab file has the generator's two interfaces the wrong way round.

    Verify: every frame comes back all the same; frames from one side at a time tell.
    """
    straight, crossed = Chain(where, ("g0", "g1")), Chain(where, ("g1", "g0"))
    with reflector(where):
        with attach(lab(where.generator), host, straight) as generator:
            check_way(straight, generator)
        with attach(lab(where.generator), host, crossed) as generator:
            check_functional(crossed, generator, 64, 16)
            with pytest.raises(FunctionalError) as told:
                check_way(crossed, generator)
    assert (
        "of 64 frames into nic0, 0 entered and 0 left at reflector: d0 -> d1\n"
        "    64 entered at reflector: d1 -> d0: are the wires of nic0 and nic1 crossed?"
    ) in str(told.value)


@pytest.mark.parametrize("attach", ON_INTERFACES.values(), ids=ON_INTERFACES)
def test_a_cable_from_port_to_port_is_no_dut(host: LocalHost, where: Wires, attach: Attach) -> None:
    """The generator's own ports plugged together: what comes back is what was sent, unswapped."""
    with contextlib.ExitStack() as stack:
        names = ("e0", "e1")
        peer = ["peer", "name", names[1]]
        ip("-n", where.generator, "link", "add", names[0], "type", "veth", *peer)
        cable = Chain(where, names)
        generator = stack.enter_context(attach(lab(where.generator), host, cable))
        with pytest.raises(FunctionalError, match=r"byte 5 \(Ethernet destination\) is 0x02, it"):
            check_functional(cable, generator, 64, 16, wait_s=1.0)
