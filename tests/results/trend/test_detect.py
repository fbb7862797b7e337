"""Change points of one series. What they promise over a year is measured by benchmarks/trend.py."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_vswitch.results.trend.detect import Change, changes

Floats = NDArray[np.float64]


def nights(seed: int, count: int = 200) -> Floats:
    """Around 1e6, with 1 % noise."""
    noise = np.random.default_rng(seed).normal(0, 0.01, count)
    level: Floats = 1e6 * np.exp(noise)
    return level


def stepped(seed: int, size: float, at: int = 100, count: int = 200) -> Floats:
    level = nights(seed, count)
    level[at:] *= 1 + size
    return level


@pytest.mark.parametrize("size", [-0.04, 0.04, -0.5, 1.0])
def test_a_step_is_found_where_it_is_and_soon(size: float) -> None:
    for seed in range(5):
        [found] = changes(stepped(seed, size))
        assert abs(found.began - 100) <= 2
        assert 102 <= found.found <= 112


def test_nothing_is_found_where_nothing_changed() -> None:
    assert [changes(nights(seed)) for seed in range(40)] == [[]] * 40


def test_most_steps_of_three_percent_are_found_within_ten_nights() -> None:
    found = [changes(stepped(seed, -0.03)) for seed in range(20)]
    soon = [one for one in found if len(one) == 1 and one[0].found < 110]
    assert len(soon) >= 16


@pytest.mark.parametrize("size", [0.0, -0.01, 0.01])
def test_what_is_less_than_the_minimum_effect_is_not_told(size: float) -> None:
    quiet = 1 + (nights(3) / 1e6 - 1) / 10
    quiet[100:] *= 1 + size
    assert changes(quiet) == []


def test_the_minimum_effect_can_be_chosen() -> None:
    quiet = 1 + (nights(3) / 1e6 - 1) / 10
    quiet[100:] *= 0.99
    [found] = changes(quiet, 0.005)
    assert found.began == 100


def test_one_and_two_bad_nights_are_no_change_whatever_they_are() -> None:
    values = nights(1)
    values[90] *= 0.5
    values[120:122] = 0.0
    values[150] *= 100
    assert changes(values) == []


def test_nights_that_are_often_low_are_learnt() -> None:
    told = 0
    for seed in range(20):
        low = np.random.default_rng(1000 + seed).random(200) < 0.1
        values = nights(seed) * np.where(low, 0.9, 1.0)
        told += len(changes(values))
        values[100:] *= 0.95
        assert any(abs(one.began - 100) <= 3 for one in changes(values))
    assert told <= 3


def test_slow_drift_is_no_change() -> None:
    creep = np.linspace(1, 1.04, 365)
    assert [changes(nights(seed, 365) * creep) for seed in range(5)] == [[]] * 5


def test_constant_values_change_when_they_change() -> None:
    assert changes([5.0] * 50) == []
    [found] = changes([5.0] * 50 + [5.5] * 10)
    assert found.began == 50
    assert found.found <= 53


def test_there_and_back_are_two_changes() -> None:
    values = nights(7)
    values[80:120] *= 0.95
    assert [one.began for one in changes(values)] == pytest.approx([80, 120], abs=2)


@pytest.mark.parametrize("seed", range(6))
def test_better_and_worse_are_treated_alike(seed: int) -> None:
    values = stepped(seed, -0.04)
    mirrored = changes(1e12 / values)
    for one, other in zip(changes(values), mirrored, strict=True):
        assert (one.began, one.found) == (other.began, other.found)
        assert one.evidence == pytest.approx(other.evidence, abs=0.2)


@pytest.mark.parametrize("factor", [1e-9, 3.7, 1e9])
def test_the_unit_does_not_matter(factor: float) -> None:
    def places(found: list[Change]) -> list[tuple[int, int]]:
        return [(one.began, one.found) for one in found]

    values = stepped(2, 0.05)
    assert places(changes(values * factor)) == places(changes(values)) != []


def test_what_was_told_stays_when_nights_are_added() -> None:
    values = stepped(5, -0.04, at=60, count=150)
    values[110:] *= 1.06
    whole = changes(values)
    assert len(whole) == 2
    for count in range(151):
        assert changes(values[:count]) == [one for one in whole if one.found < count]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [0.0] * 40, [-1.0] * 40, [1.0] * 10])
def test_too_few_nights_and_nothing_above_zero_have_no_change(values: list[float]) -> None:
    assert changes(values) == []


def test_what_appears_after_nothing_is_a_change() -> None:
    [found] = changes([0.0] * 30 + [5.0] * 10)
    assert found.began == 30
