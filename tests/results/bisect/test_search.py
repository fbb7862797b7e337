"""What is measured next, and what is concluded: with drawn values of known truth."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bisection import MOST_MEAN, SCENES, bisected
from pytest_vswitch.results.bisect.posterior import posterior
from pytest_vswitch.results.bisect.search import GOOD, Next, Rules, Verdict, decide

ENDS = [(GOOD, 100.0), (9, 90.0), (9, 90.4), (GOOD, 100.3), (GOOD, 99.8), (9, 89.9)]


def line(count: int) -> np.ndarray:
    """A history without branches."""
    return np.tril(np.ones((count, count), dtype=bool))


def test_a_drop_within_noise_is_found_in_few_runs() -> None:
    ended = [bisected(SCENES["3 % drop, normal"], seed) for seed in range(10)]
    assert [kind for kind, _ in ended].count("right") >= 9
    assert np.mean([runs for _, runs in ended]) <= MOST_MEAN


@pytest.mark.parametrize(
    "scene", ["3 % drop, outliers", "3 % drop, skewed", "3 % drop, drift", "3 % rise, normal"]
)
def test_neither_tails_nor_drift_nor_direction_mislead(scene: str) -> None:
    ended = [bisected(SCENES[scene], seed)[0] for seed in range(4)]
    assert ended.count("right") == 4


@pytest.mark.parametrize("scene", ["no change, normal", "no change, outliers", "no change, drift"])
def test_nobody_is_named_where_nothing_changed(scene: str) -> None:
    ended = [bisected(SCENES[scene], seed)[0] for seed in range(5)]
    assert ended == ["no change"] * 5


def test_both_ends_are_measured_first_and_in_turn() -> None:
    measured: list[tuple[int | None, float]] = []
    for value in (100.0, 90.0, 90.1, 100.1, 99.9, 89.9):
        step = decide(line(10), measured)
        assert isinstance(step, Next)
        measured.append((step.revision, value))
    assert [at for at, _ in measured] == [GOOD, 9, 9, GOOD, GOOD, 9]


def test_then_the_revision_whose_odds_are_even() -> None:
    step = decide(line(10), ENDS)
    assert step == Next(4)


def test_the_change_and_the_noise_are_told() -> None:
    known = posterior(line(10), ENDS, 0.02)
    assert known.change == pytest.approx(-0.1, abs=0.01)
    assert known.noise < 0.01
    assert known.none < 0.01
    assert known.guilty.sum() + known.none == pytest.approx(1)


def test_what_cannot_be_built_is_never_measured_and_may_be_guilty() -> None:
    skipped = {4, 5}
    measured = list(ENDS)
    while isinstance(step := decide(line(10), measured, skipped), Next):
        assert step.revision not in skipped
        measured.append((step.revision, 90.0 if (step.revision or 0) >= 5 else 100.0))
    assert step.kind == "found"
    assert step.revisions == (4, 5, 6)


def test_in_a_history_with_branches() -> None:
    """0 and 1 stand side by side on 2's two lines: 2 merges them; 3 comes after."""
    contains = np.array(
        [[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
        dtype=bool,
    )
    measured = [(GOOD if at is GOOD else 3, value) for at, value in ENDS]
    while isinstance(step := decide(contains, measured), Next):
        measured.append((step.revision, 90.0 if step.revision in (1, 2, 3) else 100.0))
    assert step.kind == "found"
    assert step.revisions == (1,)


def test_a_rate_of_nought_is_a_drop_like_others() -> None:
    measured = [(at, 0.0 if at == 9 else value) for at, value in ENDS]
    while isinstance(step := decide(line(10), measured), Next):
        measured.append((step.revision, 0.0 if (step.revision or 0) >= 7 else 100.0))
    assert step.revisions == (7,)


def test_when_there_is_too_much_noise_it_does_not_go_on_for_ever() -> None:
    draw = np.random.default_rng(3)
    measured: list[tuple[int | None, float]] = []
    rules = Rules(most_runs=15)
    while isinstance(step := decide(line(50), measured, rules=rules), Next):
        change = 3.0 * (step.revision is not GOOD and step.revision >= 20)
        measured.append((step.revision, 100 - change + 2 * draw.standard_normal()))
    assert isinstance(step, Verdict)
    assert step.kind == "can't tell"
    assert len(measured) == 15
