"""What a trial sends: streams that add up to the offer, to the frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.topology import Flow, plain_flow
from pytest_vswitch.traffic import frames
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.profile import Profile, Replayed
from pytest_vswitch.traffic.trex.latency import latency_of
from pytest_vswitch.traffic.trex.streams import LATENCY_PPS, Stream, plan, plan_replay

FLOW = plain_flow(0, 1)
RATE_BPS = 10e9


def planned(
    share: int, duration_s: float = 1.0, size: int = 128, flow: Flow = FLOW, **profile: object
) -> list[Stream]:
    chosen = Profile(**profile)  # type: ignore[arg-type]
    offer = Offer(2 * share / duration_s, duration_s, size, chosen)
    return plan(offer, flow, 3, share, RATE_BPS)


@pytest.mark.parametrize("share", [0, 1, 9, 10, 99, 12_345, 4_294_967_295])
def test_streams_add_up(share: int) -> None:
    streams = planned(share, duration_s=10)
    assert sum(stream.frames for stream in streams) == share
    assert sum(stream.pps for stream in streams) == pytest.approx(share / 10)
    assert {stream.port for stream in streams} <= {3}
    assert len({stream.pg_id for stream in streams}) == len(streams)


def test_a_plain_trial_sends_the_topologys_frame() -> None:
    main, timed = planned(1000)
    assert main.frame == timed.frame == frames.template(FLOW, 128).hex()
    assert (main.latency, timed.latency) == (False, True)


def test_latency_frames_are_few() -> None:
    """At most one in ten, and no more than the server can receive one by one."""
    assert [s.frames for s in planned(200) if s.latency] == [20]
    assert [s.frames for s in planned(9) if s.latency] == []
    (timed,) = [s for s in planned(10_000_000, duration_s=2.0) if s.latency]
    assert (timed.frames, timed.pps) == (2 * LATENCY_PPS, LATENCY_PPS)


@pytest.mark.parametrize(
    ("sizes", "flows", "timed", "whole"),
    [
        ((64, 132), 10, 64, []),
        ((133, 133, 579), 10, 133, [133, 133, 579]),
        ((133, 1518, 1518), 1, 133, [133]),
        ((580, 1518), 1, None, []),
    ],
)
def test_frames_are_whole_over_memif(
    sizes: Sequence[int], flows: int, timed: int | None, whole: Sequence[int]
) -> None:
    """Each that changes and that the server would else put together from several buffers."""
    offer = Offer(2400.0, 1.0, 64, Profile(sizes=tuple(sizes), flows=flows))
    streams = plan(offer, FLOW, 3, 1200, RATE_BPS, memif=True)
    assert sum(stream.frames for stream in streams) == 1200
    size_of = {s.pg_id: s.frame_bytes + frames.FCS_BYTES for s in streams}
    assert [size_of[s.pg_id] for s in streams if s.latency] == ([timed] if timed else [])
    assert sorted(size_of[s.pg_id] for s in streams if s.whole) == sorted(whole)
    assert not any(s.whole for s in plan(offer, FLOW, 3, 1200, RATE_BPS))


def test_long_frames_of_several_flows_are_refused_over_memif() -> None:
    offer = Offer(2400.0, 1.0, 580, Profile(flows=2))
    with pytest.raises(InputError, match="several flows only of frames up to 579 bytes"):
        plan(offer, FLOW, 3, 1200, RATE_BPS, memif=True)


def sizes_of(streams: Sequence[Stream]) -> Counter[int]:
    sizes: Counter[int] = Counter()
    for stream in streams:
        sizes[len(bytes.fromhex(stream.frame)) + frames.FCS_BYTES] += stream.frames
    return sizes


@pytest.mark.parametrize("share", [1, 2, 11, 12, 13, 1000])
def test_sizes_in_turn(share: int) -> None:
    """Simple IMIX: of 12 frames 7 are of 64, 4 of 570, 1 of 1518 bytes."""
    imix = (64,) * 7 + (570,) * 4 + (1518,)
    assert sizes_of(planned(share, sizes=imix)) == Counter(imix[n % 12] for n in range(share))


def test_a_million_flows() -> None:
    """Addresses of single stations, ports below 65536."""
    main, timed = planned(2_000_000, flows=1_000_000)
    assert main.flows == 1_000_000
    assert main.addresses == 254
    assert main.addresses * main.ports >= main.flows > main.addresses * (main.ports - 1)
    assert main.first_address == FLOW.src_ip == "198.18.0.1"
    assert main.first_port + main.ports <= 1 << 16
    assert timed.flows == 1
    assert [(s.addresses, s.ports) for s in planned(2, flows=25)] == [(25, 1)]


def test_too_few_addresses() -> None:
    last = Flow(FLOW.src_mac, FLOW.dst_mac, "198.18.0.254", FLOW.dst_ip)
    with pytest.raises(InputError, match=r"no 20,000 flows beginning at 198\.18\.0\.254"):
        planned(9, flow=last, flows=20_000)


def test_bursts_keep_the_rate() -> None:
    (stream,) = planned(1000, duration_s=10, size=64, burst_frames=25)
    assert stream.frames == 1000
    assert stream.pps == pytest.approx(RATE_BPS / 8 / 84)
    period_s = stream.burst_frames / stream.pps + stream.pause_us / 1e6
    assert stream.burst_frames / period_s == pytest.approx(100)


@pytest.mark.parametrize(
    ("tags", "vlan", "words"),
    [
        ((100,), None, "81000064"),
        ((100, 200), None, "88a80064810000c8"),
        ((), 7, "81000007"),
        ((), None, ""),
    ],
)
def test_tags(tags: tuple[int, ...], vlan: int | None, words: str) -> None:
    """The profile's or the topology's own, within the frame size."""
    flow = Flow(FLOW.src_mac, FLOW.dst_mac, FLOW.src_ip, FLOW.dst_ip, vlan)
    stream = planned(5, flow=flow, tags=tags)[0]
    frame = bytes.fromhex(stream.frame)
    assert stream.frame[24:].startswith(words + "0800")
    assert len(frame) == 128 - frames.FCS_BYTES
    assert frame[stream.ip_offset] == 0x45


@pytest.mark.parametrize(
    ("share", "size", "profile", "message"),
    [
        (9, 64, {"tags": (1, 2)}, "frame size 64: from 72 to"),
        (9, 63, {}, "frame size 63"),
        (9, 128, {"sizes": (64, 128), "burst_frames": 2}, "evenly, not in bursts"),
        (9, 128, {"flows": 1_000_001}, "can send 1,000,000 flows, not 1,000,001"),
        (999, 128, {"sizes": tuple(range(64, 164))}, "mixes fewer than 100 frame sizes"),
        (1 << 32, 128, {"burst_frames": 2}, "at most 4,294,967,295 such frames of a direction"),
        (9, 128, {"labels": (16,)}, "can send 0 MPLS labels, not 1 over cards: it knows its"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    share: int, size: int, profile: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        planned(share, size=size, **profile)


def test_more_than_a_burst_can_have_is_endless() -> None:
    """And is due in the trial's time all the same, latency frames and sizes included."""
    for sizes, flows in (((), 1), ((128, 256, 128), 9)):
        streams = planned(1 << 32, duration_s=1000, sizes=sizes, flows=flows)
        assert all(stream.endless for stream in streams)
        assert sum(stream.frames for stream in streams) == 1 << 32
        assert sum(stream.pps for stream in streams) == pytest.approx((1 << 32) / 1000)
    assert not any(stream.endless for stream in planned((1 << 32) - 1, duration_s=1000))


def test_labelled_frames_are_counted_by_ports() -> None:
    """The server's parser finds no IP header in them, so that they have no packet group."""
    profile = Profile(labels=(100, 200), tags=(7,), flows=30)
    offer = Offer(2000.0, 1.0, 128, profile)
    (stream,) = plan(offer, FLOW, 3, 1000, RATE_BPS, memif=True)
    assert (stream.frames, stream.pg_id, stream.latency) == (1000, 0, False)
    assert stream.frame[24:].startswith("81000007" + "8847" + "00064040" + "000c8140" + "45")
    assert bytes.fromhex(stream.frame)[stream.ip_offset] == 0x45


def test_exact_frames_are_not_for_cards_nor_bursts() -> None:
    replay = Replayed("two", (bytes(60), bytes(64)))
    for memif, burst, message in (
        (False, 1, "cannot replay frames over cards: it knows its frames there by what"),
        (True, 2, "replays frames evenly, not in bursts"),
    ):
        offer = Offer(2000.0, 1.0, 128, Profile(replay=replay, burst_frames=burst))
        with pytest.raises(InputError, match=message):
            plan_replay(offer, replay, 3, 1000, memif=memif)


def test_percentiles_are_the_upper_edges_of_the_servers_buckets() -> None:
    """As TRex says it: `{lower edge [µs]: frames}`, one significant digit."""
    histogram = {"8": 900, "20": 80, "300": 19, "1000": 1}
    told = {"histogram": histogram, "total_min": 8, "total_max": 1234, "average": 12.0}
    latency = latency_of(told)
    assert latency is not None
    assert latency.samples == 1000
    assert (latency.min_us, latency.max_us) == (8, 1234)
    percentiles = (latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us)
    assert percentiles == (9, 9, 400, 400)


def test_a_percentile_is_never_beyond_the_longest_delay() -> None:
    latency = latency_of({"histogram": {20: 5}, "total_min": 21, "total_max": 25})
    assert latency is not None
    assert (latency.min_us, latency.p50_us, latency.max_us) == (21, 25, 25)


def test_a_server_that_tells_no_minimum() -> None:
    """Before v2.8x: the least bucket stands for it."""
    latency = latency_of({"histogram": {0: 1, 10: 9}, "total_max": 15})
    assert latency is not None
    assert 0 < latency.min_us <= latency.p50_us == 15


def test_no_latency_without_frames() -> None:
    assert latency_of({}) is None
    assert latency_of({"histogram": {}, "total_max": 0}) is None
