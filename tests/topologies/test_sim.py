"""The simulated DUT: its books balance, its true rates are true, it breaks where told to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.topologies.sim import Carried, DutFaults, SimulatedDut
from pytest_vswitch.topologies.sim_model import HOPS, DutModel
from pytest_vswitch.topologies.topology import Hop


def carry(dut: SimulatedDut, load_pps: float) -> tuple[list[Carried], list[Hop]]:
    """One second at this load, half of it in each direction."""
    before = dut.snapshot()
    carried = dut.carry([int(load_pps / 2)] * 2, 64, 1.0)
    after = dut.snapshot()
    return carried, [hop for port in (0, 1) for hop in dut.path(port, before, after)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("load", [0.1, 0.97, 1.0, 1.5, 500.0])
def test_books_balance_at_every_load(seed: int, load: float) -> None:
    dut = SimulatedDut(replace(DutModel.drawn(seed, noisy=True), stalls_per_s=0.5))
    carried, hops = carry(dut, load * dut.model.capacity_pps(64))
    assert all(hop.balanced and hop.lost >= 0 for hop in hops)
    assert [hop.left for hop in hops[2::3]] == [fate.received for fate in carried]


@pytest.mark.parametrize("loss_ratio", [0.0, 0.001, 0.005, 0.05])
@pytest.mark.parametrize("seed", range(10))
def test_true_rate_divides_loads_that_meet_the_goal(seed: int, loss_ratio: float) -> None:
    model = DutModel.drawn(seed, noisy=False)
    truth = model.true_pps(loss_ratio, 64, 1.0)
    assert model.loss_ratio(truth * 0.9999, 64) <= loss_ratio < model.loss_ratio(truth * 1.001, 64)


def test_half_of_all_trials_meet_the_goal_at_the_true_rate() -> None:
    model = DutModel(jitter=0.003, bursts_per_s=0.5)
    dut = SimulatedDut(model)
    truth = model.true_pps(0.0, 64, 1.0)
    met = sum(
        sum(fate.received for fate in dut.carry([int(truth / 2)] * 2, 64, 1.0))
        == 2 * int(truth / 2)
        for _ in range(2000)
    )
    assert 900 <= met <= 1100


def test_rates_at_which_fewer_trials_meet_the_goal_are_higher() -> None:
    model = DutModel(jitter=0.003, bursts_per_s=0.5)
    rates = [model.true_pps(0.0, 64, 1.0, share=share) for share in (0.9, 0.5, 0.1)]
    assert rates == sorted(rates)
    assert rates[0] < rates[2]


def test_same_seed_same_dut() -> None:
    models = [DutModel.drawn(7, noisy=True)] * 2
    first, second = (SimulatedDut(model) for model in models)
    loads = [model.capacity_pps(64) * 0.96 for model in models]
    assert [carry(first, loads[0]) for _ in range(9)] == [carry(second, loads[1]) for _ in range(9)]


def test_delay_rises_towards_saturation_and_not_beyond_full_queues() -> None:
    model = DutModel()
    loads = [model.capacity_pps(64) * part for part in (0.1, 0.5, 0.9, 0.99, 1.0, 50.0)]
    delays = [model.delay_us(load, 64) for load in loads]
    assert delays == sorted(delays)
    assert delays[-1] == delays[-2] > 10 * delays[0]


def test_overload_is_refused_at_the_first_ring_too() -> None:
    dut = SimulatedDut()
    carried, _ = carry(dut, 500 * dut.model.capacity_pps(64))
    assert all(fate.refused > fate.received for fate in carried)


def test_lossy_hop_loses_one_in_n_at_any_load() -> None:
    dut = SimulatedDut(faults=DutFaults(lossy_hop=2, lose_one_in=1000))
    _, hops = carry(dut, 2000)
    assert [hop.lost for hop in hops] == [0, 0, 1, 0, 0, 1]
    assert all(hop.balanced for hop in hops)
    assert hops[2].drops == {HOPS[2][1]: 1}


def test_miscounting_hop_is_the_only_one_whose_books_do_not_balance() -> None:
    _, hops = carry(SimulatedDut(faults=DutFaults(miscounting_hop=1)), 2000)
    assert [hop.balanced for hop in hops] == [True, False, True] * 2


def test_dead_dut_names_the_culprit() -> None:
    dut = SimulatedDut(faults=DutFaults(dies_after_s=2.5))
    carry(dut, 1000)
    carry(dut, 1000)
    dut.carry([500, 500], 64, 1.0)
    with pytest.raises(DutError, match=r"guest forwarder ended .*SIGSEGV"):
        dut.check_alive()
    with pytest.raises(DutError, match="guest forwarder"):
        dut.snapshot()


def test_deaf_dut_loses_all_frames_of_its_first_trials() -> None:
    dut = SimulatedDut(faults=DutFaults(deaf_for=2))
    received = [sum(fate.received for fate in carry(dut, 1000)[0]) for _ in range(3)]
    assert received == [0, 0, 1000]


def test_everything_says_that_it_is_simulated() -> None:
    facts = SimulatedDut().facts
    assert (facts.nic, facts.accelerator) == ("simulated", "none")
    assert facts.remarks
    assert all(remark.startswith("simulated: ") for remark in facts.remarks)
