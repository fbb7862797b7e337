"""What of a record is kept to be compared."""

from __future__ import annotations

from dataclasses import replace

from pytest_vswitch.measure.outcome import Figure, Outcome
from pytest_vswitch.results.record import Case, Measurement
from pytest_vswitch.results.sample import samples
from tests.records import case, measurement, record


def test_a_search_gives_its_rates_with_their_intervals() -> None:
    ended = measurement()
    found = list(samples(record(case(measurements=[ended]))))
    assert [one.metric for one in found] == ["NDR", "PDR", "latency p99 at NDR"]
    for one, result in zip(found, ended.results, strict=False):
        assert (one.value, one.low, one.high) == (
            result.lower_pps,
            result.lower_pps,
            result.upper_pps,
        )
        assert (one.unit, one.better) == ("frames/s", "more")
    assert (found[2].unit, found[2].better) == ("s", "less")
    assert found[0].environment.software["host dpdk"] == "DPDK 22.11.5"


def test_a_rate_at_the_end_of_the_line_is_censored() -> None:
    ended = measurement()
    at_line_rate = tuple(replace(one, limited_by="line rate") for one in ended.results)
    found = list(samples(record(case(measurements=[replace(ended, results=at_line_rate)]))))
    assert [one.censored for one in found if one.unit == "frames/s"] == [True, True]
    assert not any(one.censored for one in samples(record(case(measurements=[ended]))))


def test_the_version_is_no_part_of_the_case() -> None:
    def of(version: str) -> Case:
        made = case()
        return replace(made, parameters={**made.parameters, "dpdk": version})

    old, new = (next(samples(record(of(version)))) for version in ("22.11", "24.11"))
    assert old.case == new.case
    assert (old.versions, new.versions) == ({"dpdk": "22.11"}, {"dpdk": "24.11"})


def test_a_case_that_ended_with_an_error_has_none_but_keeps_its_place() -> None:
    broken = replace(case(), verdict="error")
    assert {one.order for one in samples(record(broken, case()))} == {1}


def test_of_another_measurement_the_figure_that_is_reported_first() -> None:
    def of(search: str, *figures: Figure) -> list[tuple[str, str]]:
        outcome = Outcome("a source", {}, figures)
        made = case(measurements=[Measurement(1, search, (), (), outcome=outcome)])
        return [(one.metric, one.better) for one in samples(record(made))]

    loss, load = Figure("loss", 0.1, "ratio"), Figure("load", 1e6, "frames/s")
    assert of("frame loss", loss, load) == [("frame loss: loss", "less")]
    assert of("MRR", load, loss) == [("MRR: load", "more")]
    assert of("back-to-back", Figure("buffer", 1e-3, "s")) == [("back-to-back: buffer", "more")]
    assert of("latency", Figure("p50", None, "s"), Figure("p99", 1e-3, "s")) == [
        ("latency: p99", "less")
    ]
