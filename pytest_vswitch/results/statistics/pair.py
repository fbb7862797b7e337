"""What the statistics of a comparison take and give; needs no heavy module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_vswitch.results.sample import Better

Verdict = Literal["better", "same", "worse", "can't tell"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of one run."""

    value: float
    low: float | None = None
    """The true value is not below this; None: nothing is stated."""
    high: float | None = None
    """The true value is not above this; None with a `low`: nothing limits it."""
    censored: bool = False
    """The DUT could have done better: the line or the generator was at its end."""
    at_s: float = 0.0
    """When its run began [Unix time, s]."""
    order: int = 0
    """Counts the measurements of its run from 0, in the order they were made."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What two sides measured of one metric of one case."""

    case: str
    metric: str
    better: Better
    group: str
    """Cases of one group (e.g. a suite's) are taken to be about equally noisy."""
    before: Sequence[Measured]
    after: Sequence[Measured]
    noise: float | None = None
    """Relative standard deviation of a run, where earlier runs have told it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a comparison holds to be a change, and how sure it has to be."""

    minimum_effect: float = 0.02
    """A smaller relative change is none."""
    confidence: float = 0.99
    """Of one comparison by itself: how seldom no change is called one, and that of the interval."""
    family_confidence: float = 0.95
    """Of all pairs judged together: how seldom one that did not change is called changed."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of one pair."""

    verdict: Verdict
    """Of the side after; that a rate fell, or a delay rose, is `worse`."""
    change: float | None
    """Relative change of the value, e.g. -0.03; None when neither side says it."""
    low: float | None
    """The change is not below this, with the confidence asked for; None: nothing limits it."""
    high: float | None
    """The change is not above this; None: nothing limits it."""
    p_value: float | None
    """That chance alone made a change as large, corrected for all pairs; None: not testable."""
    more_runs: int | None
    """So many more runs a side would probably tell; None: told already, or runs cannot tell."""
    notes: tuple[str, ...] = ()
    """What makes the judgement weaker than it looks, for the reader."""
