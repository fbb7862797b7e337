"""Every measurement recovers the truth of seeded simulated DUTs within the error it states."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.measurements import MEASUREMENTS, Found, bench, draw, runner
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.measure import reset, spread
from pytest_vswitch.measure.back_to_back import back_to_back
from pytest_vswitch.measure.frame_loss import frame_loss
from pytest_vswitch.measure.mrr import mrr
from pytest_vswitch.measure.neighbour import neighbour
from pytest_vswitch.measure.options import QUICK as SEARCH
from pytest_vswitch.measure.outcome import Figure
from pytest_vswitch.measure.overlay import overlay
from pytest_vswitch.measure.procedure import QUICK, Bench
from pytest_vswitch.measure.recovery import system_recovery
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.scalability import of_each, of_flows
from pytest_vswitch.measure.soak import soak
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import scaling
from pytest_vswitch.topologies.sim import SimulatedDut
from pytest_vswitch.topologies.sim_behaviour import Behaviour
from pytest_vswitch.topologies.sim_model import DutModel
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.traffic.sim import SimulatedGenerator

DUTS = 25


def slow_bench(dut: SimulatedDut, max_pps: float) -> Bench:
    """With a generator that offers no more than that."""
    slow = runner(dut)
    slow.generator = SimulatedGenerator(dut, max_pps=max_pps)
    return Bench(slow, QUICK)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_the_truth_of_a_still_dut_lies_within(name: str) -> None:
    found = [MEASUREMENTS[name](*draw(seed, "still")) for seed in range(DUTS)]
    assert [one for one in found if not one.within] == []


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_that_of_a_noisy_dut_nearly_always(name: str) -> None:
    found = [MEASUREMENTS[name](*draw(seed, "noisy")) for seed in range(DUTS)]
    assert sum(one.within for one in found) >= DUTS - 2


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_what_is_stated_is_no_more_than_half_of_the_truth(name: str) -> None:
    """An interval from nothing to infinity would hold every truth."""
    found = [MEASUREMENTS[name](*draw(seed, "still")) for seed in range(DUTS)]
    stated = sorted(one.stated for one in found)
    assert stated[DUTS // 2] < 0.15
    assert stated[-1] < 0.5


@pytest.mark.parametrize(
    ("low", "high", "within"),
    [(9.0, 11.0, True), (10.5, 11.0, False), (9.0, 9.5, False), (9.0, None, True)],
)
def test_within_means_between(low: float, high: float | None, within: bool) -> None:
    assert Found(Figure("", 10.0, "s", low, high), 10.0).within is within


def test_loss_is_measured_from_line_rate_down_to_two_clean_trials() -> None:
    found = frame_loss(bench(SimulatedDut(DutModel(fixed_ns=200))))
    loads = [t.intended_pps / found.highest_pps for t in found.trials]
    assert loads[:3] == [1.0] * QUICK.repeats
    assert loads[3:7] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert [t.lost == 0 for t in found.trials[-3:]] == [False, True, True]
    assert found.clean_pps == found.trials[-2].offered_pps
    assert found.lossy_pps == found.trials[-3].offered_pps


def test_a_dut_far_slower_than_its_wire_is_measured_below_a_tenth_of_it() -> None:
    found = frame_loss(bench(SimulatedDut(DutModel(fixed_ns=50_000))))
    assert found.clean_pps is not None
    assert 200 < found.clean_pps < 20_000


def test_loads_are_parts_of_what_a_slow_generator_offers_and_that_is_told() -> None:
    dut = SimulatedDut(DutModel(fixed_ns=1000))
    found = frame_loss(slow_bench(dut, 2e6))
    assert found.highest_pps == pytest.approx(2e6)
    assert "offered 2,000,000 frames/s of a line rate of 29,761,905" in found.doubts[0]


def test_a_generator_that_is_no_faster_than_the_dut_fills_no_buffer() -> None:
    dut = SimulatedDut(DutModel(fixed_ns=1000))
    with pytest.raises(HostError, match="buffers never fill"):
        back_to_back(slow_bench(dut, 5e5), 9.6e5, 1.0)


def test_a_buffer_that_no_burst_fills_has_no_upper_bound() -> None:
    dut = SimulatedDut(DutModel(fixed_ns=200), behaviour=Behaviour(buffer_frames=10**9))
    found = back_to_back(bench(dut), 4e6, 1.0)
    assert found.bursts[0] == found.longest
    assert found.bounds[1] is None
    assert found.outcome.figures[0].high is None


def test_a_dut_without_recovery_recovers_at_once() -> None:
    model = DutModel(fixed_ns=200)
    found = system_recovery(bench(SimulatedDut(model)), model.true_pps(0.0, 64, 1.0))
    figure = found.outcome.figures[0]
    assert figure.high is not None
    assert figure.high < 0.1
    assert found.recovered
    assert found.doubts == ()


def test_one_that_never_recovers_is_told() -> None:
    model = DutModel(fixed_ns=200_000)
    dut = SimulatedDut(model, behaviour=Behaviour(recovery_s=100.0))
    rules = replace(QUICK, repeats=1)
    found = system_recovery(Bench(runner(dut), rules), model.true_pps(0.0, 64, 1.0))
    assert not found.recovered
    assert "still lost 60 s after" in found.doubts[0]


def test_an_overload_that_loses_nothing_is_doubted() -> None:
    found = system_recovery(bench(SimulatedDut(DutModel(fixed_ns=200))), 1e6)
    assert "lost no frame" in found.doubts[0]


def test_rest_after_an_overload_lets_the_next_trial_be() -> None:
    """With a pause as RFC 2544 section 23 wants, a trial is not charged for the one before."""
    model = DutModel(fixed_ns=200)
    dut = SimulatedDut(model, behaviour=Behaviour(recovery_s=2.0))
    for pause_s, clean in ((5.0, True), (0.5, False)):
        b = Bench(runner(dut), replace(QUICK, pause_s=pause_s))
        b.run(1e7, phase="overload")
        assert (b.run(1e6, phase="afterwards").lost == 0) is clean


def test_an_unknown_component_cannot_be_reset() -> None:
    with pytest.raises(InputError, match="no `memif` to reset: there is guest forwarder, ho"):
        reset.reset_time(bench(SimulatedDut()), "memif", 1e6, lambda trial: None)


def test_a_soak_is_resumed_where_it_ended() -> None:
    dut = SimulatedDut(DutModel(fixed_ns=1000))
    kept: list[Trial] = []
    first = soak(bench(dut), 1e5, 1800.0, done=(), record=kept.append)
    found = soak(bench(dut), 1e5, 3600.0, done=first.trials[:20], record=kept.append)
    assert found.resumed == 20
    assert kept == list(first.trials[:20])
    assert sum(trial.duration_s for trial in found.trials) == pytest.approx(3600.0)


def test_trials_of_another_load_are_no_part_of_a_soak() -> None:
    dut = SimulatedDut(DutModel(fixed_ns=1000))
    first = soak(bench(dut), 1e5, 60.0, done=(), record=lambda trial: None)
    found = soak(bench(dut), 2e5, 60.0, done=first.trials, record=lambda trial: None)
    assert found.resumed == 0


def test_mrr_repeats_and_tells_its_spread() -> None:
    found = mrr(bench(SimulatedDut(DutModel(fixed_ns=200, jitter=0.01))))
    assert len(found.trials) == QUICK.repeats
    assert 0 < found.rate.deviation < 0.05 * found.rate.mean
    assert found.rate.error > found.rate.deviation


def test_a_knee_that_may_be_noise_is_doubted() -> None:
    """The DUT is faster each time it is looked at: more flows seem to cost nothing."""
    dut = SimulatedDut(DutModel(fixed_ns=200, drift_per_s=0.01))
    found = of_flows((1, 100), lambda flows: runner(dut, Profile(flows=flows)), SEARCH, 2)
    assert "may be noise" in found.doubts[0]
    steady = SimulatedDut(DutModel(fixed_ns=200))
    found = of_flows((1, 100), lambda flows: runner(steady, Profile(flows=flows)), SEARCH, 2)
    assert found.doubts == ()
    assert found.knee == (200, None)


def test_cores_beyond_the_useful_ones_are_told() -> None:
    """Of each core: five are of use, so each of seven brings five sevenths, far below 90 %.

    Of six it is five sixths, too near for a quick search.
    """
    model = DutModel(fixed_ns=100_000)
    brought_up: list[int] = []

    def cores(count: int) -> TrialRunner:
        brought_up.append(count)
        return runner(SimulatedDut(model, behaviour=Behaviour(useful_cores=5), cores=count))

    found = of_each(scaling.AXES["cores"], scaling.points(16), cores, SEARCH)
    assert found.knee in ((5, 6), (5, 7))
    assert brought_up[:6] == [1, 2, 4, 8, 16, 1]
    last_over_first = found.outcome.figures[3].value
    assert last_over_first == pytest.approx(5.0, rel=0.06)


@pytest.mark.parametrize(("most", "expected"), [(2, (1, 2)), (5, (1, 2, 4, 5)), (8, (1, 2, 4, 8))])
def test_points_double_up_to_the_last(most: int, expected: tuple[int, ...]) -> None:
    assert scaling.points(most) == expected


def test_one_point_is_no_curve() -> None:
    with pytest.raises(InputError, match="two points at least"):
        scaling.points(1)


def test_losses_that_come_together_are_less_sure() -> None:
    stalling = SimulatedDut(DutModel(fixed_ns=1000, stalls_per_s=0.002, stall_s=1.0))
    found = soak(bench(stalling), 1e5, 3600.0, done=(), record=lambda trial: None)
    loss = found.outcome.figures[0]
    assert loss.value
    assert loss.low is not None
    assert loss.low < 0.7 * loss.value


def test_a_neighbour_beside_a_machine_that_changes_is_doubted() -> None:
    dut = SimulatedDut(DutModel(fixed_ns=200, drift_per_s=0.01))
    assert "other neighbours" in neighbour(runner(dut), SEARCH, dut.beside, "x").outcome.doubts[0]


def test_an_overlay_is_held_against_plain_frames() -> None:
    dut = SimulatedDut(DutModel(fixed_ns=200))
    with pytest.raises(InputError, match="this profile has plain ones"):
        overlay(lambda profile: runner(dut, profile, 128), Profile(), SEARCH)
    found = overlay(lambda profile: runner(dut, profile, 128), Profile(vxlan=1), SEARCH)
    (pps,) = [f.value for f in found.outcome.figures if f.name == "throughput in VXLAN"]
    (inside,) = [f.value for f in found.outcome.figures if f.unit == "bit/s"]
    assert pps is not None
    assert inside == pytest.approx(pps * (128 - 50) * 8)


def test_few_observations_are_less_sure_than_many() -> None:
    values = [1.0, 2.0, 3.0]
    few, many = spread.of(values, 0.0), spread.of(values * 10, 0.0)
    assert few.mean == many.mean == 2.0
    assert few.error > 4 * many.error


def test_every_outcome_tells_its_source_and_how_it_was_done() -> None:
    model = DutModel(fixed_ns=200)
    ndr_pps = model.true_pps(0.0, 64, 1.0)
    dut = SimulatedDut(model, behaviour=Behaviour(buffer_frames=500))
    for found in (
        frame_loss(bench(dut)),
        mrr(bench(dut)),
        back_to_back(bench(dut), ndr_pps, 1.0),
        system_recovery(bench(dut), ndr_pps),
        reset.reset_time(bench(dut), "guest forwarder", ndr_pps, lambda trial: None),
        soak(bench(dut), 1e6, 60.0, done=(), record=lambda trial: None),
    ):
        outcome = found.outcome
        assert outcome.source
        assert "warm-up" in outcome.procedure
        assert outcome.figures[0].low is not None
        assert all(curve.points for curve in outcome.curves)
