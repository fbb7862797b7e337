"""Delays by load, in the report."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.report import charts, html, latency
from pytest_vswitch.results.record import Case, Measurement
from pytest_vswitch.traffic.latency import Delays
from tests.records import case, trial

LOADS = (1000.0, 5000.0, 9000.0)


def timed(load_pps: float, delay_us: int, *, histogram: bool) -> Trial:
    """Both directions: a hundred frames took so long, one took 10 ms."""
    delays = Delays()
    delays.add(0, 100, delay_us * 1000)
    delays.add(100, 1, 10_000_000)
    seen = delays.summary()
    assert seen is not None
    seen = seen if histogram else replace(seen, histogram="")
    made = trial(1, load_pps)
    directions = tuple(replace(d, latency=seen) for d in made.directions)
    return replace(made, intended_pps=load_pps, directions=directions)


def measured(*, histogram: bool = True, ended: bool = True) -> Case:
    """Each load twice, the second trial slower; before them a warm-up."""
    trials = [timed(200.0, 7000, histogram=histogram)]
    for load in LOADS[::-1]:
        trials += [timed(load, int(load / 10) + more, histogram=histogram) for more in (0, 3)]
    points = tuple((load, load / 1e7) for load in LOADS)
    curve = Curve("Median delay", "offered load", "frames/s", "delay", "s", points)
    figure = Figure("delay p50 at 90 % of NDR", 9e-4, "s")
    outcome = Outcome("RFC 2544 section 26.2", {}, (figure,), (curve,))
    made = Measurement(2, "latency", (), tuple(trials), outcome=outcome if ended else None)
    return case(measurements=[made])


def test_each_direction_at_each_load_shows_its_worst_trial() -> None:
    seen = latency.by_load(measured())
    assert seen is not None
    assert [row.load_pps for row in seen.rows] == [load for load in LOADS for _ in range(2)]
    assert [(row.tx_port, row.rx_port) for row in seen.rows[:2]] == [(0, 1), (1, 0)]
    for row in seen.rows:
        assert row.latency.samples == 202
        assert row.latency.min_us == row.load_pps / 10
        assert row.latency.p50_us == pytest.approx(row.load_pps / 10 + 3, rel=0.004)
        assert row.latency.max_us == 10_000
        assert row.latency.ipdv_p999_us == pytest.approx(10_000 - row.load_pps / 10, rel=0.004)


def test_all_delays_of_a_load_are_in_its_line() -> None:
    seen = latency.by_load(measured())
    assert seen is not None
    assert [(load, delays.samples) for load, delays in seen.delays] == [(x, 404) for x in LOADS]
    assert seen.delays[0][1].percentile_us(99.9) == pytest.approx(10_000, rel=0.004)
    picture = charts.delays_by_load(seen.delays)
    root = ElementTree.fromstring(picture)
    assert len(root.findall("polyline")) == len(LOADS)
    assert "99.9 %" in picture


def test_without_histograms_there_is_a_table_only() -> None:
    seen = latency.by_load(measured(histogram=False))
    assert seen is not None
    assert len(seen.rows) == 6
    assert seen.delays == ()


def test_other_cases_have_no_latency_by_load() -> None:
    assert latency.by_load(case()) is None
    assert latency.by_load(measured(ended=False)) is None
    assert "Latency by load" not in html.fragment(case())
