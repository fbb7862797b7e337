"""Learning of MAC addresses where there is nothing to learn, or nothing to tell it by."""

from __future__ import annotations

import pytest

from benchmarks.measurements import runner
from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.address_learning import address_learning
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.topologies.sim import SimulatedDut
from pytest_vswitch.topologies.sim_behaviour import Behaviour
from pytest_vswitch.traffic.profile import Capabilities, Profile
from pytest_vswitch.traffic.sim import SimulatedGenerator


def test_a_dut_that_is_no_bridge_holds_none_and_says_so() -> None:
    dut = SimulatedDut()
    outcome = address_learning(lambda p: runner(dut, p), throughput_pps=1e5).outcome
    rate, held = outcome.figures
    assert (rate.value, held.value, held.high) == (None, 0, None)
    assert "no bridge" in outcome.doubts[0]


def test_a_small_table_leaves_a_high_rate_open() -> None:
    """A load of the 300 addresses that it has room for does not last long enough."""
    dut = SimulatedDut(behaviour=Behaviour(table_macs=300, macs_per_s=1e6))
    found = address_learning(lambda p: runner(dut, p), throughput_pps=1e6)
    assert found.high_per_s is None
    assert found.low_per_s == 20_000
    assert found.high_macs is not None
    assert found.low_macs <= 300 < found.high_macs


def test_a_table_too_small_for_the_rate_still_has_a_size() -> None:
    dut = SimulatedDut(behaviour=Behaviour(table_macs=64))
    found = address_learning(lambda p: runner(dut, p), throughput_pps=1e6)
    assert found.low_per_s is None
    assert found.high_macs is not None
    assert found.low_macs <= 64 < found.high_macs


def test_no_load_takes_longer_than_allowed() -> None:
    """A table larger than what a minute fills: no upper end is claimed."""
    dut = SimulatedDut(behaviour=Behaviour(table_macs=10**6, macs_per_s=1000.0))
    found = address_learning(lambda p: runner(dut, p), throughput_pps=1e5)
    assert found.high_macs is None
    assert found.low_macs == pytest.approx(60 * 500, rel=0.06)


def test_what_is_asked_is_on_the_books() -> None:
    """Frames that are kept back are the DUT's drops, and every trial is recorded."""
    dut = SimulatedDut(behaviour=Behaviour(table_macs=1000))
    runners = []

    def made(profile: Profile) -> TrialRunner:
        runners.append(runner(dut, profile))
        return runners[-1]

    address_learning(made, throughput_pps=1e5)
    trials = [trial for one in runners for trial in one.trials]
    assert len(trials) > 10
    for trial in trials:
        for path in trial.paths:
            assert all(hop.balanced for hop in path)


def test_what_the_generator_left_out_is_no_small_table() -> None:
    """It offers 5,000 frames/s at most, and the DUT learns as fast as one likes."""
    dut = SimulatedDut(behaviour=Behaviour(table_macs=10**6))

    def slow(profile: Profile) -> TrialRunner:
        made = runner(dut, profile)
        made.generator = SimulatedGenerator(dut, max_pps=5000.0)
        return made

    found = address_learning(slow, throughput_pps=1e5)
    assert found.low_per_s == pytest.approx(5000, rel=0.06)
    assert "the DUT may do better" in found.outcome.doubts[0]


def test_a_generator_of_few_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedGenerator, "capabilities", Capabilities(max_macs=100))
    dut = SimulatedDut()
    with pytest.raises(InputError, match="can send 100 MAC addresses"):
        address_learning(lambda p: runner(dut, p), throughput_pps=1e5)
