"""Samples of a history as nights of series."""

from __future__ import annotations

import math

from pytest_vswitch.results.trend.series import read, series
from tests.results.trend.histories import Kept, environment, sample


def test_each_case_metric_and_lab_is_a_series() -> None:
    made = [
        sample(0, 1.0, case=case, metric=metric, lab=lab)
        for case in ("p2p:", "pvp:")
        for metric in ("NDR", "PDR")
        for lab in ("one", "two")
    ]
    found = series(made)
    assert [(one.lab, one.case, one.metric) for one in found] == sorted(
        (one.lab, one.case, one.metric) for one in made
    )


def test_several_runs_of_a_night_are_its_median() -> None:
    [found] = series([sample(0, 1.0), sample(0.05, 9.0), sample(0.1, 2.0), sample(1, 5.0)])
    assert [night.value for night in found.nights] == [2.0, 5.0]
    assert found.nights[0].runs == ("run-0", "run-0.05", "run-0.1")


def test_a_night_does_not_end_at_midnight() -> None:
    before, after = -0.1, -0.05  # 23:36 and 0:48
    assert [len(one.nights) for one in series([sample(before, 1.0), sample(after, 1.0)])] == [1]


def test_a_new_version_within_the_night_is_a_night_of_its_own() -> None:
    [found] = series([sample(0, 1.0), sample(0.1, 2.0, on=environment("25.03"))])
    assert [night.value for night in found.nights] == [1.0, 2.0]
    assert found.changed_environments() == [1]
    assert list(map(str, found.differences(1))) == ["host dpdk: 24.11 → 25.03"]


def test_versions_side_by_side_are_two_series_and_one_after_the_other_is_one() -> None:
    old, new = {"dpdk": "22.11"}, {"dpdk": "24.11"}
    both = series([sample(night, 1.0, versions=v) for night in (0, 1) for v in (old, new)])
    assert [one.name for one in both] == [
        "pvp:frame_bytes=64 (dpdk=22.11)",
        "pvp:frame_bytes=64 (dpdk=24.11)",
    ]
    [moved] = series([sample(0, 1.0, versions=old), sample(1, 1.0, versions=new)])
    assert (moved.name, moved.changed_environments()) == ("pvp:frame_bytes=64", [1])
    assert list(map(str, moved.differences(1))) == ["dpdk: 22.11 → 24.11"]


def test_what_is_no_number_is_left_out() -> None:
    [found] = series([sample(0, math.nan), sample(1, 1.0), sample(2, math.inf)])
    assert [night.value for night in found.nights] == [1.0]
    assert series([sample(0, math.nan)]) == series([]) == []


def test_one_case_is_asked_for_by_its_name_and_a_pattern_is_matched() -> None:
    history = Kept(sample(0, 1.0, case=f"pvp:frame_bytes={size}") for size in (64, 128, 1518))
    assert [one.case for one in read(history, cases="pvp:frame_bytes=128")] == [
        "pvp:frame_bytes=128"
    ]
    assert history.asked[-1].cases == ("pvp:frame_bytes=128",)
    assert [one.case for one in read(history, cases="*=1*8")] == [
        "pvp:frame_bytes=128",
        "pvp:frame_bytes=1518",
    ]


def test_simulated_nights_are_kept_apart() -> None:
    found = series([sample(0, 1.0), sample(1, 1.0, simulated=True)])
    assert [one.simulated for one in found] == [False, True]
