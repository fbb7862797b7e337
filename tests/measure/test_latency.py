"""Latency at shares of the throughput, against simulated DUTs whose delays are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from pytest_vswitch.errors import HostError
from pytest_vswitch.measure.latency import (
    SHARES,
    AtShare,
    LatencyAtShares,
    latency_at_shares,
    percentile_us,
)
from pytest_vswitch.measure.procedure import QUICK, Bench
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.topologies.sim_model import SHORTEST, DutModel
from pytest_vswitch.traffic.generator import DirectionCounts, Latency
from pytest_vswitch.traffic.latency import Histogram
from pytest_vswitch.traffic.profile import Capabilities
from pytest_vswitch.traffic.sim import SimulatedGenerator

FRAME_BYTES = 64
ERRORS = {50: 0.01, 90: 0.01, 99: 0.01, 99.9: 0.05}


def bench(dut: SimulatedDut, generator: SimulatedGenerator | None = None) -> Bench:
    runner = TrialRunner(
        dut,
        generator or SimulatedGenerator(dut, histograms=True),
        FRAME_BYTES,
        record=lambda trial: None,
        progress=lambda progress: None,
    )
    return Bench(runner, QUICK)


def found_of(model: DutModel, faults: DutFaults | None = None) -> LatencyAtShares:
    dut = SimulatedDut(model, faults or DutFaults())
    return latency_at_shares(bench(dut), model.true_pps(0.0, FRAME_BYTES, 1.0))


# --- a known delay ---


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_known_delays(seed: int, noisy: bool) -> None:
    """At every share each percentile is what the model says, and so are PDV and IPDV."""
    model = DutModel.drawn(seed, noisy=noisy)
    found = found_of(model)
    for load in found.loads:
        for percent, allowed in ERRORS.items():
            seen = load.percentile(percent)
            truth_us = model.delay_us(load.load_pps, FRAME_BYTES, percent / 100)
            assert seen is not None
            assert seen.mean == pytest.approx(truth_us, rel=allowed)
        waiting_us = model.delay_us(load.load_pps, FRAME_BYTES) * (1 - SHORTEST) / math.log(2)
        assert load.pdv is not None
        assert load.ipdv is not None
        assert load.pdv.mean == pytest.approx(waiting_us * math.log(1000), rel=0.05)
        assert load.ipdv.mean == pytest.approx(waiting_us * math.log(1000), rel=0.05)


@pytest.mark.parametrize("histograms", [False, True])
def test_the_truth_lies_in_what_is_stated(histograms: bool) -> None:
    model = DutModel()
    dut = SimulatedDut(model)
    exact = bench(dut, SimulatedGenerator(dut, histograms=histograms))
    found = latency_at_shares(exact, model.true_pps(0.0, FRAME_BYTES, 1.0))
    figures = {figure.name: figure for figure in found.outcome.figures}
    for load in found.loads:
        for name, share in (("p50", 0.5), ("p99.9", 0.999)):
            figure = figures[f"delay {name} at {100 * load.share:g} % of NDR"]
            truth_s = model.delay_us(load.load_pps, FRAME_BYTES, share) / 1e6
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= truth_s <= figure.high
            assert figure.high - figure.low < 0.01 * truth_s


def test_histograms_say_what_the_figures_say() -> None:
    trial = found_of(DutModel()).loads[0].trials[0]
    for direction in trial.directions:
        assert direction.latency is not None
        seen = Histogram.decode(direction.latency.histogram)
        assert seen.samples == direction.latency.samples == direction.received
        for percent, field in ((50, "p50_us"), (99, "p99_us"), (99.99, "p9999_us")):
            assert seen.percentile_us(percent) == pytest.approx(
                getattr(direction.latency, field), rel=0.01
            )
        assert seen.mean_us == pytest.approx(direction.latency.mean_us, rel=0.01)


def test_trials_are_made_as_the_rules_say() -> None:
    found = found_of(DutModel())
    assert [load.share for load in found.loads] == list(SHARES)
    for load in found.loads:
        assert len(load.trials) == QUICK.repeats
        for trial in load.trials:
            assert trial.intended_pps == pytest.approx(load.share * found.throughput_pps)
            assert trial.duration_s == QUICK.trial_s
    assert found.procedure["trials at each load"] == str(QUICK.repeats)
    assert not found.doubts
    median, worst = found.outcome.curves
    assert [x for x, _ in median.points] == sorted(x for x, _ in worst.points)
    assert all(low < high for (_, low), (_, high) in zip(median.points, worst.points, strict=True))


# --- frames that never came ---


def direction(received: int, lost: int, *, histogram: bool = True) -> DirectionCounts:
    """Of the frames that came back, half took 100 µs, a tenth 300, the rest 200."""
    seen = Histogram()
    for delay_us, share in ((100, 0.5), (200, 0.4), (300, 0.1)):
        seen.add(delay_us * 1000, round(received * share))
    sent = received + lost
    p50, p90, p99 = (seen.percentile_us(percent) for percent in (50, 90, 99))
    text = seen.encode() if histogram else ""
    latency = Latency(received, 100, p50, p90, p99, p99, 300, p9999_us=p99, histogram=text)
    return DirectionCounts(0, 1, sent, sent, 0, received, 0, 0, 0, 0, latency)


@pytest.mark.parametrize(
    ("lost", "percent", "expected_us"),
    [
        (0, 50, 100),
        (0, 90, 200),
        (10, 50, 200),  # of 1,010 frames the 505th
        (10, 99, 300),
        (10, 99.9, None),
        (200, 50, 200),
        (200, 90, None),
        (1500, 50, None),
    ],
)
def test_a_lost_frame_took_forever(lost: int, percent: float, expected_us: float | None) -> None:
    seen = percentile_us(direction(1000, lost), percent)
    assert seen == (None if expected_us is None else pytest.approx(expected_us, rel=0.004))


@pytest.mark.parametrize(("percent", "expected_us"), [(90, 200), (99, None)])
def test_without_a_histogram_what_cannot_be_told_is_not(
    percent: float, expected_us: float | None
) -> None:
    seen = percentile_us(direction(1000, 20, histogram=False), percent)
    assert seen == (None if expected_us is None else pytest.approx(expected_us, rel=0.004))


def test_losses_are_told() -> None:
    found = found_of(DutModel(), DutFaults(lose_one_in=500))
    assert all(any("were lost" in doubt for doubt in found.doubts) for _ in found.loads)
    figures = {figure.name: figure.value for figure in found.outcome.figures}
    assert figures["delay p99.9 at 50 % of NDR"] is None
    assert figures["PDV p99.9 at 50 % of NDR"] is None
    assert figures["delay p50 at 50 % of NDR"] is not None
    assert found.outcome.curves[1].points == ()


def test_a_dut_that_returns_nothing_has_no_delay() -> None:
    with pytest.raises(HostError, match=r"no frame of .* came back at 90 % of NDR"):
        found_of(DutModel(), DutFaults(deaf_for=100))


# --- the generator's part ---


class Silent(SimulatedGenerator):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(latency=False)


class Coarse(SimulatedGenerator):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(latency_resolution_us=2.0)


def test_a_generator_that_tells_no_delay_is_refused() -> None:
    dut = SimulatedDut()
    with pytest.raises(HostError, match="does not tell the delay of frames"):
        latency_at_shares(bench(dut, Silent(dut)), 1e6)


def test_what_the_generator_may_add_is_part_of_the_error() -> None:
    dut = SimulatedDut()
    exact, coarse = (
        latency_at_shares(bench(dut, kind(dut)), 1e6).outcome.figures[0]
        for kind in (SimulatedGenerator, Coarse)
    )
    assert exact.low is not None
    assert coarse.low == pytest.approx(exact.low - 2e-6)
    assert coarse.high == exact.high


def test_a_generator_that_does_not_keep_up_is_told() -> None:
    dut = SimulatedDut()
    found = latency_at_shares(bench(dut, SimulatedGenerator(dut, max_pps=700_000)), 1e6)
    assert [doubt for doubt in found.doubts if "did not keep up in 3 of 3 trials" in doubt]
    assert not [doubt for doubt in found.doubts if doubt.startswith("at 50 %")]


def test_a_late_generator_is_told() -> None:
    found = found_of(DutModel())

    def late(trial: Trial) -> Trial:
        directions = tuple(
            replace(d, latency=d.latency and replace(d.latency, late=d.received // 50))
            for d in trial.directions
        )
        return replace(trial, directions=directions)

    share = AtShare(0.5, tuple(map(late, found.loads[1].trials)))
    assert share.late_ratio == pytest.approx(0.02, rel=0.001)


def test_results_of_before_are_read() -> None:
    """A record that has no more than the first percentiles."""
    old = b'{"samples":3,"min_us":1,"p50_us":2,"p90_us":3,"p99_us":4,"p999_us":5,"max_us":6}'
    read = TypeAdapter(Latency).validate_json(old, strict=True)
    assert (read.p9999_us, read.ipdv_max_us, read.late, read.histogram) == (None, None, 0, "")
    assert (read.pdv_p50_us, read.pdv_p999_us, read.pdv_max_us) == (1, 4, 5)
