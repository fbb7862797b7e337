"""How often `vswitch bisect` names the guilty one of 200 revisions, and in how many runs.

    python -m benchmarks.bisection [--tries 100] [--jobs 1] [--json]

Try number n draws the guilty revision and all noise from seed n, so the table is the same on
every machine. A run is one measurement of one revision; those of both ends count, too. Noise has
a robust standard deviation of 1 %:

    normal         Gaussian
    skewed         exponential, the tail to the low side
    outliers       Gaussian, and one run in ten lies 10 % low
    drift          Gaussian, and the machine changes by 3 % over 30 runs, up or down
    swing          Gaussian, and the machine swings by +-1 %, once in 20 runs
    unbuildable    Gaussian, and one revision in ten does not build

`right`: the guilty one is named, or, where it does not build, is among the few that are named;
`wrong`: another is; `none`: "no change"; the rest is "can't tell". `mean`, `p95` and `most` are
runs. Beside it, each step of a plain bisection tested ten times (`ten a step`): 10 runs of each
end, then 8 steps of 10, each judged by whose median is nearer. A third of the runs of its steps
alone, 80, is the limit for the mean of the first row. `+` marks a figure that keeps what bisect
promises, `!` one that does not: then the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from pytest_vswitch.results.bisect.search import GOOD, Rules, Verdict, decide

REVISIONS = 200
NOISE = 0.01
STEPS = math.ceil(math.log2(REVISIONS))
MOST_MEAN = STEPS * 10 / 3
"""A third of the runs of testing each step ten times."""
MOST_WRONG = 0.05


@dataclass(frozen=True, slots=True)
class Scene:
    """How revisions behave when they are measured."""

    change: float
    """Of the value, by the guilty revision."""
    noise: str = "normal"
    drift: str = ""
    unbuildable: float = 0.0


SCENES = {
    "3 % drop, normal": Scene(-0.03),
    "3 % drop, skewed": Scene(-0.03, "skewed"),
    "3 % drop, outliers": Scene(-0.03, "outliers"),
    "3 % drop, drift": Scene(-0.03, drift="drift"),
    "3 % drop, swing": Scene(-0.03, drift="swing"),
    "3 % drop, unbuildable": Scene(-0.03, unbuildable=0.1),
    "3 % rise, normal": Scene(0.03),
    "2 % drop, normal": Scene(-0.02),
    "5 % drop, normal": Scene(-0.05),
    "no change, normal": Scene(0.0),
    "no change, skewed": Scene(0.0, "skewed"),
    "no change, outliers": Scene(0.0, "outliers"),
    "no change, drift": Scene(0.0, drift="drift"),
    "no change, swing": Scene(0.0, drift="swing"),
}


@dataclass(slots=True)
class Bench:
    """One history of revisions to measure, all drawn from a seed."""

    scene: Scene
    seed: int
    draw: np.random.Generator = field(init=False)
    guilty: int = field(init=False)
    unbuildable: frozenset[int] = field(init=False)
    runs: int = 0

    def __post_init__(self) -> None:
        self.draw = np.random.default_rng(self.seed)
        self.guilty = int(self.draw.integers(REVISIONS))
        inner = np.flatnonzero(self.draw.random(REVISIONS - 1) < self.scene.unbuildable)
        self.unbuildable = frozenset(map(int, inner))

    def measure(self, at: int | None) -> float:
        value = 1e6 * (1 + self.scene.change * (at is not GOOD and at >= self.guilty))
        noise = self.draw.standard_normal()
        if self.scene.noise == "skewed":
            # 1.48 times the median deviation of an exponential from its median is 0.71.
            noise = (math.log(2) - self.draw.exponential()) / 0.713
        if self.scene.noise == "outliers" and self.draw.random() < 0.1:
            noise -= 10
        if self.scene.drift == "drift":
            value *= 1 + (-1) ** self.seed * 0.03 * self.runs / 30
        if self.scene.drift == "swing":
            value *= 1 + 0.01 * math.sin(2 * math.pi * self.runs / 20 + self.seed)
        self.runs += 1
        return value * (1 + NOISE * noise)


def bisected(scene: Scene, seed: int) -> tuple[str, int]:
    """How it ended, and after how many runs."""
    bench = Bench(scene, seed)
    contains = np.tril(np.ones((REVISIONS, REVISIONS), dtype=bool))
    measured: list[tuple[int | None, float]] = []
    skipped: list[int] = []
    while True:
        step = decide(contains, measured, skipped, Rules())
        if isinstance(step, Verdict):
            break
        if step.revision in bench.unbuildable:
            skipped.append(step.revision)
        else:
            measured.append((step.revision, bench.measure(step.revision)))
    if step.kind != "found":
        return step.kind, bench.runs
    right = scene.change != 0 and bench.guilty in step.revisions
    return "right" if right else "wrong", bench.runs


def ten_a_step(scene: Scene, seed: int) -> tuple[str, int]:
    """The same by a plain bisection, for which all revisions build."""
    bench = Bench(scene, seed)

    def median(at: int | None) -> float:
        return float(np.median([bench.measure(at) for _ in range(10)]))

    good, bad = median(GOOD), median(REVISIONS - 1)
    low, high = -1, REVISIONS - 1
    while high - low > 1:
        middle = (low + high) // 2
        value = median(middle)
        if abs(value - good) < abs(value - bad):
            low = middle
        else:
            high = middle
    right = scene.change != 0 and high == bench.guilty
    return "right" if right else "wrong", bench.runs


def row(name: str, tries: int, jobs: int) -> dict[str, object]:
    scene = SCENES[name]
    scenes, seeds = [scene] * tries, range(tries)
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            ended = list(pool.map(bisected, scenes, seeds, chunksize=4))
    else:
        ended = list(map(bisected, scenes, seeds))
    plain = [ten_a_step(scene, seed) for seed in seeds]
    runs = [count for _, count in ended]
    kinds = [kind for kind, _ in ended]
    return {
        "scene": name,
        "right": kinds.count("right") / tries,
        "wrong": kinds.count("wrong") / tries,
        "no change": kinds.count("no change") / tries,
        "mean": float(np.mean(runs)),
        "p95": float(np.percentile(runs, 95)),
        "most": max(runs),
        "ten a step, right": [kind for kind, _ in plain].count("right") / tries,
        "ten a step, runs": float(np.mean([count for _, count in plain])),
        "kept": _kept(name, kinds, float(np.mean(runs))),
    }


def _kept(name: str, kinds: list[str], mean: float) -> bool:
    """What is promised: of a change of 3 % or more, and of none."""
    wrong = kinds.count("wrong") / len(kinds)
    if name.startswith("no change"):
        return wrong <= MOST_WRONG
    right = kinds.count("right") / len(kinds)
    frugal = name != "3 % drop, normal" or mean <= MOST_MEAN
    return right >= 1 - MOST_WRONG and frugal


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{'':24}{'right':>8}{'wrong':>8}{'none':>8}{'mean':>8}{'p95':>6}{'most':>6}"
        f"{'ten a step: right':>20}{'runs':>6}"
    )
    rows = []
    for name in SCENES:
        found = row(name, arguments.tries, arguments.jobs)
        rows.append(found)
        print(
            f"{name:24}{found['right']:8.1%}{found['wrong']:8.1%}{found['no change']:8.1%}"
            f"{found['mean']:8.1f}{found['p95']:6.0f}{found['most']:6}"
            f"{found['ten a step, right']:20.1%}{found['ten a step, runs']:6.0f}"
            f" {'+' if found['kept'] else '!'}",
            flush=True,
        )
    if arguments.json:
        print(json.dumps(rows))
    return 0 if all(found["kept"] for found in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
