"""Trials over memif ports: frames without a packet group, full queues, frames that come late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.traffic.contract import check_frames
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.profile import Profile, Replayed
from pytest_vswitch.traffic.trex import streams
from pytest_vswitch.traffic.trex.generator import TrexGenerator
from tests.traffic.trex.bench import attached, double
from tests.traffic.trex.data_plane import Dut
from tests.traffic.trex.emulated_server import EmulatedServer
from tests.traffic.trex.test_server import started

DEADLINE_S = 60.0
EACH = 250
"""Frames of each direction, as `check_frames` wants them."""
RATE_PPS = 2500.0
FRAMES = tuple(bytes([number]) * (60 + number) for number in range(7))
"""No IP header in any of them."""


@dataclass(frozen=True)
class Bench:
    """The generator on memif ports, and its emulated server."""

    generator: TrexGenerator
    server: EmulatedServer

    def err(self, dut: Dut, capacity_pps: float = float("inf")) -> None:
        with self.server.lock:
            self.server.plane.dut = dut
            self.server.plane.capacity_pps = capacity_pps
            self.server.plane.kept.clear()


@pytest.fixture(scope="module")
def shared(here: LocalHost) -> Iterator[Bench]:
    with EmulatedServer() as server:
        ports: dict[str, Any] = {"sync_port": server.sync_port, "async_port": server.async_port}
        with started(here, double(here), server="running", **ports) as generator:
            yield Bench(generator, server)
        assert not server.refused, "the client was refused something"


@pytest.fixture
def bench(shared: Bench) -> Bench:
    shared.err(Dut())
    return shared


def trial(generator: TrexGenerator, profile: Profile) -> Sequence[DirectionCounts]:
    generator.start(Offer(RATE_PPS, 2 * EACH / RATE_PPS, 128, profile))
    counts = generator.poll(DEADLINE_S)
    assert counts
    return counts


@pytest.mark.parametrize(
    "profile",
    [
        Profile(labels=(100,)),
        Profile(labels=(16, 1_048_575), tags=(5,), flows=25),
        Profile(replay=Replayed("one", FRAMES[:1])),
        Profile(replay=Replayed("seven", FRAMES)),
        Profile(replay=Replayed("two hundred", FRAMES * 30)),
        Profile(replay=Replayed("three hundred", FRAMES * 43)),
    ],
    ids=lambda profile: " ".join(map(str, profile.parameters.values())),
)
def test_frames_without_a_packet_group(bench: Bench, profile: Profile) -> None:
    """Every byte and their order as asked; counted by ports: sent, refused, lost.

    Whole loops and parts of one; more frames than the trial sends.
    """
    for direction in trial(bench.generator, profile):
        assert (direction.intended, direction.sent, direction.received) == (EACH, EACH, EACH)
        assert (direction.refused, direction.duplicated, direction.latency) == (0, 0, None)
    with bench.server.lock:
        sent = list(bench.server.plane.kept)
    check_frames(sent, profile)
    bench.err(Dut(refuses_every=10, refusing=(1,), loses_every=25))
    first, second = sorted(trial(bench.generator, profile), key=lambda counts: counts.tx_port)
    assert (first.sent, first.refused, first.lost) == (EACH, 0, 10)
    assert (second.sent, second.refused, second.lost) == (EACH, 25, 35)


def test_cards_have_neighbours(here: LocalHost) -> None:
    """All frames that come to one are no count of ours: refused before a frame is sent."""
    exact = Profile(replay=Replayed("seven", FRAMES))
    with EmulatedServer() as server, attached(here, server) as generator:
        for profile in (exact, Profile(labels=(100,))):
            with pytest.raises(InputError, match=r"over cards: it knows its frames there by"):
                generator.start(Offer(RATE_PPS, 1.0, 128, profile))
        assert "start_traffic" not in server.rpc.called


def test_a_full_queue_is_that_of_its_port(bench: Bench) -> None:
    bench.err(Dut(refuses_every=10, refusing=(0,), loses_every=25))
    first, second = sorted(trial(bench.generator, Profile()), key=lambda counts: counts.tx_port)
    assert (first.refused, first.lost) == (25, 35)
    assert (second.refused, second.lost) == (0, 10)


@pytest.mark.parametrize("why", ["finished", "too slow"])
def test_what_is_under_way_when_a_trial_is_stopped_is_counted(bench: Bench, why: str) -> None:
    """TRex itself would not, after its client's `stop`: a ring full of frames was missing."""
    generator = bench.generator
    if why == "too slow":
        bench.err(Dut(late_s=0.3), capacity_pps=RATE_PPS / 10)
        counts: Sequence[DirectionCounts] | None = trial(generator, Profile())
    else:
        bench.err(Dut(late_s=0.3))
        generator.start(Offer(RATE_PPS, 3600.0, 128))
        assert generator.poll(0.5) is None
        generator.finish()
        counts = generator.poll(DEADLINE_S)
    assert counts
    for direction in counts:
        assert direction.sent > 0
        assert direction.received == direction.sent
        if why == "too slow":
            assert direction.sent < direction.intended


def test_an_endless_stream_ends_with_its_trial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sent until then, the server says; none of that is missing."""
    monkeypatch.setattr(streams, "_MOST_FRAMES", EACH - 1)
    counts = trial(bench.generator, Profile(sizes=(64, 128), flows=5))
    with bench.server.lock:
        sent = [s for port in bench.server.plane.ports for s in port.streams.values()]
    assert {stream.definition["mode"]["type"] for stream in sent} == {"continuous"}
    for direction in counts:
        assert EACH - len(sent) <= direction.sent <= EACH
        assert direction.sent == direction.received <= direction.intended
