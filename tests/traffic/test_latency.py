"""What a delay is counted from, how delays are kept, and what is read from them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic import stream as stream_module
from pytest_vswitch.traffic.generator import Latency
from pytest_vswitch.traffic.latency import Delays, Histogram
from tests.traffic.test_memif_stream import SIZE, Wire

MS = 1_000_000
PERCENTS = (0, 0.1, 50, 90, 99, 99.9, 99.99, 100)


class Clock:
    """Stands still until it is told to go on [ns]."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stream_module, "monotonic_ns", clock)
    return clock


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.port.close()


def latency(wire: Wire) -> Latency:
    found = wire.stream.counts(0, 0).latency
    assert found is not None
    return found


# --- the histogram ---


def drawn(seed: int) -> tuple[Histogram, list[int]]:
    delays = np.random.default_rng(seed).lognormal(10, 2, 20011).astype(int).tolist()
    histogram = Histogram()
    for delay in delays:
        histogram.add(delay, 3)
    return histogram, delays


def test_percentiles_agree_with_numpy() -> None:
    histogram, delays = drawn(1)
    assert histogram.samples == 60033
    assert (histogram.min_us, histogram.max_us) == (min(delays) / 1e3, max(delays) / 1e3)
    assert histogram.mean_us == pytest.approx(np.mean(delays) / 1e3, rel=0.004)
    for percent in PERCENTS:
        exact = np.percentile(delays, percent, method="inverted_cdf") / 1e3
        assert histogram.percentile_us(percent) == pytest.approx(exact, rel=0.004)


@pytest.mark.parametrize(("samples", "above"), [(999, 0), (1000, 0), (1001, 1)])
def test_one_frame_in_a_thousand_does_not_move_the_99_9th(samples: int, above: int) -> None:
    histogram = Histogram()
    histogram.add(10, samples - 1 - above)
    histogram.add(200, 1 + above)
    assert histogram.percentile_us(99.9) == (0.2 if above else 0.01 if samples == 1000 else 0.2)


def test_delays_of_nothing() -> None:
    delays = Delays()
    assert delays.summary() is None
    delays.add(0, 1, 0)
    summary = delays.summary()
    assert summary is not None
    assert (summary.min_us, summary.p50_us, summary.max_us, summary.mean_us) == (0, 0, 0, 0)
    assert summary.ipdv_max_us is None


def test_the_encoding_is_read_by_hdrhistogram() -> None:
    histogram, _ = drawn(2)
    histogram.add(1 << 45, 1)
    histogram.add(7, 1 << 40)
    theirs = HdrHistogram.decode(histogram.encode())
    assert theirs.get_total_count() == histogram.samples
    for percent in PERCENTS:
        mine = histogram.percentile_us(percent) * 1e3
        # Theirs is the end of the bucket, mine its middle.
        assert theirs.get_value_at_percentile(percent) == pytest.approx(mine, rel=0.008)


def test_the_encoding_of_hdrhistogram_is_read() -> None:
    theirs = HdrHistogram(1, (1 << 46) - 1, 2)
    for value, count in ((0, 4), (255, 1), (256, 2), (10**6, 1 << 50), (1 << 45, 3)):
        theirs.record_value(value, count)
    mine = Histogram.decode(theirs.encode().decode())
    assert mine.samples == theirs.get_total_count()
    assert [count for count in mine.counts if count] == [4, 1, 2, 1 << 50, 3]
    assert mine.percentile_us(50) == pytest.approx(1000, rel=0.004)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_encoded_is_decoded(seed: int) -> None:
    histogram, _ = drawn(seed)
    again = Histogram.decode(histogram.encode())
    assert again.counts == histogram.counts
    assert again.encode() == histogram.encode()
    assert again.max_us == pytest.approx(histogram.max_us, rel=0.004)
    assert Histogram.decode(Histogram().encode()).samples == 0


def damaged() -> Iterator[str]:
    text = drawn(1)[0].encode()
    yield ""
    yield "no base64!"
    yield base64.b64encode(b"too short").decode()
    yield base64.b64encode(base64.b64decode(text)[:-9]).decode()
    yield base64.b64encode(b"\1" + base64.b64decode(text)[1:]).decode()
    yield HdrHistogram(1, 10**9, 3).encode().decode()


@pytest.mark.parametrize("text", [*damaged()])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no histogram of delays"):
        Histogram.decode(text)


# --- variation, RFC 5481 ---


def carried(wire: Wire, clock: Clock, delays_us: list[int], lost: Callable[[int], bool]) -> Latency:
    """What is told of frames that take so long, one after the other."""
    for number, delay_us in enumerate(delays_us):
        wire.stream.send(1)
        sent = wire.take(1)
        clock.now_ns += delay_us * 1000
        if not lost(number):
            wire.put(sent)
        wire.stream.collect()
    return latency(wire)


def test_variation_of_known_delays(wire: Wire, clock: Clock) -> None:
    """Nine changes: 20 µs eight times, and once 180 µs."""
    found = carried(wire, clock, [100, 120] * 4 + [100, 280], lambda number: False)
    assert found.samples == 10
    assert found.ipdv_p50_us == pytest.approx(20, rel=0.004)
    assert found.ipdv_p99_us == pytest.approx(180, rel=0.004)
    assert found.ipdv_max_us == 180
    assert found.pdv_p50_us == pytest.approx(0, abs=0.5)
    assert found.pdv_max_us == 180
    assert found.mean_us == pytest.approx(126, rel=0.004)


def test_a_lost_frame_has_no_neighbours(wire: Wire, clock: Clock) -> None:
    """Around it the delay changes by 500 µs, which no two frames in a row did."""
    found = carried(wire, clock, [100, 100, 100, 600, 600], lambda number: number == 2)
    assert (found.samples, found.ipdv_max_us) == (4, 0)
    assert found.max_us == 600


def test_frames_sent_and_seen_together_do_not_vary(wire: Wire, clock: Clock) -> None:
    for delay_us in (50, 80):
        wire.stream.send(10)
        clock.now_ns += delay_us * 1000
        wire.put(wire.take(10))
        wire.stream.collect()
    found = latency(wire)
    assert (found.ipdv_p50_us, found.ipdv_max_us) == (0, 30)


def test_variation_where_frames_overtake_each_other(wire: Wire, clock: Clock) -> None:
    """All arrive at once, in the wrong order: what counts is the order they were sent in."""
    for _ in range(4):
        wire.stream.send(1)
        clock.now_ns += 10_000
    wire.put(wire.take(4)[::-1])
    wire.stream.collect()
    found = latency(wire)
    assert wire.stream.reordered == 3
    assert (found.min_us, found.max_us, found.ipdv_max_us) == (10, 40, 10)
    wire.stream.send(1)
    clock.now_ns += 25_000
    wire.put(wire.take(1))
    wire.stream.collect()
    assert latency(wire).ipdv_max_us == 15


# --- coordinated omission ---


class Schedule:
    """The generator's loop in the test's own time; its DUT takes 50 µs."""

    def __init__(self, wire: Wire, clock: Clock, rate_pps: int) -> None:
        self.wire = wire
        self.clock = clock
        self.rate_pps = rate_pps
        self._start_ns = clock.now_ns

    def run(self, until_ms: float) -> None:
        """On time: every 100 µs."""
        end_ns = self._start_ns + int(until_ms * MS)
        while self.clock.now_ns <= end_ns:
            self.look()
            self.clock.now_ns += 50_000
            self.wire.put(self.wire.take(self.wire.stream.pending))
            self.wire.stream.collect()
            self.clock.now_ns += 50_000

    def look(self) -> None:
        elapsed_ns = self.clock.now_ns - self._start_ns
        self.wire.stream.offer(elapsed_ns * self.rate_pps // 10**9, self.clock.now_ns)


@pytest.mark.parametrize("rate_pps", [500, 20_000])
def test_a_stall_of_the_generator_shows_in_every_percentile_it_touches(
    wire: Wire, clock: Clock, rate_pps: int
) -> None:
    """100 ms of 1 s: a tenth of the frames came due meanwhile, evenly.

    At the lower rate all of them are sent afterwards; at the higher one the ring holds
    64 of 2,000. Counted from when each was sent, all would seem to have taken 50 µs.
    """
    schedule = Schedule(wire, clock, rate_pps)
    schedule.run(400)
    clock.now_ns += 100 * MS
    schedule.run(1000)
    found = latency(wire)
    counts = wire.stream.counts(0, 0)
    assert found.samples == rate_pps
    assert counts.sent == rate_pps - wire.stream.not_offered
    assert wire.stream.not_offered == pytest.approx(max(0, rate_pps // 10 - SIZE), rel=0.01)
    assert found.p50_us == pytest.approx(50, rel=0.01)
    assert found.late == pytest.approx(rate_pps / 10, rel=0.03)
    histogram = Histogram.decode(found.histogram)
    for percent in (91, 92, 95, 97, 99, 99.5):
        waited_us = (percent - 90) / 10 * 100_000
        assert histogram.percentile_us(percent) == pytest.approx(waited_us, rel=0.05, abs=2500)
    assert found.max_us == pytest.approx(100_000, rel=0.03)


def test_a_stall_of_the_dut_shows_in_every_percentile_it_touches(wire: Wire, clock: Clock) -> None:
    """The generator goes on sending: 50 frames wait, none is late."""
    schedule = Schedule(wire, clock, 500)
    schedule.run(400)
    while clock.now_ns < schedule._start_ns + 500 * MS:
        schedule.look()
        clock.now_ns += 100_000
    schedule.run(1000)
    found = latency(wire)
    assert (found.samples, found.late) == (500, 0)
    histogram = Histogram.decode(found.histogram)
    for percent in (91, 95, 99):
        waited_us = (percent - 90) / 10 * 100_000
        assert histogram.percentile_us(percent) == pytest.approx(waited_us, rel=0.05, abs=2500)


def test_the_end_of_the_trial_ends_what_comes_due(wire: Wire, clock: Clock) -> None:
    """Away for 200 ms, of which the trial had 100 left: frames came due in these alone."""
    schedule = Schedule(wire, clock, 500)
    schedule.run(400)
    clock.now_ns += 200 * MS
    wire.stream.offer(250, schedule._start_ns + 500 * MS)
    wire.put(wire.take(wire.stream.pending))
    wire.stream.collect()
    found = latency(wire)
    assert found.late == 50
    assert found.max_us == pytest.approx(200_000, rel=0.02)
    assert Histogram.decode(found.histogram).percentile_us(80.5) == pytest.approx(1e5, rel=0.03)


def test_late_frames_of_two_streams_are_told_apart(clock: Clock) -> None:
    """Both were due at the same time: one that comes back to the wrong port is foreign."""
    streams = [Wire(), Wire(stream_id=8)]
    for wire in streams:
        wire.stream.offer(0, clock.now_ns)
    clock.now_ns += 100 * MS
    for wire in streams:
        wire.stream.offer(10, clock.now_ns)
    mine, others = (wire.take(10) for wire in streams)
    streams[0].put([*mine[:4], others[4], *mine[5:]])
    streams[0].stream.collect()
    counts = streams[0].stream.counts(0, 0)
    assert (counts.received, counts.corrupted, counts.foreign) == (9, 0, 1)
    for wire in streams:
        wire.port.close()


def test_a_tick_is_not_late(wire: Wire, clock: Clock) -> None:
    """Frames of one tick are timed from when they were sent: pacing is not the DUT's."""
    Schedule(wire, clock, 100_000).run(100)
    found = latency(wire)
    assert found.late == 0
    assert (found.min_us, found.max_us) == (50, 50)


def test_untimed_streams_send_late_frames_as_well(clock: Clock) -> None:
    wire = Wire(timed=False)
    schedule = Schedule(wire, clock, 500)
    schedule.run(100)
    clock.now_ns += 100 * MS
    schedule.run(300)
    counts = wire.stream.counts(0, 0)
    assert (counts.sent, counts.received, counts.latency) == (150, 150, None)
    wire.port.close()
