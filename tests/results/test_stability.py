"""Do repeated searches agree; if not, what the report says of it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.report import html, summary
from pytest_vswitch.results import contention
from pytest_vswitch.results.contention import Contention
from pytest_vswitch.results.record import Measurement
from pytest_vswitch.results.stability import spread, unstable
from tests.hosts.machine import machine
from tests.records import case, measurement, not_found, record


def searches(*capacities_pps: float, busy: Contention | None = None) -> list[Measurement]:
    return [
        replace(measurement(number, capacity_pps=capacity_pps), contention=busy)
        for number, capacity_pps in enumerate(capacities_pps, 1)
    ]


@pytest.mark.parametrize("found", [[], searches(1e4), [not_found(1), not_found(2)]])
def test_one_search_is_neither_stable_nor_unstable(found: list[Measurement]) -> None:
    assert spread(case(measurements=found)) is None
    assert unstable(case(measurements=found)) == ""


def test_searches_that_agree() -> None:
    found = case(measurements=searches(1e4, 1.05e4, 1e4, 1.09e4, 1.01e4))
    assert spread(found) == pytest.approx(0.0648, abs=0.002)
    assert unstable(found) == ""


def test_one_that_differs_among_five_is_forgiven() -> None:
    assert unstable(case(measurements=searches(1e4, 1e4, 1e4, 1e4, 3e4))) == ""


def test_searches_that_do_not_agree_are_told_with_the_evidence() -> None:
    busy = Contention(stolen=0.031, waiting=0.87)
    text = unstable(case(measurements=searches(2e4, 1e4, 2e4, 1e4, 2e4, busy=busy)))
    assert text.startswith("5 searches found NDRs that lie 50.0 % apart (median; up to 10.0 %")
    assert "lower loads lost frames all the same, most of them at " in text
    assert "waited for a CPU of the DUT up to 87.0 % of the time, and up to 3.10 % of its" in text


def test_a_search_that_was_cut_is_not_counted() -> None:
    *ended, last = searches(2e4, 1e4, 2e4, 1e4)
    assert unstable(case(measurements=[*ended, replace(last, results=())])).startswith("3 searches")


def test_the_reports_tell_it() -> None:
    wild = case(measurements=searches(1e4, 2e4, 1e4, 2e4, 1e4))
    assert "unstable    5 searches found NDRs" in summary.render(record(wild))
    assert "<strong>Unstable:</strong> 5 searches found NDRs" in html.render(record(wild))
    calm = case(measurements=searches(1e4, 1e4))
    assert "nstable" not in summary.render(record(calm)) + html.render(record(calm))


def test_a_cpu_that_two_want_is_seen(tmp_path: Path) -> None:
    """On this machine: what one reads twice is a share of the time between."""
    with machine(tmp_path) as host:
        before = contention.read(host)
        random.Random(1).randbytes(1 << 20)
        found = contention.between(before, contention.read(host))
    assert 0 <= found.stolen <= 1
    assert 0 <= found.waiting <= 1


class Told:
    """A host with these files."""

    def __init__(self, **files: str) -> None:
        self.files = files

    def read_text(self, path: str) -> str:
        name = path.rpartition("/")[2]
        if name not in self.files:
            raise FileNotFoundError(path)
        return self.files[name]


def reading(at_s: float, told: Told) -> contention.Reading:
    host: Host = told  # type: ignore[assignment]
    return replace(contention.read(host), at_s=at_s)


def test_what_the_kernel_counts() -> None:
    one = Told(stat="cpu  10 0 10 70 0 0 0 10 5 0\n", cpu="some avg10=0.00 total=1000000\n")
    two = Told(stat="cpu  60 0 10 90 0 0 0 40 9 0\n", cpu="some avg10=0.00 total=1500000\n")
    found = contention.between(reading(1.0, one), reading(2.0, two))
    assert found == Contention(stolen=0.3, waiting=0.5)


def test_a_kernel_that_counts_no_waiting() -> None:
    told = Told(stat="cpu  10 0 10 70 0 0 0 10 5 0\n")
    assert contention.between(reading(1.0, told), reading(2.0, told)) == Contention(0.0, 0.0)
