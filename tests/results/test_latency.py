"""Thresholds on the latency of a case that measures it at shares of the NDR."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vswitch.measure.latency import latency_at_shares
from pytest_vswitch.measure.procedure import QUICK, Bench
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results.record import Measurement
from pytest_vswitch.results.thresholds import derive
from pytest_vswitch.results.verdict import check, p99_us
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.traffic.sim import SimulatedGenerator
from tests.records import case, measurement, record

SEARCH = measurement()


def latency(lose_one_in: int = 0) -> Measurement:
    dut = SimulatedDut(faults=DutFaults(lose_one_in=lose_one_in))
    trials: list[Trial] = []
    runner = TrialRunner(
        dut,
        SimulatedGenerator(dut),
        64,
        record=trials.append,
        progress=lambda progress: None,
    )
    found = latency_at_shares(Bench(runner, QUICK), 1e6)
    return Measurement(2, "latency", (), tuple(trials), outcome=found.outcome)


def p99_at_nine_tenths() -> float:
    return SimulatedDut().model.delay_us(900_000, 64, 0.99)


def test_the_limit_is_held_against_the_highest_share_and_not_the_search() -> None:
    measured = [SEARCH, latency()]
    truth_us = p99_at_nine_tenths()
    assert p99_us(measured[0]) != pytest.approx(truth_us, rel=0.1)
    (met,) = check({"latency_p99_us": 1.01 * truth_us}, measured, 1e6)
    (missed,) = check({"latency_p99_us": 0.99 * truth_us}, measured, 1e6)
    assert met.met
    assert not missed.met
    assert met.measured == pytest.approx(truth_us, rel=0.004)


def test_a_percentile_among_lost_frames_misses_every_limit() -> None:
    (missed,) = check({"latency_p99_us": 1e9}, [latency(lose_one_in=50)], 1e6)
    assert (missed.met, missed.measured) == (False, None)


def test_other_measurements_leave_the_searches_to_count() -> None:
    other = replace(latency(), search="frame loss")
    (limit,) = check({"latency_p99_us": 1e9}, [SEARCH, other], 1e6)
    assert limit.measured == p99_us(SEARCH)


def test_thresholds_are_derived_from_the_highest_share() -> None:
    run = record(case(measurements=[SEARCH, latency()]))
    (limits,) = derive(run, 0.0, latency=True).values()
    assert limits["latency_p99_us"] == pytest.approx(p99_at_nine_tenths(), rel=0.01)
