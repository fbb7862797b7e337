"""The simulated DUTs' true rates are those at which their trials turn from met to missed."""

from __future__ import annotations

from collections import Counter

import pytest

from pytest_vswitch.topologies.sim import SimulatedDut
from pytest_vswitch.topologies.sim_model import KINDS, DutModel, Kind

TRIAL_S = 1.0


def met(model: DutModel, load_pps: float, loss_ratio: float, after_s: float = 0.0) -> bool:
    """Whether a trial at this load meets the goal, so long after the start."""
    dut = SimulatedDut(model, clock_s=after_s)
    frames = round(load_pps * TRIAL_S / 2)
    carried = dut.carry([frames, frames], 64, TRIAL_S)
    return sum(c.received for c in carried) >= 2 * frames * (1 - loss_ratio)


@pytest.mark.parametrize("kind", ["still", "step", "drifting", "warming"])
@pytest.mark.parametrize("loss_ratio", [0.0, 0.005, 0.05])
@pytest.mark.parametrize("after_s", [0.0, 3.0, 100.0])
def test_true_rate_of_duts_without_noise(kind: Kind, loss_ratio: float, after_s: float) -> None:
    for seed in range(20):
        model = DutModel.drawn_as(seed, kind)
        truth = model.true_pps(loss_ratio, 64, TRIAL_S)
        began, ended = (model.strength(after_s + wait) for wait in (0.0, TRIAL_S))
        a_frame = 3 / truth
        assert met(model, truth * min(began, ended) * (1 - a_frame) / 1.00001, loss_ratio, after_s)
        above = truth * max(began, ended) * (1 + a_frame) * 1.001
        assert not met(model, above, loss_ratio, after_s)


@pytest.mark.parametrize("kind", ["noisy", "bursty"])
def test_half_of_all_trials_pass_at_the_true_rate_of_a_noisy_dut(kind: Kind) -> None:
    passed = 0
    for seed in range(400):
        model = DutModel.drawn_as(seed, kind)
        passed += met(model, model.true_pps(0.0, 64, TRIAL_S), 0.0)
    assert 150 <= passed <= 250


def test_warming_duts_become_warm_and_drifting_ones_drift() -> None:
    for seed in range(20):
        warming, drifting = (DutModel.drawn_as(seed, kind) for kind in ("warming", "drifting"))
        assert 0.7 <= warming.strength(0.0) <= 0.95
        assert warming.strength(20.0) == pytest.approx(1.0, abs=1e-4)
        assert drifting.strength(0.0) == 1.0
        assert 0.0 < abs(drifting.strength(60.0) - 1) < 0.0102


def test_loss_of_a_step_like_dut_takes_few_values() -> None:
    for seed in range(20):
        model = DutModel.drawn_as(seed, "step")
        capacity = model.capacity_pps(64)
        loads = [capacity * (1 - model.knee * part / 1000) for part in range(1000)]
        values = Counter(model.loss_ratio(load, 64) for load in loads)
        assert len(values) == model.steps


def test_a_seed_draws_the_same_dut_again_and_each_kind_another() -> None:
    assert len(KINDS) == 7
    for kind in KINDS:
        assert DutModel.drawn_as(5, kind) == DutModel.drawn_as(5, kind)
        assert DutModel.drawn_as(5, kind) != DutModel.drawn_as(6, kind)
    assert len({DutModel.drawn_as(5, kind) for kind in KINDS}) == len(KINDS)
