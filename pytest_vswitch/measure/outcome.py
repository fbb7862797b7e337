"""What a measurement other than a throughput search found: figures, curves, how it was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, and what it promises."""

    name: str
    """E.g. `corrected buffer time`."""
    value: float | None
    """None when it could not be found."""
    unit: str
    """`s`, `frames`, `frames/s`, `flows`, `kB`, `ratio` (0 to 1); empty for a plain number."""
    low: float | None = None
    """The true value is not below this; None: the measurement states no error."""
    high: float | None = None
    """The true value is not above this; None with a `low`: nothing limits it."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity over another."""

    name: str
    x_name: str
    x_unit: str
    """As in `Figure`."""
    y_name: str
    y_unit: str
    """As in `Figure`."""
    points: tuple[tuple[float, float], ...]
    """In the order of x."""
    marked: float | None = None
    """An x that matters, e.g. a knee."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one measurement, for the record."""

    source: str
    """What defines it, e.g. `RFC 2544 section 26.3`."""
    procedure: Mapping[str, str]
    """How it was done: warm-up, pauses, repeats, loads, for a reader."""
    figures: tuple[Figure, ...]
    """The first one is what is reported first."""
    curves: tuple[Curve, ...] = ()
    doubts: tuple[str, ...] = ()
    """What keeps the figures from meaning what their names say, a sentence each."""


class Reported(Protocol):
    """What every measurement returns."""

    @property
    def outcome(self) -> Outcome: ...
