"""What changed with a case, and what many cases did at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vswitch.results.sample import Better, Sample
from pytest_vswitch.results.trend import trends
from pytest_vswitch.results.trend.series import series
from pytest_vswitch.results.trend.trends import Trend, events, trend
from tests.results.trend.histories import BEGAN_S, DAY_S, environment, sample, step


def of(samples: list[Sample]) -> list[Trend]:
    return [trend(one) for one in series(samples)]


def test_a_change_tells_its_medians_and_what_came_with_it() -> None:
    [found] = of(step())
    [change] = found.changes
    assert (change.began, change.at_s) == (30, BEGAN_S + 30 * DAY_S)
    assert change.ratio == pytest.approx(-0.1)
    assert change.before == pytest.approx(1e6)
    assert change.after == pytest.approx(0.9e6)
    assert change.worse
    assert list(map(str, change.differences)) == ["host dpdk: 24.11 → 25.03"]
    assert (found.state, found.drift) == ("worse", None)


def test_a_version_within_two_nights_is_what_it_is_put_down_to() -> None:
    moved = [
        replace(one, environment=environment("25.03" if night >= 32 else "24.11"))
        for night, one in enumerate(step())
    ]
    [found] = of(moved)
    assert [change.began for change in found.changes] == [32]
    far = [
        replace(one, environment=environment("25.03" if night >= 40 else "24.11"))
        for night, one in enumerate(step())
    ]
    [found] = of(far)
    assert [(change.began, change.differences) for change in found.changes] == [(30, ())]


@pytest.mark.parametrize(
    ("better", "size", "state"),
    [
        ("more", 0.1, "better"),
        ("more", -0.1, "worse"),
        ("less", 0.1, "worse"),
        ("less", -0.1, "better"),
    ],
)
def test_what_is_better_depends_on_the_metric(better: Better, size: float, state: str) -> None:
    [found] = of([replace(one, better=better) for one in step(size=size)])
    assert found.state == state


def test_many_cases_in_one_night_are_one_event_the_worst_first() -> None:
    samples = [
        one
        for number, size in enumerate((-0.05, -0.2, 0.1))
        for one in step(size=size, case=f"pvp:queues={number}")
    ]
    samples += step(at=20, case="p2p:")
    samples += [replace(one, lab="other") for one in step()]
    found = events(of(sorted(samples, key=lambda one: one.at_s)))
    assert [(event.lab, len(event.changes), event.worse) for event in found] == [
        ("bench-7", 3, 2),
        ("other", 1, 1),
        ("bench-7", 1, 1),
    ]
    assert [change.series.case for change in found[0].changes] == [
        "pvp:queues=1",
        "pvp:queues=0",
        "pvp:queues=2",
    ]
    assert list(map(str, found[0].differences)) == ["host dpdk: 24.11 → 25.03"]


def test_few_nights_cannot_tell_and_nothing_is_nothing() -> None:
    assert [one.state for one in of([sample(0, 1.0)])] == ["too few"]
    assert [one.state for one in of([sample(night, 1.0) for night in range(20)])] == ["steady"]
    assert events([]) == []


def test_missing_nights_do_no_harm() -> None:
    [found] = of([one for night, one in enumerate(step()) if night % 4])
    [change] = found.changes
    assert change.at_s == BEGAN_S + 30 * DAY_S


def test_slow_drift_is_told_beside() -> None:
    creeping = [sample(night, 1e6 * (1 + 0.0004 * night)) for night in range(100)]
    [found] = of(creeping)
    assert found.changes == ()
    assert found.drift == pytest.approx(0.034, abs=0.002)


def test_a_metric_that_was_zero_changes_from_zero() -> None:
    rising = [
        sample(night, 3.0 * (night >= 30), better="less", unit="ratio") for night in range(50)
    ]
    [found] = of(rising)
    assert [(change.ratio, change.worse) for change in found.changes] == [(None, True)]


def test_since_leaves_out_what_was_before() -> None:
    [whole] = of(step())
    later = trends.since(whole, BEGAN_S + 25 * DAY_S)
    assert later
    assert (len(later.series.nights), [one.began for one in later.changes]) == (25, [5])
    assert later.changes[0].at_s == whole.changes[0].at_s
    after = trends.since(whole, BEGAN_S + 31 * DAY_S)
    assert after
    assert (after.changes, after.state) == ((), "steady")
    assert trends.since(whole, BEGAN_S + 50 * DAY_S) is None
