"""A search that is told where the rate was: few trials if it still is, the truth if it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vswitch.measure import hint
from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.measure.hint import Hint, HintedInterval, Neighbour
from pytest_vswitch.measure.options import NDR, PDR, QUICK, SearchOptions
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.throughput import Throughput, find_throughput
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.topologies.sim_model import DutModel
from pytest_vswitch.traffic.sim import SimulatedGenerator

SLOW = DutModel(fixed_ns=1e9 / 40e3, knee=0.1)
"""40 kpps; its NDR and PDR lie further apart than an interval is wide."""


def find(
    dut: SimulatedDut,
    known: Hint | None,
    options: SearchOptions = QUICK,
    generator: SimulatedGenerator | None = None,
) -> Throughput:
    runner = TrialRunner(
        dut,
        generator or SimulatedGenerator(dut),
        64,
        record=lambda trial: None,
        progress=lambda progress: None,
    )
    return find_throughput(runner, options, known)


def around(model: DutModel, factor: float = 1.0, *, same_case: bool = True) -> Hint:
    """A hint of intervals 4 % wide, `factor` times where they should be."""
    intervals = []
    for goal in (NDR, PDR):
        truth = factor * model.true_pps(goal.loss_ratio, 64, 1.0)
        intervals.append(HintedInterval(goal.loss_ratio, 0.98 * truth, 1.02 * truth))
    return Hint("a test", same_case, tuple(intervals))


def assert_true(found: Throughput, model: DutModel) -> None:
    for result in found.results:
        truth = model.true_pps(result.goal.loss_ratio, 64, 1.0)
        assert result.lower_pps is not None
        assert result.upper_pps is not None
        assert result.lower_pps <= truth * 1.0001
        assert result.upper_pps >= truth * 0.9999
        assert result.upper_pps - result.lower_pps <= QUICK.precision * result.upper_pps


def test_a_hint_that_holds_is_all_that_is_tried() -> None:
    known = around(SLOW)
    found = find(SimulatedDut(SLOW), known)
    assert_true(found, SLOW)
    tried = [round(trial.intended_pps) for trial in found.trials]
    assert len(tried) == 6
    assert set(tried) == {
        round(load) for i in known.intervals for load in (i.lower_pps, i.upper_pps or 0.0)
    }
    # What disturbs a DUT makes it lose: what passed before and passes now is not tried again.
    assert [tried.count(round(i.lower_pps)) for i in known.intervals] == [1, 1]
    assert [tried.count(round(i.upper_pps or 0.0)) for i in known.intervals] == [2, 2]


def test_the_hint_of_a_neighbour_has_no_voice() -> None:
    known = around(SLOW, same_case=False)
    found = find(SimulatedDut(SLOW), known)
    assert_true(found, SLOW)
    assert len(found.trials) == 8


@pytest.mark.parametrize("factor", [1e-6, 1 / 3, 0.8, 0.93, 0.97, 1.03, 1.07, 1.2, 3.0, 1e6])
@pytest.mark.parametrize("seed", range(20))
def test_a_hint_that_is_wrong_is_not_believed(factor: float, seed: int) -> None:
    model = DutModel.drawn_as(seed, "still")
    found = find(SimulatedDut(model), around(model, factor))
    assert_true(found, model)
    assert len(found.trials) <= len(find(SimulatedDut(model), None).trials) + 8


def test_intervals_that_contradict_each_other_do_no_harm() -> None:
    ndr, pdr = around(SLOW).intervals
    crossed = Hint(
        "a test", True, (replace(pdr, loss_ratio=0.0), replace(ndr, loss_ratio=PDR.loss_ratio))
    )
    assert_true(find(SimulatedDut(SLOW), crossed), SLOW)


def test_a_hint_of_one_goal_helps_where_it_can() -> None:
    _, pdr = around(SLOW).intervals
    assert_true(find(SimulatedDut(SLOW), Hint("a test", True, (pdr,))), SLOW)
    assert_true(find(SimulatedDut(SLOW), Hint("a test", True, ())), SLOW)


@pytest.mark.parametrize("upper_pps", [None, 40e6])
def test_a_dut_that_was_as_fast_as_its_wires(upper_pps: float | None) -> None:
    line_rate_pps = 2 * 10e9 / (84 * 8)
    intervals = tuple(
        HintedInterval(goal.loss_ratio, line_rate_pps, upper_pps) for goal in (NDR, PDR)
    )
    known = Hint("a test", True, intervals)
    fast = find(SimulatedDut(DutModel(fixed_ns=10)), known)
    assert [result.limited_by for result in fast.results] == ["line rate"] * 2
    assert len(fast.trials) == 1
    assert_true(find(SimulatedDut(SLOW), known), SLOW)


def test_a_dut_that_lost_all_its_throughput_is_not_reported_as_last_time() -> None:
    for faults in (DutFaults(lose_one_in=100), DutFaults(deaf_for=10**9)):
        found = find(SimulatedDut(SLOW, faults), around(SLOW))
        assert [result.limited_by for result in found.results] == ["lowest load"] * 2
        assert [result.lower_pps for result in found.results] == [None, None]


def test_a_generator_that_is_slower_than_last_time_is_named_as_the_limit() -> None:
    dut = SimulatedDut(SLOW)
    generator = SimulatedGenerator(dut, max_pps=20e3)
    for result in find(dut, around(SLOW), generator=generator).results:
        assert result.limited_by == "generator"
        assert result.lower_pps == pytest.approx(0.95 * 20e3, rel=0.001)


@pytest.mark.parametrize("search", ["binary", "nfvbench"])
def test_searches_that_follow_a_standard_to_the_letter_heed_no_hint(search: str) -> None:
    options = replace(QUICK, search=search)  # type: ignore[arg-type]
    told, untold = (find(SimulatedDut(SLOW), known, options) for known in (around(SLOW), None))
    assert told.results == untold.results
    assert len(told.trials) == len(untold.trials)


def test_one_burst_at_the_lower_end_does_not_move_the_interval() -> None:
    """At 1 in 10 trials a stall takes frames, whatever the load."""
    wrong = 0
    for seed in range(50):
        model = replace(SLOW, seed=seed, stalls_per_s=0.1)
        result = find(SimulatedDut(model), around(SLOW)).results[0]
        assert result.upper_pps is not None
        wrong += result.upper_pps < SLOW.true_pps(0.0, 64, 1.0)
    assert wrong <= 10


def result(ndr_pps: float | None, upper_pps: float | None = None) -> GoalResult:
    return GoalResult(NDR, ndr_pps, upper_pps, "dut")


def test_results_without_a_rate_are_no_hint() -> None:
    assert hint.of_results("a run", [result(None, 200.0)]) is None
    known = hint.of_results("a run", [result(9e6, 9.1e6), GoalResult(PDR, None, 2e2, "dut")])
    assert known == Hint("a run", True, (HintedInterval(0.0, 9e6, 9.1e6),))


def test_the_neighbour_differs_in_one_number() -> None:
    neighbours = [
        Neighbour("a", "pvp", {"frame_bytes": 64, "cores": 1}, [result(4e6, 4.1e6)]),
        Neighbour("b", "pvp", {"frame_bytes": 64, "cores": 2}, [result(7e6, 7.1e6)]),
        Neighbour("c", "p2p", {"frame_bytes": 128, "cores": 2}, [result(1e6, 1.1e6)]),
        Neighbour("d", "pvp", {"frame_bytes": 64, "cores": 2, "vlan": 7}, [result(2e6)]),
    ]

    def known(suite: str = "pvp", **parameters: str | int) -> Hint | None:
        return hint.of_neighbours(suite, parameters, neighbours)

    size = known(frame_bytes=128, cores=2)
    assert size == Hint("case b", False, (HintedInterval(0.0, 7e6, 7.1e6),))
    cores = known(frame_bytes=64, cores=3)
    assert cores is not None
    assert cores.intervals[0].lower_pps == pytest.approx(10.5e6)
    assert known(frame_bytes=128, cores=3) is None
    assert known(frame_bytes=64, cores="2") is None
    assert known("exception_path", frame_bytes=128, cores=2) is None
