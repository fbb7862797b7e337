"""The contract of traffic generators as a test suite, for ours and for anybody's.

A package that adds a generator (an entry point of `pytest_vswitch.generators`) tests it so:

    from pytest_vswitch.traffic.contract import *

    @pytest.fixture(scope="module")
    def bench() -> Bench:
        return MyBench()

A bench attaches the generator to a loop of two ports, each the other's peer, that errs on
purpose. What a generator sends there and counts is known to the frame. See docs/generators.md.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import pytest

from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.traffic.generator import DirectionCounts, Generator, Offer
from pytest_vswitch.traffic.profile import Profile, Replayed

EVERY = 10
"""A fault meets one frame of each direction in so many."""
FAULTS: Mapping[str, Sequence[str]] = {
    "none": (),
    "drop": ("lost",),
    "corrupt": ("lost", "corrupted"),
    "longer": ("lost", "corrupted"),
    "duplicate": ("duplicated",),
    "reorder": ("reordered",),
    "chatter": ("foreign",),
    "silent": ("lost",),
}
"""What each fault of a loop adds to the counts; `silent` loses every frame. `chatter` are
frames that the loop itself sends; `longer` appends bytes; `reorder` swaps two."""

DEADLINE_S = 60.0
_EACH = 250
"""Frames of each direction in a trial."""
_SIZE = 128
_ENDS = {"destination": 0, "source": 6}
"""Where the MAC addresses are [bytes]."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A generator that is attached to a running loop."""

    generator: Generator
    err: Callable[[str], None]
    """From now on with that one of `FAULTS`, beginning with the next frame of each port."""
    seen: Callable[[], Sequence[bytes]] | None = None
    """The frames that came into the loop's port 0 since the last call; None: it cannot tell."""
    cut: Callable[[], None] | None = None
    """Takes the loop, or its link, away for good; None: there is no such thing."""
    kill: Callable[[], None] | None = None
    """Kills the generator's own process, its server for instance; None: it has none."""


class Bench(Protocol):
    """Where a generator is tested."""

    @property
    def faults(self) -> Sequence[str]:
        """Those of `FAULTS` that the loop can be given; `none` and `drop` at least."""

    @property
    def rate_pps(self) -> float:
        """A load that generator and loop carry without doubt, both directions [frames/s]."""

    @property
    def too_fast_pps(self) -> float:
        """A load that the generator cannot offer, both directions [frames/s]."""

    def transform(self, frame: bytes) -> bytes:
        """What the loop makes of a frame, without FCS."""

    def loop(self) -> AbstractContextManager[Loop]:
        """A loop without fault, and the generator attached, until the block ends."""


def wrong(counts: DirectionCounts) -> dict[str, int]:
    """What is not as on a loop loop, by name of the count."""
    names = ("refused", "lost", "duplicated", "reordered", "corrupted", "foreign")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def counted(generator: Generator, offer: Offer, *, lost: int = 0) -> list[DirectionCounts]:
    """The counts of one trial, by port; raises what the generator does.

    A loop that had no CPU for a moment is waited for while more than `lost` frames of a
    direction are missing, as `TrialRunner` does while the DUT's books say so.
    """
    generator.start(offer)
    deadline = time.monotonic() + offer.duration_s + DEADLINE_S
    while (counts := generator.poll(1.0)) is None:
        assert time.monotonic() < deadline, f"{generator.description}: its trial does not end"
    while any(c.lost - c.refused > lost for c in counts) and time.monotonic() < deadline:
        counts = generator.recount()
    return sorted(counts, key=lambda direction: direction.tx_port)


@pytest.fixture(scope="module")
def attached(bench: Bench) -> Iterator[Loop]:
    """The loop that the tests share."""
    with bench.loop() as loop:
        yield loop


@pytest.fixture
def loop(attached: Loop) -> Iterator[Loop]:
    """Without fault at first, and at the end."""
    yield attached
    attached.err("none")


def offer_of(bench: Bench, profile: Profile | None = None) -> Offer:
    offer = Offer(bench.rate_pps, 2 * _EACH / bench.rate_pps, _SIZE)
    return offer if profile is None else dataclasses.replace(offer, profile=profile)


def check_clean(bench: Bench, generator: Generator, profile: Profile | None = None) -> None:
    """A trial whose every frame was sent as intended and came back, and no other."""
    offer = offer_of(bench, profile)
    for port, counts in enumerate(counted(generator, offer)):
        assert (counts.tx_port, counts.rx_port) == (port, 1 - port)
        assert (counts.intended, counts.sent, counts.received) == (_EACH, _EACH, _EACH)
        assert wrong(counts) == {}


def test_it_says_what_it_is(loop: Loop) -> None:
    generator = loop.generator
    assert generator.description.strip()
    assert "\n" not in generator.description
    assert ("simulated" in generator.description) == generator.simulated


def test_exact_frames_come_back_exactly(bench: Bench, loop: Loop) -> None:
    """Of several lengths, more into one port than into the other; nobody's are lost or added."""
    long = [bytes([number]) * (60 + 14 * number) for number in range(1, 100)]
    sent = {0: long, 1: [bytes(range(200))]}
    back = loop.generator.exchange(sent, wait_s=DEADLINE_S)
    for port in (0, 1):
        assert Counter(back[1 - port]) == Counter(map(bench.transform, sent[port]))
    assert loop.generator.exchange({1: [bytes(60)]}, wait_s=DEADLINE_S) == {
        0: [bench.transform(bytes(60))],
        1: [],
    }


def test_every_frame_of_a_trial_is_counted(bench: Bench, loop: Loop) -> None:
    check_clean(bench, loop.generator)


def test_trials_and_exchanges_in_any_order(bench: Bench, loop: Loop) -> None:
    """One does not see what another sent; frame sizes change between them."""
    generator = loop.generator
    for frame_bytes in (64, 1518, 65):
        offer = dataclasses.replace(offer_of(bench), frame_bytes=frame_bytes)
        assert [wrong(counts) for counts in counted(generator, offer)] == [{}, {}]
        back = generator.exchange({0: [bytes(60)]}, wait_s=DEADLINE_S)
        assert back == {0: [], 1: [bench.transform(bytes(60))]}


def test_an_odd_number_of_frames_is_split_to_the_frame(bench: Bench, loop: Loop) -> None:
    offer = Offer(bench.rate_pps, 333 / bench.rate_pps, _SIZE)
    counts = counted(loop.generator, offer)
    total = sum(direction.intended for direction in counts)
    if loop.generator.simulated:
        assert abs(total - 333) <= 1
    else:
        assert total == 333
    assert [c.sent for c in counts] == [c.received for c in counts] == [c.intended for c in counts]


def test_latency_is_told_by_those_who_say_so(bench: Bench, loop: Loop) -> None:
    """Percentiles of as many frames as came back, in order, above nothing and below the trial."""
    for counts in counted(loop.generator, offer_of(bench)):
        latency = counts.latency
        if not loop.generator.capabilities.latency:
            assert latency is None
            continue
        assert latency is not None
        assert 0 < latency.samples <= counts.received
        told = [latency.min_us, latency.p50_us, latency.p90_us, latency.p99_us]
        told += [latency.p999_us, latency.max_us]
        assert told == sorted(told)
        assert told[0] > 0
        assert told[-1] < DEADLINE_S * 1e6


def test_a_recount_after_the_end_changes_nothing(bench: Bench, loop: Loop) -> None:
    counts = counted(loop.generator, offer_of(bench))
    again = sorted(loop.generator.recount(), key=lambda direction: direction.tx_port)
    for before, now in zip(counts, again, strict=True):
        assert (now.sent, now.received, wrong(now)) == (before.sent, before.received, {})


def test_an_aborted_trial_leaves_no_trace(bench: Bench, loop: Loop) -> None:
    """Aborting what does not run is nothing; one trial ends the one before."""
    generator = loop.generator
    endless = Offer(bench.rate_pps, 3600.0, _SIZE)
    generator.abort()
    generator.start(endless)
    if not generator.simulated:  # its hour is over at once
        assert generator.poll(0.2) is None
    generator.abort()
    generator.abort()
    check_clean(bench, generator)
    generator.start(endless)
    check_clean(bench, generator)


@pytest.mark.parametrize(
    "profile",
    [
        Profile(sizes=(64, 570, 64, 1518)),
        Profile(flows=25),
        Profile(burst_frames=25),
        Profile(tags=(100,)),
        Profile(tags=(100, 200)),
        Profile(labels=(100,)),
        Profile(labels=(16, 200, 1048575), tags=(100,), flows=25),
        Profile(vxlan=4242),
        Profile(macs=25),
        Profile(macs=10, macs_as="destination", tags=(100,), flows=25),
        Profile(sizes=(118, 570, 1518), flows=25, tags=(100,), vxlan=4242),
        Profile(replay=Replayed("three", tuple(bytes([n]) * (60 + n) for n in range(3)))),
    ],
    ids=[
        "sizes",
        "flows",
        "bursts",
        "VLAN",
        "QinQ",
        "MPLS",
        "MPLS in VLAN",
        "VXLAN",
        "MACs",
        "to MACs",
        "all in VXLAN",
        "replay",
    ],
)
def test_what_it_says_that_it_can_send_it_can(bench: Bench, loop: Loop, profile: Profile) -> None:
    """And what it cannot it refuses, before it sends a frame; the next trial is clean."""
    generator = loop.generator
    if loop.seen:
        loop.seen()
    if lacking := generator.capabilities.lacks(profile):
        with pytest.raises(InputError, match=lacking):
            generator.start(offer_of(bench, profile))
        assert not (loop.seen and loop.seen())
    else:
        check_clean(bench, generator, profile)
        if loop.seen:
            check_frames(loop.seen(), profile)
    check_clean(bench, generator)


@pytest.mark.parametrize("what", ["flows", "burst_frames", "tags", "labels", "macs"])
def test_one_more_than_it_can_is_refused(bench: Bench, loop: Loop, what: str) -> None:
    able = loop.generator.capabilities
    beyond = {
        "flows": Profile(flows=able.max_flows + 1),
        "burst_frames": Profile(burst_frames=able.max_burst_frames + 1),
        "tags": Profile(tags=tuple(range(1, able.max_tags + 2))),
        "labels": Profile(labels=tuple(range(100, able.max_labels + 101))),
        "macs": Profile(macs=able.max_macs + 1),
    }[what]
    with pytest.raises(InputError, match="can send"):
        loop.generator.start(offer_of(bench, beyond))
    check_clean(bench, loop.generator)


def test_what_it_cannot_offer_is_no_loss(bench: Bench, loop: Loop) -> None:
    """Too fast for it: it sends less than intended, and all that the loop took comes back."""
    generator = loop.generator
    for direction in counted(generator, Offer(bench.too_fast_pps, 0.1, 64)):
        assert direction.sent < direction.intended
        assert direction.lost == direction.refused
        assert set(wrong(direction)) <= {"refused", "lost"}
    check_clean(bench, generator)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_dut_is_counted_exactly(bench: Bench, loop: Loop, fault: str) -> None:
    """Twice: a trial does not see what became of the one before."""
    if fault not in bench.faults:
        assert fault not in ("none", "drop"), "a loop must be able to lose frames"
        return
    met = _EACH if fault == "silent" else _EACH // EVERY
    for _ in range(2):
        loop.err(fault)
        lost = met if "lost" in FAULTS[fault] else 0
        for direction in counted(loop.generator, offer_of(bench), lost=lost):
            assert direction.intended == direction.sent == _EACH
            assert wrong(direction) == dict.fromkeys(FAULTS[fault], met)


def test_an_exchange_ends_when_nothing_comes(bench: Bench, loop: Loop) -> None:
    if "silent" not in bench.faults:
        return
    loop.err("silent")
    assert loop.generator.exchange({0: [bytes(60)]}, wait_s=0.2) == {0: [], 1: []}


@pytest.mark.parametrize("who", ["cut", "kill"])
def test_who_is_gone_in_a_trial_is_named(bench: Bench, who: str) -> None:
    """The DUT or its link: DutError. The generator itself: HostError, which says so."""
    with bench.loop() as loop:
        end = loop.cut if who == "cut" else loop.kill
        if end is None:
            return
        loop.generator.start(Offer(bench.rate_pps, 3600.0, _SIZE))
        assert loop.generator.poll(0.2) is None
        end()
        gone, named = (DutError, ".") if who == "cut" else (HostError, "generator")
        with pytest.raises(gone, match=named):
            assert loop.generator.poll(DEADLINE_S) is None
        if who == "kill":
            with pytest.raises(HostError):
                counted(loop.generator, offer_of(bench))


def check_frames(frames: Sequence[bytes], profile: Profile) -> None:
    """Raise AssertionError unless they are what the profile says, in their order."""
    assert len(frames) == _EACH
    if profile.replay:
        exact = profile.replay.frames
        assert list(frames) == [exact[number % len(exact)] for number in range(_EACH)]
        return
    sizes = profile.sizes or (_SIZE,)
    each = Counter(len(frame) + 4 for frame in frames)
    assert each == Counter(sizes[number % len(sizes)] for number in range(_EACH))
    after = 12 + 4 * len(profile.tags) + 4 * len(profile.labels)
    kinds = (0x88A8, 0x8100) if len(profile.tags) == 2 else (0x8100,)
    tags = b"".join(
        kind.to_bytes(2, "big") + tag.to_bytes(2, "big")
        for kind, tag in zip(kinds, profile.tags, strict=False)
    )
    entries = [label << 12 | 64 for label in profile.labels]
    last = len(entries) - 1
    stack = b"".join(
        (entry | (place == last) << 8).to_bytes(4, "big") for place, entry in enumerate(entries)
    )
    kind = b"\x88\x47" if stack else b"\x08\x00"
    assert {frame[12 : after + 2] for frame in frames} == {tags + kind + stack}
    if profile.vxlan is not None:
        behind_udp = after + 30
        ports = {frame[behind_udp - 6 : behind_udp - 4] for frame in frames}
        header = {frame[behind_udp : behind_udp + 8] for frame in frames}
        assert ports == {b"\x12\xb5"}
        assert header == {b"\x08\0\0\0" + profile.vxlan.to_bytes(3, "big") + b"\0"}
        after += 50  # the inner frame's
    ends = {part: Counter(frame[at : at + 6] for frame in frames) for part, at in _ENDS.items()}
    for part, macs in ends.items():
        varied = part == profile.macs_as and profile.macs > 1
        assert set(macs.values()) == {_EACH // profile.macs if varied else _EACH}
    if profile.macs_as == "destination":
        assert set(ends["source"]) <= set(ends["destination"]), "to where they come from"
    flows = {frame[after + 14 : after + 26] for frame in frames}  # addresses and ports
    assert len(flows) == profile.flows
