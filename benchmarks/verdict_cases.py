"""Seeded comparisons whose truth is known: what `benchmarks.verdicts` tries verdicts on.

Every noise is scaled to a robust standard deviation (1.4826 times the median absolute deviation)
of 1 % of the true rate, unless its name says otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pytest_vswitch.results.sample import Better
from pytest_vswitch.results.statistics.pair import Measured, Pair

Floats = NDArray[np.float64]
Random = np.random.Generator
Draw = Callable[[Random, tuple[int, ...]], Floats]
NOISE = 0.01
RATE = 1e6


def _modes(random: Random, size: tuple[int, ...], share: float, gap: float) -> Floats:
    return random.standard_normal(size) - gap * (random.random(size) < share)


SHAPES: dict[str, Draw] = {
    "normal": lambda random, size: random.standard_normal(size),
    "skew-normal": lambda random, size: (
        -np.asarray(stats.skewnorm.rvs(4, size=size, random_state=random))
    ),
    "gamma": lambda random, size: -random.gamma(4, size=size),
    "lognormal": lambda random, size: -np.exp(0.5 * random.standard_normal(size)),
    "exponential": lambda random, size: -random.exponential(size=size),
    "Student t3": lambda random, size: random.standard_t(3, size),
    "two modes": lambda random, size: _modes(random, size, 0.5, 4.0),
    "two modes, 3 in 10": lambda random, size: _modes(random, size, 0.3, 5.0),
    "uniform": lambda random, size: random.random(size),
}


@functools.cache
def _scale(shape: str) -> tuple[float, float]:
    drawn = SHAPES[shape](np.random.default_rng(1), (400_000,))
    middle = float(np.median(drawn))
    return middle, 1.4826 * float(np.median(np.abs(drawn - middle)))


def noise(shape: str, random: Random, size: tuple[int, ...]) -> Floats:
    """Of median 0 and robust standard deviation 1."""
    middle, scale = _scale(shape)
    return np.asarray((SHAPES[shape](random, size) - middle) / scale)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How comparisons come about."""

    name: str
    shape: str = "normal"
    sigma: float = NOISE
    after_sigma: float | None = None
    runs: tuple[int, int] = (5, 5)
    outliers: float = 0.0
    """So many of all runs are 10 % low."""
    modes: float = 0.0
    """Half of all runs are so much lower."""
    drift: float = 0.0
    """Change of the machine from the first run to the last."""
    in_turns: bool = True
    """A B B A ..., else all of A, then all of B."""
    interval: float = 0.0
    """Width of the search intervals; on one grid, so that they repeat exactly."""
    random_grid: bool = False
    """Each search has a grid of its own."""
    quantum: float = 0.0
    """Results are multiples of it."""
    line: float = 0.0
    """The line rate, as part of the rate before."""
    together: float = 0.0
    """Standard deviation of what all cases of a run have in common."""
    unlike: float = 0.0
    """Spread of the logarithm of the noise of a report's cases."""
    better: Better = "more"
    timed: bool = False
    """Runs tell when they were made."""


def times(scene: Scene) -> tuple[Floats, Floats]:
    """Positions of each side's runs, the first 0, the last 1."""
    before, after = scene.runs
    if scene.in_turns and before == after:
        order = np.array([index % 4 in (1, 2) for index in range(before + after)])
        # With an odd number of runs the last round is A B.
    else:
        order = np.arange(before + after) >= before
    spot = np.arange(before + after) / (before + after - 1)
    return spot[~order], spot[order]


def draw(
    scene: Scene, random: Random, cases: int, changes: Floats, *, alone: bool
) -> tuple[Floats, Floats, Floats, Floats]:
    """Values of both sides (a row a case), and the widths of their intervals before rounding."""
    spots = times(scene)
    unlike = np.exp(scene.unlike * random.standard_normal(cases))[:, None]
    rates = np.ones((cases, 1)) if scene.line else np.exp(random.normal(0, 0.7, (cases, 1)))
    rates = RATE * rates
    found: list[Floats] = []
    phases: list[Floats] = []
    for index, runs in enumerate(scene.runs):
        sigma = (scene.after_sigma if index and scene.after_sigma else scene.sigma) * unlike
        value = 1 + sigma * noise(scene.shape, random, (cases, runs))
        value = value - scene.modes * (random.random((cases, runs)) < 0.5)
        value = value - 0.1 * (random.random((cases, runs)) < scene.outliers)
        value = (
            value
            + scene.drift * spots[index]
            + scene.together * random.standard_normal((cases if alone else 1, runs))
        )
        if index:
            value = value * (1 + changes[:, None])
        if scene.line:
            value = np.minimum(value, scene.line)
        phase = random.random((cases, runs)) if scene.random_grid else random.random((cases, 1))
        found.append(np.maximum(value, 0.01))
        phases.append(phase if scene.random_grid or not index else phases[0])
    widths = []
    for index in range(2):
        step = scene.interval or scene.quantum
        if step:
            found[index] = (np.floor(found[index] / step + phases[index]) - phases[index]) * step
        widths.append(np.full(found[index].shape, scene.interval))
        found[index] = found[index] * rates
        widths[index] = widths[index] * rates
    return found[0], found[1], widths[0], widths[1]


def pairs(
    scene: Scene, random: Random, cases: int, changes: Floats, *, alone: bool = False
) -> tuple[list[Pair], Floats, Floats]:
    """As judged, and as plain numbers."""
    before, after, wide_before, wide_after = draw(scene, random, cases, changes, alone=alone)
    spots = times(scene)
    line = scene.line * RATE if scene.line else np.inf
    made = []
    for row in range(cases):
        sides = []
        for values, widths, when in (
            (before, wide_before, spots[0]),
            (after, wide_after, spots[1]),
        ):
            sides.append(
                [
                    Measured(
                        value,
                        value if scene.interval else None,
                        value + width if scene.interval else None,
                        censored=bool(value >= line),
                        at_s=1e9 + 3600 * spot if scene.timed else 0.0,
                    )
                    for value, width, spot in zip(
                        values[row].tolist(), widths[row].tolist(), when.tolist(), strict=True
                    )
                ]
            )
        made.append(Pair(str(row), "NDR", scene.better, "suite", sides[0], sides[1]))
    return made, before, after


SCENES = (
    Scene(name="normal"),
    Scene(name="skew-normal", shape="skew-normal"),
    Scene(name="two modes", shape="two modes"),
    Scene(name="outliers", outliers=0.1),
    Scene(name="drift 3 %, ABBA", drift=-0.03, timed=True),
    Scene(name="drift 3 %, A then B", drift=-0.03, in_turns=False, timed=True),
    Scene(name="intervals 1 %", interval=0.01),
    Scene(name="line at the rate", line=1.0),
    Scene(name="line 1 % above", line=1.01),
    Scene(name="gamma", shape="gamma"),
    Scene(name="exponential", shape="exponential"),
    Scene(name="Student t3", shape="Student t3"),
    Scene(name="two modes, 3 in 10", shape="two modes, 3 in 10"),
    Scene(name="two modes, 5 % apart", modes=0.05),
    Scene(name="runs shift together", sigma=0.007, together=0.007),
    Scene(name="noise of its own", unlike=0.5),
    Scene(name="twice the noise", sigma=0.02),
    Scene(name="after: twice the noise", after_sigma=0.02),
    Scene(name="less is better", better="less"),
    Scene(name="2 runs a side", runs=(2, 2)),
    Scene(name="3 and 20 runs", runs=(3, 20)),
    Scene(name="20 runs a side", runs=(20, 20)),
    Scene(name="drift 3 %, ABBA, untold", drift=-0.03),
    Scene(name="A then B, still", in_turns=False, timed=True),
    Scene(name="lognormal", shape="lognormal"),
    Scene(name="uniform", shape="uniform"),
    Scene(name="half the noise", sigma=0.005),
    Scene(name="4 times the noise", sigma=0.04),
    Scene(name="two modes, 2 % apart", sigma=0.002, modes=0.02),
    Scene(name="intervals 2 %, quiet", sigma=0.002, interval=0.02),
    Scene(name="intervals 1 %, any grid", interval=0.01, random_grid=True),
    Scene(name="multiples of 1 %", quantum=0.01),
    Scene(name="line 1 % below", line=0.99),
)
