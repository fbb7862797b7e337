"""The table of docs/statistics.md, with a few tries a row: what it promises holds within chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.verdict_cases import SCENES, pairs
from benchmarks.verdicts import OURS, PROMISED, broken, judged_alone, rows_of
from pytest_vswitch.results.statistics.judge import judge


@pytest.mark.parametrize("name", ["normal", "outliers"])
def test_promises_hold(name: str) -> None:
    scene = next(scene for scene in SCENES if scene.name == name)
    ours, *others = rows_of(scene, singles=60, reports=3)
    assert ours.rule == OURS
    assert list(broken(ours, singles=60, reports=3)) == []
    assert [row.rule for row in others] == ["jumpavg", "2 sigma", "Welch", "Welch, Holm", "mean:5%"]


def test_every_promise_is_about_a_scene() -> None:
    assert set(PROMISED) <= {scene.name for scene in SCENES}


def test_a_broken_promise_is_told() -> None:
    scene = next(scene for scene in SCENES if scene.name == "normal")
    welch = next(row for row in rows_of(scene, singles=20, reports=2) if row.rule == "Welch")
    assert welch.alarms == 1.0
    assert list(broken(replace(welch, rule=OURS), singles=20, reports=2)) != []


@pytest.mark.parametrize("name", ["normal", "outliers", "drift 3 %, ABBA", "line 1 % above"])
def test_pairs_judged_alone_at_once_are_as_if_one_by_one(name: str) -> None:
    scene = next(scene for scene in SCENES if scene.name == name)
    made, _, _ = pairs(scene, np.random.default_rng(3), 30, np.full(30, -0.03), alone=True)
    one_by_one = [judge([pair])[0] for pair in made]
    at_once = judged_alone(made)
    assert [found.verdict for found in at_once] == [found.verdict for found in one_by_one]
    assert [found.low for found in at_once] == pytest.approx([found.low for found in one_by_one])
