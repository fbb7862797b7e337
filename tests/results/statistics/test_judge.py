"""Verdicts on two sides: what each promise of docs/statistics.md looks like in one comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from pytest_vswitch.results.statistics.judge import holm, judge
from pytest_vswitch.results.statistics.pair import Judgement, Measured, Options, Pair

RATE = 1e6
STEADY = (1.002, 0.994, 1.008, 0.997, 1.0)
"""Runs with a noise of half a percent."""


def side(values: Sequence[float], **facts: float) -> list[Measured]:
    return [Measured(RATE * value, **facts) for value in values]  # type: ignore[arg-type]


def pair(before: Sequence[Measured], after: Sequence[Measured]) -> Pair:
    return Pair("pvp:frame_bytes=64", "NDR", "more", "pvp", before, after)


def judged(before: Sequence[Measured], after: Sequence[Measured]) -> Judgement:
    return judge([pair(before, after)])[0]


def drawn(cases: int, drop: float, seed: int = 1) -> list[Pair]:
    """1 % of normal noise, 5 runs a side."""
    values = 1 + 0.01 * np.random.default_rng(seed).standard_normal((cases, 10))
    return [
        replace(pair(side(row[:5]), side((1 - drop) * row[5:])), case=str(number))
        for number, row in enumerate(values)
    ]


def test_a_drop_is_worse_and_its_interval_contains_it() -> None:
    found = judged(side(STEADY), side([0.95 * value for value in STEADY]))
    assert found.verdict == "worse"
    assert found.change == pytest.approx(-0.05)
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.05 < found.high < 0
    assert found.p_value is not None
    assert found.p_value < 0.01
    assert found.more_runs is None


def test_alike_sides_are_the_same() -> None:
    found = judged(side(STEADY), side(STEADY[::-1]))
    assert found.verdict == "same"
    assert found.change == pytest.approx(0)


def test_noise_as_large_as_the_change_tells_nothing_but_how_many_runs_would() -> None:
    noisy = (1.05, 0.95, 1.04, 0.97, 1.0)
    found = judged(side(noisy), side([0.97 * value for value in noisy]))
    assert found.verdict == "can't tell"
    assert found.more_runs is not None
    assert 20 < found.more_runs < 200
    more = judged(side(noisy * 30), side([0.97 * value for value in noisy] * 30))
    assert more.verdict == "worse"


def test_less_is_better_of_a_delay() -> None:
    longer = replace(pair(side(STEADY), side([1.05 * v for v in STEADY])), better="less")
    assert judge([longer])[0].verdict == "worse"


def test_a_change_surely_smaller_than_the_minimum_effect_is_the_same() -> None:
    before, after = side(STEADY * 8), side([0.992 * value for value in STEADY * 8])
    assert judged(before, after).verdict == "same"
    options = Options(minimum_effect=0.005)
    assert judge([pair(before, after)], options)[0].verdict == "worse"


VALUES = st.lists(st.floats(0.5, 2.0), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(VALUES, VALUES)
def test_swapped_sides_get_the_mirrored_answer(before: list[float], after: list[float]) -> None:
    one, other = judged(side(before), side(after)), judged(side(after), side(before))
    mirrored = {"better": "worse", "worse": "better"}
    assert other.verdict == mirrored.get(one.verdict, one.verdict)
    assert other.p_value == pytest.approx(one.p_value)
    assert one.change is not None
    assert other.change is not None
    assert 1 + other.change == pytest.approx(1 / (1 + one.change))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(VALUES, VALUES, st.floats(1e-9, 1e9))
def test_units_do_not_matter(before: list[float], after: list[float], unit: float) -> None:
    scaled = judged(
        [Measured(unit * value) for value in before], [Measured(unit * value) for value in after]
    )
    plain = judged([Measured(value) for value in before], [Measured(value) for value in after])
    assert scaled.verdict == plain.verdict
    assert scaled.change == pytest.approx(plain.change, abs=1e-9)


def test_order_of_cases_and_of_runs_does_not_matter() -> None:
    pairs = drawn(40, 0.03)
    verdicts = {p.case: found.verdict for p, found in zip(pairs, judge(pairs), strict=True)}
    turned = [replace(p, before=p.before[::-1], after=p.after[::-1]) for p in pairs[::-1]]
    again = {p.case: found.verdict for p, found in zip(turned, judge(turned), strict=True)}
    assert again == verdicts


def test_like_cases_find_together_what_each_alone_would_not_after_a_correction() -> None:
    pairs = drawn(300, 0.0)
    pairs[:50] = drawn(50, 0.03, seed=2)
    together = judge(pairs)
    assert sum(found.verdict == "worse" for found in together[:50]) >= 35
    assert all(found.verdict in ("same", "can't tell") for found in together[50:])
    apart = judge([replace(p, group=p.case) for p in pairs])
    assert sum(found.verdict == "worse" for found in apart[:50]) < 35


def test_one_run_a_side_tells_nothing_unless_like_cases_tell_the_noise() -> None:
    single = pair(side([1.0]), side([0.9]))
    alone = judge([single])[0]
    assert (alone.verdict, alone.p_value) == ("can't tell", None)
    assert alone.more_runs is not None
    assert judge([single, *drawn(50, 0.0)])[0].verdict == "worse"


def test_noise_that_earlier_runs_told_judges_one_run_a_side() -> None:
    known = replace(pair(side([1.0]), side([0.9])), noise=0.01)
    assert judge([known])[0].verdict == "worse"
    assert judge([replace(known, noise=0.1)])[0].verdict == "can't tell"


def test_a_noisy_case_is_not_taken_for_as_quiet_as_the_others() -> None:
    noisy = pair(side([1.1, 0.9, 1.05, 1.12, 1.0]), side([0.95, 1.05, 0.88, 0.93, 0.9]))
    assert judge([noisy, *drawn(100, 0.0)])[0].verdict == "can't tell"


def test_a_mishap_does_not_hide_a_change() -> None:
    found = judged(side(STEADY), side([0.95 * v for v in STEADY[:4]] + [0.80]))
    assert found.verdict == "worse"
    assert found.change == pytest.approx(-0.05, abs=0.005)
    assert any("left out" in note for note in found.notes)


def test_a_run_where_the_other_side_is_shows_two_modes_and_no_change() -> None:
    low = [0.9 * value for value in STEADY[:4]]
    found = judged(side(STEADY), side([*low, 1.001]))
    assert found.verdict == "can't tell"
    assert any("two groups" in note for note in found.notes)


def test_a_drift_is_taken_out_where_sides_were_measured_in_turns() -> None:
    """A B B A A B B A A B: from first to last 9 % are lost."""
    after = [1, 2, 5, 6, 9]
    made = [
        [
            Measured(RATE * (1 - 0.01 * spot) * factor * STEADY[index], at_s=100.0 * spot)
            for index, spot in enumerate(spots)
        ]
        for factor, spots in ((1.0, [0, 3, 4, 7, 8]), (0.96, after))
    ]
    found = judged(*made)
    assert found.verdict == "worse"
    assert found.change == pytest.approx(-0.04, abs=0.01)
    assert any("drifted" in note for note in found.notes)


def test_sides_measured_one_after_the_other_are_said_to_be() -> None:
    sides = [
        [Measured(RATE * value, order=start + index) for index, value in enumerate(STEADY)]
        for start in (0, 5)
    ]
    assert any("after the other" in note for note in judged(*sides).notes)


def test_one_long_slope_is_no_change() -> None:
    """From the first run to the last, 18 % are lost; the sides follow on each other."""
    runs = [
        Measured((1 - 0.02 * spot) * value, order=spot) for spot, value in enumerate(STEADY * 2)
    ]
    found = judged(runs[:5], runs[5:])
    assert found.verdict in ("same", "can't tell")
    assert any("drifted" in note for note in found.notes)


def test_drift_that_all_cases_share_is_no_change_of_any() -> None:
    random = np.random.default_rng(5)
    pairs = []
    for number in range(60):
        values = (1 - 0.004 * np.arange(10)) * (1 + 0.01 * random.standard_normal(10))
        runs = [Measured(value, order=spot) for spot, value in enumerate(values)]
        pairs.append(replace(pair(runs[:5], runs[5:]), case=str(number)))
    assert {found.verdict for found in judge(pairs)} <= {"same", "can't tell"}


@pytest.mark.parametrize("apart_s", [0.0, 86400.0])
def test_two_runs_that_warm_up_alike_did_not_change(apart_s: float) -> None:
    """What happens within a run does not go on until the next."""
    random = np.random.default_rng(6)
    pairs = []
    for number in range(60):
        values = (1 - 0.004 * np.arange(5)) * (1 + 0.01 * random.standard_normal((2, 5)))
        sides = [
            [
                Measured(value, at_s=1e9 + 86400 * day + apart_s / 100 * spot, order=spot)
                for spot, value in enumerate(row)
            ]
            for day, row in enumerate(values)
        ]
        pairs.append(replace(pair(*sides), case=str(number)))
    found = judge(pairs)
    assert {one.verdict for one in found} <= {"same", "can't tell"}
    assert all("after the other" in " ".join(one.notes) for one in found)
    assert not any("drifted" in " ".join(one.notes) for one in found)


def test_intervals_of_one_grid_step_apart_are_no_sure_change() -> None:
    """Nothing says that the true rates are not just either side of one grid line."""
    before = [Measured(RATE, RATE, 1.1 * RATE)] * 5
    after = [Measured(0.9 * RATE, 0.9 * RATE, RATE)] * 5
    found = judged(before, after)
    assert found.verdict == "can't tell"
    assert any("intervals" in note for note in found.notes)
    assert judged([Measured(RATE)] * 5, [Measured(0.9 * RATE)] * 5).verdict == "worse"


def test_a_drop_from_the_line_rate_is_at_least_as_large_as_seen() -> None:
    line = [Measured(RATE, RATE, None, censored=True)] * 5
    found = judged(line, side([0.95 * value for value in STEADY]))
    assert (found.verdict, found.low) == ("worse", None)
    assert found.high is not None
    assert found.high < -0.02
    back = judged(side([0.95 * value for value in STEADY]), line)
    assert (back.verdict, back.high) == ("better", None)


def test_both_sides_at_the_line_rate_are_the_same() -> None:
    line = [Measured(RATE, RATE, None, censored=True)] * 5
    found = judged(line, line)
    assert (found.verdict, found.p_value) == ("same", None)
    assert any("end of what could be measured" in note for note in found.notes)


def test_all_runs_equal() -> None:
    assert judged(side([1.0] * 5), side([1.0] * 5)).verdict == "same"
    assert judged(side([1.0] * 5), side([0.95] * 5)).verdict == "worse"


def test_zeros() -> None:
    nothing = side([0.0] * 5)
    assert judged(nothing, nothing).verdict == "same"
    lost = judged(side(STEADY), nothing)
    assert lost.verdict == "worse"
    assert lost.change == pytest.approx(-1, abs=0.01)
    won = judged(nothing, side(STEADY))
    assert (won.verdict, won.change) == ("better", None)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_out_and_said(odd: float) -> None:
    found = judged([*side(STEADY), Measured(odd)], side(STEADY))
    assert found.verdict == "same"
    assert any("no number" in note for note in found.notes)


def test_a_side_without_runs_tells_nothing() -> None:
    for before, after in (([], side(STEADY)), (side(STEADY), []), ([], [])):
        found = judged(before, after)
        assert (found.verdict, found.change, found.p_value) == ("can't tell", None, None)
    assert judge([]) == []


def test_holm_is_the_one_of_statsmodels() -> None:
    chances = np.random.default_rng(1).random(50) ** 4
    assert holm(chances) == pytest.approx(multipletests(chances, method="holm")[1])
