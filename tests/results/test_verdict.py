from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.results.findings import finding, first_failing, limiter, trials_at
from pytest_vswitch.results.record import Measurement, ThresholdCheck
from pytest_vswitch.results.verdict import check, verdict
from tests.records import NDR, measurement, not_found, trial

LINE_RATE = 29_761_904.8


def one(name: str, limit: float, *measurements: Measurement) -> ThresholdCheck:
    (only,) = check({name: limit}, measurements or [measurement()], LINE_RATE)
    assert (only.name, only.limit) == (name, limit)
    return only


def test_missed_ndr_tells_number_threshold_shortfall_and_hop() -> None:
    missed = one("ndr_pps", 50_000)
    assert not missed.met
    assert missed.measured == pytest.approx(36_992.7, abs=0.1)
    assert missed.message == (
        "NDR 37.0 kpps: 13.0 kpps (26.0 %) below the threshold of 50.0 kpps; frames were lost "
        "first in guest testpmd: virtio0 -> virtio1 (37 of 112 lost frames at 37.3 kpps)"
    )


def test_met_thresholds() -> None:
    met = one("ndr_pps", 30_000)
    assert met.met
    assert met.message == "NDR 37.0 kpps: 6.99 kpps (23.3 %) above the threshold of 30.0 kpps"
    exact = one("ndr_pps", 37_216.0 * 0.994)
    assert exact.met
    assert exact.message == "NDR 37.0 kpps: exactly the threshold of 37.0 kpps"
    assert one("pdr_pps", 37_300).met
    assert one("line_rate_percent", 0.1).met


def test_near_misses_do_not_round_to_equal() -> None:
    near = one("ndr_pps", 36_993)
    assert not near.met
    assert "NDR 36.9927 kpps: 0.296 pps (0.000800 %) below the threshold of 36.9930 kpps" in (
        near.message
    )


def test_line_rate_percent() -> None:
    missed = one("line_rate_percent", 80)
    assert missed.measured == pytest.approx(0.1243, rel=1e-3)
    assert missed.message.startswith(
        "NDR 37.0 kpps is 0.124 % of line rate: 79.9 percentage points (99.8 %) below "
        "the threshold of 80.0 %; frames were lost first in guest testpmd"
    )


def test_median_of_repeats() -> None:
    repeats = [measurement(n, capacity_pps=c) for n, c in enumerate((30e3, 37e3, 38e3), 1)]
    assert one("ndr_pps", 1, *repeats).measured == pytest.approx(37e3 * 0.994)
    assert one("ndr_pps", 1, *repeats[:2]).measured == pytest.approx(33.5e3 * 0.994)
    assert one("ndr_pps", 1, *repeats, not_found(4)).measured == pytest.approx(33.5e3 * 0.994)
    found = finding([*repeats, not_found(4)], "NDR")
    assert found is not None
    assert found.interval == "median of 4 searches, 3 of which found one: 29.8 to 37.8 kpps"
    same = finding([measurement(1), measurement(2)], "NDR")
    assert same is not None
    assert same.interval == "median of 2 searches: 37.0 kpps each"


def test_a_repeat_without_a_value_counts_as_worst() -> None:
    missed = one("ndr_pps", 1, measurement(), not_found(2))
    assert missed.measured is None
    assert not missed.met
    assert missed.message == (
        "no NDR was found; the threshold is 1.00 pps; frames were lost first in "
        "guest testpmd: virtio0 -> virtio1 (316 of 950 lost frames at 1.00 kpps)"
    )
    assert one("latency_p99_us", 1e9, measurement(), not_found(2)).measured is None


def test_latency_is_the_worst_direction_of_the_longest_trial_at_the_ndr() -> None:
    longest = measurement().trials[-1]
    assert longest.directions[1].latency is not None
    expected = longest.directions[1].latency.p99_us
    met = one("latency_p99_us", 1000)
    assert (met.measured, met.met) == (expected, True)
    assert met.message == "p99 latency 572 µs: 428 µs (42.8 %) below the threshold of 1.00 ms"
    assert one("latency_p99_us", 500).message == (
        "p99 latency 572 µs: 72.3 µs (14.5 %) above the threshold of 500 µs"
    )
    lacking = one("latency_p99_us", 500, measurement(latency=False))
    assert lacking.message == (
        "no p99 latency: no latency was sampled at an NDR load; the threshold is 500 µs"
    )


def test_loss_ratio_is_that_of_the_highest_load_tried() -> None:
    missed = one("loss_ratio", 0.1)
    assert missed.message == (
        "loss at the highest load tried 99.9 %: 89.9 percentage points (899 %) above "
        "the threshold of 10.0 %"
    )
    steady = Measurement(1, "soak", (), (trial(1, 1e4), trial(2, 1e4)))
    met = one("loss_ratio", 0, steady)
    assert (met.met, met.measured) == (True, 0.0)
    assert met.message == "loss at the highest load tried 0 %: exactly the threshold of 0 %"
    assert not one("loss_ratio", 0, Measurement(1, "soak", (), ())).met


def test_without_any_measurement_nothing_is_met() -> None:
    limits = {"ndr_pps": 1.0, "pdr_pps": 1.0, "latency_p99_us": 1.0, "loss_ratio": 1.0}
    for result in check(limits, [], LINE_RATE):
        assert (result.measured, result.met) == (None, False)
        assert "the threshold is" in result.message


def test_the_generators_limit_is_not_blamed_on_the_dut() -> None:
    slow = replace(
        measurement(), results=(GoalResult(NDR, 30e3, None, "generator"),), trials=(trial(1, 30e3),)
    )
    assert one("ndr_pps", 50e3, slow).message.endswith(
        "; the traffic generator could not offer more, so this is not the DUT's limit"
    )


def test_verdict_of_checks() -> None:
    met, missed = one("ndr_pps", 1), one("ndr_pps", 1e9)
    assert [verdict(c) for c in ((), (met,), (met, missed))] == ["measured", "passed", "failed"]


def test_unknown_threshold() -> None:
    with pytest.raises(InputError, match="`ndr_mpps` is unknown; there are ndr_pps, "):
        one("ndr_mpps", 1)


def test_evidence_of_a_value() -> None:
    whole = measurement()
    found = finding([whole], "NDR")
    assert found is not None
    assert found.interval == "between 37.0 and 37.3 kpps"
    assert [t.number for t in trials_at(whole, found.result)] == [4, 6]
    failing = first_failing(whole, found.result)
    assert failing is not None
    assert failing.number == 5
    assert limiter(found).startswith("guest testpmd: ")
    assert finding([whole], "XDR") is None
    between = GoalResult(NDR, 37_100.0, None, "line rate")
    assert [t.number for t in trials_at(whole, between)] == [4, 6]
    assert limiter(replace(found, result=between)) == "line rate: there is no higher load"
