from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.loader import load, packaged
from pytest_vswitch.results.thresholds import derive, refuse_mixing, rounded
from tests.records import case, measurement, not_found, record


def test_the_median_of_the_repeats_less_the_margin_is_rounded_down() -> None:
    repeats = [measurement(n, capacity_pps=pps) for n, pps in enumerate((4e4, 3e4, 9e4), 1)]
    limits = derive(record(case(measurements=repeats)), 5.0)
    # NDR 0.994 and PDR 1.003 of the middle capacity, 40 kpps.
    assert limits == {"pvp:frame_bytes=64": {"ndr_pps": 37770.0, "pdr_pps": 38110.0}}


def test_latency_is_limited_only_when_asked_for() -> None:
    run = record(case(measurements=[measurement()]))
    assert "latency_p99_us" not in derive(run, 10.0)["pvp:frame_bytes=64"]
    asked = derive(run, 10.0, latency=True)["pvp:frame_bytes=64"]["latency_p99_us"]
    plain = derive(run, 0.0, latency=True)["pvp:frame_bytes=64"]["latency_p99_us"]
    assert asked == pytest.approx(1.1 * plain, rel=1e-3)


def test_a_case_without_results_is_left_out() -> None:
    run = record(
        case(frame_bytes=64),
        case(frame_bytes=128, measurements=[], verdict="error", error="guest did not boot"),
        case(frame_bytes=256, measurements=[not_found()]),
        case(frame_bytes=512, verdict="incomplete"),
    )
    assert list(derive(run, 5.0)) == ["pvp:frame_bytes=64"]


def test_of_a_case_run_again_the_last_results_count() -> None:
    first, again = (case(measurements=[measurement(capacity_pps=pps)]) for pps in (1e4, 2e4))
    broken = case(measurements=[], verdict="error", error="x")
    limits = derive(record(first, again, broken), 0.0)
    assert limits["pvp:frame_bytes=64"]["ndr_pps"] == 19880.0


def test_a_run_without_results_is_refused() -> None:
    broken = case(measurements=[], verdict="error", error="guest did not boot")
    with pytest.raises(InputError, match=r"no results .*\(pvp:frame_bytes=64: guest did not boot"):
        derive(record(broken), 5.0)
    with pytest.raises(InputError, match="no case was begun"):
        derive(replace(record(), cases=()), 5.0)


@pytest.mark.parametrize(
    ("name", "simulated", "refused"),
    [("local", False, False), ("sim", True, False), ("local", True, True), ("sim", False, True)],
)
def test_simulated_and_real_do_not_mix(name: str, simulated: bool, refused: bool) -> None:
    lab, run = load(name, [packaged()]), record(simulated=simulated)
    if refused:
        with pytest.raises(InputError, match=rf"lab `{name}` \(.*{name}.yaml:\d+\) is"):
            refuse_mixing(run, lab)
    else:
        refuse_mixing(run, lab)


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        (35123.9, 35120, 35130),
        (14880952.4, 14880000, 14890000),
        (7.0, 7, 7),
        (0.98765, 0.9876, 0.9877),
    ],
)
def test_rounding(value: float, down: float, up: float) -> None:
    assert rounded(value, ROUND_FLOOR) == down
    assert rounded(value, ROUND_CEILING) == up
