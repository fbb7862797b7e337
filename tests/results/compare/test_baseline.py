"""One new measurement against earlier runs: what fails, what does not, what is only said."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.compare.baseline import Baseline
from pytest_vswitch.results.compare.sides import Where
from pytest_vswitch.results.record import BaselineCheck, Record
from pytest_vswitch.results.sample import samples
from pytest_vswitch.results.verdict import verdict
from tests import records
from tests.results.compare.histories import Histories

RATE_PPS = 37_216.0
BEGAN = datetime(2026, 11, 1, 2, 45, tzinfo=timezone.utc)


def run(night: int, rate_pps: float, *, repeats: int = 1, frame_bytes: int = 64) -> Record:
    """A night's run of one case."""
    done = [records.measurement(n, capacity_pps=rate_pps) for n in range(1, repeats + 1)]
    made = records.record(records.case(measurements=done, frame_bytes=frame_bytes))
    started = (BEGAN + timedelta(days=night)).isoformat()
    return replace(made, run=replace(made.run, id=f"night-{night:02}", started=started))


def history(nights: int = 20, seed: int = 1) -> Histories:
    """Nights of one rate with 1 % noise."""
    draw = random.Random(seed)
    runs = [run(night, RATE_PPS * draw.gauss(1, 0.01)) for night in range(nights)]
    return Histories([sample for made in runs for sample in samples(made)])


def baseline(name: str, past: Histories, tmp_path: Path, drop: float = 0.02) -> Baseline:
    return Baseline(name, Where(history=past, reports=tmp_path, lab="local"), drop)


def ndr(checks: tuple[BaselineCheck, ...]) -> BaselineCheck:
    return next(check for check in checks if check.metric == "NDR")


def test_a_drop_against_a_version_is_a_miss(tmp_path: Path) -> None:
    found = ndr(baseline("22.11", history(), tmp_path).hold(run(30, 0.94 * RATE_PPS)))
    assert (found.verdict, found.met) == ("worse", False)
    assert found.message.startswith("NDR 34.8 kpps: worse than the baseline 22.11, 37.")
    assert "(median of 20 runs), change -6." in found.message
    assert found.reference == pytest.approx(0.994 * RATE_PPS, rel=0.01)
    assert len(found.runs) == 20


def test_noise_and_a_rise_are_no_miss(tmp_path: Path) -> None:
    held = baseline("22.11", history(), tmp_path)
    for rate in (0.995, 1.0, 1.005, 1.1):
        assert ndr(held.hold(run(30, rate * RATE_PPS))).met
    assert ndr(held.hold(run(30, 1.1 * RATE_PPS))).verdict == "better"


def test_with_many_cases_to_come_more_is_asked_of_each(tmp_path: Path) -> None:
    """A drop that one case by itself would be called worse for."""
    now = run(30, 0.95 * RATE_PPS)
    held = baseline("22.11", history(), tmp_path)
    assert not ndr(held.hold(now)).met
    held.cases_to_come = 3000
    found = ndr(held.hold(now))
    assert (found.verdict, found.met) == ("can't tell", True)
    assert "can't tell it from the baseline" in found.message


def test_noise_is_that_of_the_history_also_for_one_run(tmp_path: Path) -> None:
    """Held against one run only, a steady history tells more than a noisy one."""
    draw = random.Random(2)
    widths = []
    for noise in (0.001, 0.03):
        runs = [run(night, RATE_PPS * draw.gauss(1, noise)) for night in range(30)]
        past = Histories([sample for made in runs for sample in samples(made)])
        found = ndr(baseline("latest", past, tmp_path).hold(run(40, RATE_PPS)))
        assert found.low is not None
        assert found.high is not None
        assert found.runs == ("night-29",)
        widths.append(found.high - found.low)
    assert widths[1] > 3 * widths[0]


def test_a_single_value_no_farther_off_than_some_run_before_is_no_drop(tmp_path: Path) -> None:
    """Noise may be skewed: now and then a run is stalled, and that is no change."""
    past = history()
    now = run(30, 0.94 * RATE_PPS)
    held = baseline("22.11", past, tmp_path)
    held.cases_to_come = 7
    assert ndr(held.hold(now)).verdict == "worse"
    past.all += samples(run(20, 0.96 * RATE_PPS))
    held = baseline("22.11", past, tmp_path)
    held.cases_to_come = 7
    found = ndr(held.hold(now))
    assert (found.verdict, found.met) == ("can't tell", True)
    assert "single runs have been 4." in found.message


def test_repeats_of_one_run_count_once_against_several_runs(tmp_path: Path) -> None:
    """They cannot know how runs differ: ten repeats are no ten nights."""
    held = baseline("22.11", history(), tmp_path)
    once, often = (ndr(held.hold(run(30, 0.97 * RATE_PPS, repeats=n))) for n in (1, 10))
    assert (once.low, once.high) == (often.low, often.high)


def test_a_rate_that_is_no_longer_found_is_a_miss(tmp_path: Path) -> None:
    made = records.record(records.case(measurements=[records.not_found()]))
    found = ndr(baseline("22.11", history(), tmp_path).hold(made))
    assert (found.verdict, found.met, found.measured) == ("worse", False, None)
    assert found.message.startswith("no NDR was found; the baseline 22.11 has 3")


def test_what_cannot_be_held_against_it_is_said(tmp_path: Path) -> None:
    held = baseline("22.11", history(), tmp_path)
    (absent,) = held.hold(run(30, RATE_PPS, frame_bytes=128))
    assert absent.met
    assert absent.message == "the baseline 22.11 has no case pvp:frame_bytes=128"
    elsewhere = run(30, RATE_PPS / 2)
    elsewhere = replace(elsewhere, host=replace(elsewhere.host, kernel="6.12.1"))
    (other,) = held.hold(elsewhere)
    assert (other.met, other.verdict) == (True, "can't tell")
    assert "does not compare: the machines differ in kernel: 6.1.0-18-amd64 → 6.12.1" in (
        other.message
    )


def test_the_allowed_drop_is_the_users(tmp_path: Path) -> None:
    generous = baseline("22.11", history(), tmp_path, drop=0.1)
    assert ndr(generous.hold(run(30, 0.94 * RATE_PPS))).met
    assert not ndr(generous.hold(run(30, 0.8 * RATE_PPS))).met


def test_a_baseline_of_another_lab_is_found_by_its_id_only(tmp_path: Path) -> None:
    past = history(3)
    elsewhere = Where(history=past, reports=tmp_path, lab="other")
    with pytest.raises(InputError, match=r"nothing was measured with `22.11` in lab other"):
        Baseline("22.11", elsewhere, 0.02)
    assert Baseline("night-01", elsewhere, 0.02).side.runs == ("night-01",)


def test_the_verdict_of_a_case_heeds_the_baseline_where_it_tells() -> None:
    worse, same, untold = (
        BaselineCheck("latest", (), "NDR", one, one != "worse", "")
        for one in ("worse", "same", "can't tell")
    )
    assert verdict((), (same, untold)) == "passed"
    assert verdict((), (same, worse)) == "failed"
    assert verdict((), (untold,)) == "measured"
