"""The mean of repeated observations, and how far the true mean may lie from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

# fmt: off
_STUDENT = (
    63.66, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012,
    2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845, 2.831, 2.819, 2.807, 2.797, 2.787, 2.779,
    2.771, 2.763, 2.756, 2.750,
)
# fmt: on
"""Student's t for 99 % (two-sided), by degrees of freedom from 1."""
POISSON_99 = 2.576
"""Standard deviations to either side that hold 99 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated observations of one quantity, in its unit."""

    mean: float
    deviation: float
    """Standard deviation; 0 of a single observation."""
    least: float
    most: float
    error: float
    """The true mean is within this of `mean`, in 99 % of all cases."""


def of(values: Sequence[float], resolution: float) -> Spread:
    """`resolution` is what a single observation cannot tell apart; it is part of the error."""
    deviation = stdev(values) if len(values) > 1 else 0.0
    freedom = len(values) - 1
    student = _STUDENT[min(freedom, len(_STUDENT)) - 1] if freedom else 0.0
    return Spread(
        mean=fmean(values),
        deviation=deviation,
        least=min(values),
        most=max(values),
        error=student * deviation / math.sqrt(len(values)) + resolution,
    )


def of_count(count: int) -> tuple[float, float]:
    """How many events a rate of which `count` were seen brings on average, in 99 % of cases."""
    half = POISSON_99 * math.sqrt(count + 1)
    return max(0.0, count - half), count + half + POISSON_99
