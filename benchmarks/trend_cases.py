"""Seeded years of nightly results with known changes, for benchmarks/trend.py and the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from pytest_vswitch.results.sample import Environment, Sample

Floats = NDArray[np.float64]
Scatter = Callable[[np.random.Generator, tuple[int, int]], Floats]

NOISE = 0.01
"""Robust standard deviation [relative]."""


@dataclass(frozen=True, slots=True)
class TrueChange:
    case: int
    night: int
    """The first changed one."""
    size: float
    """Relative, e.g. -0.03."""


@dataclass(frozen=True, slots=True)
class Year:
    values: Floats
    """[case, night]."""
    changes: tuple[TrueChange, ...]


def normal(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return random.normal(0, NOISE, shape)


def skewed(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A long tail to the slow side: a gamma distribution of shape 2."""
    raw = -random.gamma(2.0, 1.0, shape)
    return _scaled(raw)


def outliers(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """One night in ten is 10 % low."""
    return normal(random, shape) - 0.10 * (random.random(shape) < 0.1)


def bimodal(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Two modes 3 % apart, one night in three at the lower one."""
    return normal(random, shape) / 2 - 0.03 * (random.random(shape) < 1 / 3)


def heavy(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Student's t with three degrees of freedom."""
    return _scaled(random.standard_t(3, shape))


def drifting(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Each case drifts by up to 5 % over the year, in either direction."""
    slope = random.uniform(-0.05, 0.05, (shape[0], 1))
    return normal(random, shape) + slope * np.linspace(0, 1, shape[1])


def correlated(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Each night remembers 0.3 of the one before."""
    steps = random.normal(0, NOISE * np.sqrt(1 - 0.3**2), shape)
    steps[:, 0] /= np.sqrt(1 - 0.3**2)
    for night in range(1, shape[1]):
        steps[:, night] += 0.3 * steps[:, night - 1]
    return steps


SCATTERS: dict[str, Scatter] = {
    "normal": normal,
    "skewed": skewed,
    "outliers": outliers,
    "bimodal": bimodal,
    "heavy": heavy,
    "drifting": drifting,
    "correlated": correlated,
}


def year(
    scatter: Scatter,
    seed: int,
    cases: int = 300,
    nights: int = 365,
    changed: int = 20,
    largest: float = 0.08,
) -> Year:
    """`changed` changes of 3 % to `largest`, half of them for the worse, half just 3 %."""
    random = np.random.default_rng(seed)
    noise = scatter(random, (cases, nights))
    level = np.zeros((cases, nights))
    truth = []
    for number, case in enumerate(random.choice(cases, changed, replace=False)):
        night = int(random.integers(20, nights - 15))
        size = 0.03 if number % 4 < 2 else float(random.uniform(0.03, largest))
        size = size if number % 2 else -size
        level[case, night:] = np.log1p(size)
        truth.append(TrueChange(int(case), night, size))
    base = 1e6 * np.exp(random.uniform(0, 3, (cases, 1)))
    return Year(base * np.exp(level + noise), tuple(truth))


def _scaled(raw: Floats) -> Floats:
    """To a median of 0 and a robust standard deviation of `NOISE`."""
    raw = raw - np.median(raw)
    scaled: Floats = raw * (NOISE / (1.4826 * np.median(np.abs(raw))))
    return scaled


def samples(made: Year, began_s: float = 1764554400.0) -> Iterator[Sample]:
    """A year as a lab's nightly runs: the cases of three suites, DPDK changed four times.

    Each DPDK came on the night of one of the changes.
    """
    cases, nights = made.values.shape
    upgrades = {change.night for change in made.changes[:4]}
    environments: list[Environment] = []
    for night in range(nights):
        version = sum(night >= upgrade for upgrade in upgrades)
        environments.append(
            environments[-1]
            if environments and night not in upgrades
            else Environment(
                {"CPU model": "Xeon Gold 6338N", "kernel": "6.1.0-18-amd64"},
                {"host dpdk": f"DPDK 24.{version + 1:02}", "qemu": "QEMU 7.2.9"},
                {"NIC": "memif", "tool": "pytest-vswitch 0.6.0"},
            )
        )
    for night in range(nights):
        at_s = began_s + 86400 * night
        for case in range(cases):
            yield Sample(
                run=f"{datetime.fromtimestamp(at_s, timezone.utc):%Y%m%d-%H%M%S}-1234",
                lab="bench-7",
                at_s=at_s,
                order=case,
                suite=SUITES[case % len(SUITES)],
                case=case_name(case),
                metric="NDR" if case % 4 else "PDR",
                unit="frames/s",
                better="more",
                value=float(made.values[case, night]),
                environment=environments[night],
            )


def case_name(case: int) -> str:
    """E.g. `pvp:frame_bytes=64,queues=2,variant=17`."""
    size = (64, 128, 256, 512, 1024, 1280, 1518)[case % 7]
    suite = SUITES[case % len(SUITES)]
    return f"{suite}:frame_bytes={size},queues={case % 4 + 1},variant={case}"


SUITES = ("pvp", "p2p", "container")
