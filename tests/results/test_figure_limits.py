"""Thresholds on the figures of every measurement: judged, told, and made from a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vswitch.lab.limits import LIMITS
from pytest_vswitch.measure.outcome import Figure, Outcome
from pytest_vswitch.results.figure_limits import FIGURE_LIMITS
from pytest_vswitch.results.record import Measurement, ThresholdCheck
from pytest_vswitch.results.thresholds import derive
from pytest_vswitch.results.verdict import NAMES, check
from tests.records import case, measurement, record, trial


def ended(search: str, *figures: Figure, repeat: int = 1) -> Measurement:
    return Measurement(repeat, search, (), (trial(1, 1e4),), outcome=Outcome("", {}, figures))


def one(name: str, limit: float, *measurements: Measurement) -> ThresholdCheck:
    (only,) = check({name: limit}, measurements, 1e6)
    return only


def test_every_threshold_of_the_lab_file_is_judged() -> None:
    assert sorted(NAMES) == sorted(LIMITS)


@pytest.mark.parametrize(
    ("name", "measured", "limit", "met", "message"),
    [
        (
            "mrr_pps",
            ended("MRR", Figure("maximum receive rate", 2e6, "frames/s")),
            2.5e6,
            False,
            "maximum receive rate 2.00 Mpps: 500 kpps (20.0 %) below the threshold of 2.50 Mpps",
        ),
        (
            "recovery_ms",
            ended("system recovery", Figure("system recovery time", 0.012, "s")),
            10.0,
            False,
            "system recovery time 12.0 ms: 2.00 ms (20.0 %) above the threshold of 10.0 ms",
        ),
        (
            "buffer_us",
            ended("back-to-back", Figure("corrected buffer time", 50e-6, "s")),
            40.0,
            True,
            "corrected buffer time 50.0 µs: 10.0 µs (25.0 %) above the threshold of 40.0 µs",
        ),
        (
            "soak_loss_ratio",
            ended("soak", Figure("loss", 0.25, "ratio")),
            0.0,
            False,
            "loss 25.0 %: 25.0 percentage points above the threshold of 0 %",
        ),
        (
            "memory_mb",
            ended(
                "cost", Figure("CPU time per frame", 1e-6, "s"), Figure("memory in use", 2048, "kB")
            ),
            2.0,
            True,
            "memory in use 0.00195 GiB: exactly the threshold of 0.00195 GiB",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
def test_a_figure_is_held_against_its_threshold(
    name: str, measured: Measurement, limit: float, met: bool, message: str
) -> None:
    # A search that only chose the load is none of it.
    found = one(name, limit, measurement(), measured)
    assert (found.met, found.message) == (met, message)


@pytest.mark.parametrize("name", FIGURE_LIMITS)
def test_each_is_met_and_missed_where_it_should_be(name: str) -> None:
    rule = FIGURE_LIMITS[name]
    measured = ended(f"{rule.measurement} x", Figure(f"{rule.figure} y", 3.0, "s"))
    limit = 3.0 * rule.per_unit
    assert one(name, limit, measured).met
    assert one(name, 1.1 * limit, measured).met is not rule.least
    assert one(name, 0.9 * limit, measured).met is rule.least
    assert one(name, limit, measured).measured == pytest.approx(limit)
    assert not one(name, limit).met
    assert not one(name, limit, ended("another", Figure("figure", 3.0, "s"))).met


def test_a_knee_beyond_the_last_point_is_at_least_there() -> None:
    beyond = ended("scalability over flows", Figure("knee", None, "flows", 20_000.0, None))
    assert one("knee", 10_000, beyond).met
    assert one("knee", 30_000, beyond).measured == 20_000
    none = ended("learning", Figure("flows learned per second", None, "flows/s", 0.0, 50.0))
    missed = one("learning_per_s", 100, none)
    assert missed.message == (
        "no flows learned per second: it was not found; the threshold is 100 flows/s"
    )


def test_a_repeat_without_the_figure_counts_as_worst() -> None:
    name = "system recovery"
    good = ended(name, Figure("system recovery time", 0.01, "s"))
    lacking = ended(name, Figure("system recovery time", None, "s"))
    assert one("recovery_ms", 20, good, good, lacking).met
    assert not one("recovery_ms", 20, good, lacking, lacking).met


def test_without_the_measurement_it_is_missed_and_said() -> None:
    assert one("reset_ms", 20, measurement()).message == (
        "no reset time by lost frames: no measurement `reset`; the threshold is 20"
    )


def test_loss_is_that_of_the_measurement_not_of_the_search_before_it() -> None:
    steady = ended("soak", Figure("loss", 0.0, "ratio"))
    assert one("loss_ratio", 0, measurement(), steady).met


def test_thresholds_are_made_from_figures_with_the_margin_on_the_right_side() -> None:
    measurements = [
        measurement(),
        ended("MRR", Figure("maximum receive rate", 1e6, "frames/s", 9e5, 1.1e6)),
        ended("system recovery", Figure("system recovery time", 0.1, "s", 0.0, 0.2)),
        ended("soak", Figure("loss", 0.0, "ratio", 0.0, 2e-7)),
    ]
    (limits,) = derive(record(case(measurements=measurements)), 5.0).values()
    assert limits == {"mrr_pps": 950_000.0, "recovery_ms": 105.0, "soak_loss_ratio": 2.1e-7}


def test_a_case_with_such_thresholds_meets_them_again() -> None:
    figures = [
        (rule, ended(rule.measurement, Figure(rule.figure, 0.123456, "s", 0.1, 0.2)))
        for rule in FIGURE_LIMITS.values()
    ]
    whole = case(measurements=[replace(m, repeat=n) for n, (_, m) in enumerate(figures, 1)])
    (limits,) = derive(record(whole), 0.0).values()
    assert all(found.met for found in check(limits, whole.measurements, 1e6))
