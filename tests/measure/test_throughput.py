"""Searches: the right interval, few trials, irregular cases by name, no glitch ends a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from pytest_vswitch.errors import BooksError, DutError, HostError, InputError
from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.measure.hint import Hint
from pytest_vswitch.measure.options import NDR, PDR, QUICK, SearchOptions
from pytest_vswitch.measure.runner import Progress, TrialRunner
from pytest_vswitch.measure.throughput import Throughput, find_throughput, line_rate_pps
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.topologies.sim_model import DutModel
from pytest_vswitch.topologies.topology import MemifPort, SimulatedPort
from pytest_vswitch.traffic.sim import SimulatedGenerator

SLOW = DutModel(fixed_ns=1e9 / 40e3, knee=0.03)
"""40 kpps: QEMU without KVM, 750 times below the line rate."""
SEARCHES: Sequence[Literal["mlrsearch", "binary"]] = ("mlrsearch", "binary")

each_search = pytest.mark.parametrize("search", SEARCHES)


def find(
    dut: SimulatedDut,
    options: SearchOptions,
    generator: SimulatedGenerator | None = None,
    told: list[Progress] | None = None,
    known: Hint | None = None,
) -> Throughput:
    runner = TrialRunner(
        dut,
        generator or SimulatedGenerator(dut),
        64,
        record=lambda trial: None,
        progress=(told if told is not None else []).append,
        settle_s=0.0,
    )
    return find_throughput(runner, options, known)


def test_line_rate_counts_preamble_and_gap() -> None:
    ports = (SimulatedPort("a", 10e9), MemifPort("b", "/b", 10e9))
    assert line_rate_pps(ports, 64) == pytest.approx(2 * 14_880_952, abs=1)


@each_search
@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("precision", [0.05, 0.01])
def test_interval_contains_the_true_rates_and_is_narrow(
    search: Literal["mlrsearch", "binary"], seed: int, precision: float
) -> None:
    dut = SimulatedDut(DutModel.drawn(seed, noisy=False))
    found = find(dut, replace(QUICK, search=search, precision=precision))
    for goal, result in zip((NDR, PDR), found.results, strict=True):
        truth = dut.model.true_pps(goal.loss_ratio, 64, 1.0)
        assert result.goal == goal
        assert result.limited_by == "dut"
        assert result.lower_pps is not None
        assert result.upper_pps is not None
        assert result.lower_pps <= truth * 1.0001
        assert result.upper_pps >= truth * 0.9999
        assert result.upper_pps - result.lower_pps <= precision * result.upper_pps


@each_search
def test_few_trials_from_far_above_the_capacity(search: Literal["mlrsearch", "binary"]) -> None:
    found = find(SimulatedDut(SLOW), replace(QUICK, search=search))
    assert found.trials[0].intended_pps == pytest.approx(2 * 14_880_952, abs=1)
    assert len(found.trials) <= 15
    assert [trial.number for trial in found.trials] == list(range(1, len(found.trials) + 1))


@each_search
def test_line_rate_without_loss(search: Literal["mlrsearch", "binary"]) -> None:
    found = find(SimulatedDut(DutModel(fixed_ns=10)), replace(QUICK, search=search))
    for result in found.results:
        assert result.limited_by == "line rate"
        assert result.lower_pps == pytest.approx(2 * 14_880_952, abs=1)
        assert result.upper_pps is None


@each_search
def test_loss_at_the_lowest_load_is_not_a_rate_of_zero(
    search: Literal["mlrsearch", "binary"],
) -> None:
    dut = SimulatedDut(SLOW, DutFaults(lose_one_in=100))
    found = find(dut, replace(QUICK, search=search))
    for result in found.results:
        assert result.limited_by == "lowest load"
        assert result.lower_pps is None
        assert result.upper_pps == QUICK.lowest_pps
    assert len(found.trials) <= 30


@each_search
def test_a_dut_that_forwards_nothing(search: Literal["mlrsearch", "binary"]) -> None:
    dut = SimulatedDut(SLOW, DutFaults(deaf_for=10**9))
    found = find(dut, replace(QUICK, search=search))
    assert [result.limited_by for result in found.results] == ["lowest load"] * 2


@each_search
def test_a_fault_between_the_goals_separates_them(
    search: Literal["mlrsearch", "binary"],
) -> None:
    dut = SimulatedDut(SLOW, DutFaults(lose_one_in=1000))
    ndr, pdr = find(dut, replace(QUICK, search=search)).results
    assert ndr.limited_by == "lowest load" or (ndr.lower_pps or 0) < 1000
    assert pdr.lower_pps is not None
    assert pdr.lower_pps > 30e3
    assert max(hop.lost for hop in find(dut, QUICK).trials[-1].paths[0]) > 0


@each_search
def test_a_generator_slower_than_line_rate_still_shows_that_the_dut_fails(
    search: Literal["mlrsearch", "binary"],
) -> None:
    dut = SimulatedDut(SLOW)
    generator = SimulatedGenerator(dut, max_pps=5e6)
    found = find(dut, replace(QUICK, search=search), generator)
    truth = SLOW.true_pps(0.0, 64, 1.0)
    result = found.results[0]
    assert result.limited_by == "dut"
    assert result.lower_pps is not None
    assert result.upper_pps is not None
    assert result.lower_pps <= truth <= result.upper_pps
    assert found.trials[0].offered_pps < found.trials[0].intended_pps / 5
    assert len(found.trials) <= 20


@each_search
def test_a_generator_slower_than_the_dut_is_named_as_the_limit(
    search: Literal["mlrsearch", "binary"],
) -> None:
    dut = SimulatedDut(DutModel(fixed_ns=10))
    generator = SimulatedGenerator(dut, max_pps=5e6)
    found = find(dut, replace(QUICK, search=search), generator)
    for result in found.results:
        assert result.limited_by == "generator"
        assert result.lower_pps == pytest.approx(0.95 * 5e6)
        assert result.upper_pps is None
    assert [trial.intended_pps > 20e6 for trial in found.trials[:4]] == [True, True, True, False]


@each_search
def test_a_generator_close_to_the_duts_limit(search: Literal["mlrsearch", "binary"]) -> None:
    dut = SimulatedDut(SLOW)
    loss_free_pps = SLOW.true_pps(0.0, 64, 1.0)
    generator = SimulatedGenerator(dut, max_pps=loss_free_pps * 1.001)
    found = find(dut, replace(QUICK, search=search), generator)
    for result in found.results:
        assert result.limited_by == "generator"
        assert result.lower_pps == pytest.approx(loss_free_pps * 0.95, rel=0.002)


@each_search
def test_glitches_of_the_generator_abort_nothing(
    search: Literal["mlrsearch", "binary"],
) -> None:
    for seed in range(50):
        dut = SimulatedDut(replace(SLOW, seed=seed))
        generator = SimulatedGenerator(dut, glitch_one_in=4)
        for result in find(dut, replace(QUICK, search=search), generator).results:
            assert result.lower_pps is not None
            assert result.lower_pps <= SLOW.true_pps(result.goal.loss_ratio, 64, 1.0) * 1.0001


@each_search
def test_a_generator_that_keeps_up_with_nothing_is_an_error(
    search: Literal["mlrsearch", "binary"],
) -> None:
    dut = SimulatedDut(DutModel(fixed_ns=10))
    generator = SimulatedGenerator(dut, glitch_one_in=1)
    with pytest.raises(HostError, match=r"does not keep up .* Give it cores"):
        find(dut, replace(QUICK, search=search), generator)


@each_search
def test_a_generator_that_sends_nothing_is_an_error(
    search: Literal["mlrsearch", "binary"],
) -> None:
    dut = SimulatedDut()
    with pytest.raises(HostError, match="offered 0 of"):
        find(dut, replace(QUICK, search=search), SimulatedGenerator(dut, max_pps=0.0))


@each_search
@pytest.mark.parametrize("max_pps", [213.0, 215.0, 250.0])
def test_a_generator_hardly_above_the_lowest_load(
    search: Literal["mlrsearch", "binary"], max_pps: float
) -> None:
    dut = SimulatedDut(DutModel(fixed_ns=10))
    generator = SimulatedGenerator(dut, max_pps=max_pps)
    for result in find(dut, replace(QUICK, search=search), generator).results:
        assert result.limited_by == "generator"


@each_search
def test_one_goal_and_two_names_for_one_goal(search: Literal["mlrsearch", "binary"]) -> None:
    same = (Goal("NDR", 0.0), Goal("mine", 0.0))
    one = find(SimulatedDut(SLOW), replace(QUICK, search=search, goals=same[:1]))
    two = find(SimulatedDut(SLOW), replace(QUICK, search=search, goals=same))
    assert len(one.trials) == len(two.trials)
    assert two.results[0].lower_pps == two.results[1].lower_pps == one.results[0].lower_pps


def test_binary_tries_no_load_twice() -> None:
    for seed in range(25):
        dut = SimulatedDut(DutModel.drawn(seed, noisy=True))
        loads = [trial.intended_pps for trial in find(dut, replace(QUICK, search="binary")).trials]
        assert len(loads) == len(set(loads))


@pytest.mark.parametrize("seed", range(25))
def test_nfvbench_ends_at_a_thousandth_of_the_line_rate(seed: int) -> None:
    dut = SimulatedDut(DutModel.drawn(seed, noisy=False))
    found = find(dut, replace(QUICK, search="nfvbench"))
    most_pps = line_rate_pps(dut.ports, 64)
    assert found.trials[0].intended_pps == pytest.approx(most_pps)
    assert found.trials[1].intended_pps == pytest.approx(most_pps / 2)
    # One goal takes ten halves; the other shares those that they have in common.
    assert len(found.trials) <= 21
    for goal, result in zip((NDR, PDR), found.results, strict=True):
        truth = dut.model.true_pps(goal.loss_ratio, 64, 1.0)
        assert (result.lower_pps or 0.0) <= truth * 1.0001
        assert result.upper_pps is not None
        assert result.upper_pps >= truth * 0.9999
        assert result.upper_pps - (result.lower_pps or 0.0) < 0.001 * most_pps


def test_nfvbench_at_line_rate_and_with_a_dut_that_forwards_nothing() -> None:
    options = replace(QUICK, search="nfvbench")
    fast = find(SimulatedDut(DutModel(fixed_ns=10)), options)
    assert [(r.limited_by, r.upper_pps) for r in fast.results] == [("line rate", None)] * 2
    assert len(fast.trials) == 1
    deaf = find(SimulatedDut(SLOW, DutFaults(deaf_for=10**9)), options)
    assert [(r.limited_by, r.lower_pps) for r in deaf.results] == [("lowest load", None)] * 2


@pytest.mark.parametrize("known", [None, Hint("a test", True, ())])
def test_several_partial_drop_rates_in_one_search(known: Hint | None) -> None:
    goals = (NDR, PDR, Goal("PDR2", 0.001), Goal("PDR3", 0.1))
    dut = SimulatedDut(replace(SLOW, knee=0.15))
    found = find(dut, replace(QUICK, goals=goals), known=known)
    for goal, result in zip(goals, found.results, strict=True):
        truth = dut.model.true_pps(goal.loss_ratio, 64, 1.0)
        assert result.goal == goal
        assert (result.lower_pps or 0.0) <= truth * 1.0001
        assert (result.upper_pps or 0.0) >= truth * 0.9999
    ndr, pdr, pdr2, pdr3 = (result.lower_pps or 0.0 for result in found.results)
    assert ndr < pdr2 < pdr < pdr3
    alone = sum(
        len(find(SimulatedDut(dut.model), replace(QUICK, goals=(g,))).trials) for g in goals
    )
    assert len(found.trials) < alone


@each_search
def test_conditional_throughput_is_what_came_back(search: Literal["mlrsearch", "binary"]) -> None:
    options = replace(QUICK, search=search, precision=0.01)
    ndr, pdr = find(SimulatedDut(SLOW), options).results
    assert ndr.conditional_pps == ndr.lower_pps
    assert pdr.lower_pps is not None
    assert pdr.conditional_pps is not None
    assert pdr.lower_pps * (1 - PDR.loss_ratio) <= pdr.conditional_pps < pdr.lower_pps


def test_one_bad_trial_does_not_move_mlrsearch() -> None:
    """A stall in one of ten trials, at any load, of a DUT that is otherwise still."""
    model = replace(SLOW, stalls_per_s=0.1)
    wrong = 0
    for seed in range(50):
        result = find(SimulatedDut(replace(model, seed=seed)), QUICK).results[0]
        assert result.upper_pps is not None
        wrong += result.upper_pps < model.true_pps(0.0, 64, 1.0)
    assert wrong <= 15


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (DutFaults(dies_after_s=4.5), DutError),
        (DutFaults(miscounting_hop=0), BooksError),
    ],
)
@each_search
def test_faults_end_the_search(
    search: Literal["mlrsearch", "binary"], faults: DutFaults, error: type[Exception]
) -> None:
    with pytest.raises(error):
        find(SimulatedDut(SLOW, faults), replace(QUICK, search=search))


@each_search
def test_a_second_search_has_its_own_trials(search: Literal["mlrsearch", "binary"]) -> None:
    dut = SimulatedDut(SLOW)
    recorded: list[Trial] = []
    runner = TrialRunner(
        dut,
        SimulatedGenerator(dut),
        64,
        record=recorded.append,
        progress=lambda progress: None,
    )
    options = replace(QUICK, search=search)
    first, second = find_throughput(runner, options), find_throughput(runner, options)
    assert list(first.trials + second.trials) == recorded
    assert second.trials[0].number == len(first.trials) + 1


@each_search
def test_progress_narrows_down(search: Literal["mlrsearch", "binary"]) -> None:
    told: list[Progress] = []
    found = find(SimulatedDut(SLOW), replace(QUICK, search=search), told=told)
    assert len(told) == 2 * len(found.trials)
    assert told[0].focus.lower_pps is None
    assert all(progress.focus.phase in ("NDR", "PDR") for progress in told)
    assert all((progress.focus.left_s or 0) >= 1 for progress in told)
    assert told[-1].focus.lower_pps is not None
    assert told[-1].focus.lower_pps > 30e3


@pytest.mark.parametrize(
    "wrong",
    [
        {"search": "linear"},
        {"trial_duration_s": 0.0},
        {"precision": 0.0},
        {"precision": 1.0},
        {"deciding_trials": 2},
        {"goals": ()},
        {"goals": (Goal("PDR", 1.0),)},
        {"goals": (Goal("PDR", -0.1),)},
        {"lowest_pps": 0.0},
    ],
)
def test_wrong_options_are_refused_with_what_would_be_right(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"must|at least"):
        SearchOptions(**wrong)  # type: ignore[arg-type]


def test_importing_the_searches_loads_no_heavy_library() -> None:
    code = (
        "import sys; from pytest_vswitch.measure import functional, options, runner, throughput; "
        "print(sorted({'MLRsearch', 'scapy', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
